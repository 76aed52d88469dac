package cluster

import _ "embed"

// Schema is the JSON Schema (2020-12) of cluster.yaml, for editors: they complete keys, show the comments of
// cluster.go, and underline what the first gate of Parse would refuse. A test writes it (-update) and keeps it current.
//
//go:embed schema.json
var Schema []byte
