package connection

import (
	_ "embed"

	"github.com/pgbake/pgbake/rootfs"
)

//go:embed sql/monitoring.sql
var monitoring []byte

//go:embed sql/write-test.sql
var writeTest []byte

// queries are the manual's, put right; each file says what was wrong.
var queries = []rootfs.File{
	{Path: "/monitoring.sql", Mode: 0o644, Body: monitoring},
	{Path: "/write-test.sql", Mode: 0o644, Body: writeTest},
}
