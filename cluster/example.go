package cluster

import _ "embed"

// Example is what pgbake init writes: a specification that is valid as it stands, with every key explained.
//
//go:embed example.yaml
var Example []byte
