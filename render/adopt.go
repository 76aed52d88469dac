package render

import (
	"fmt"

	"github.com/pgbake/pgbake/cluster"
)

// ReplicatorSQL makes the role that replicas stream as, where there is none, and gives it its password: two statements,
// each on a line of its own, as PostgreSQL's single-user mode wants them.
func ReplicatorSQL(c *cluster.Cluster, s cluster.Secrets) string {
	name, password := text(c.Postgres.ReplicationUser), text(s.Replicator)
	return fmt.Sprintf("DO $pgha$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = %s) THEN CREATE ROLE %s; END IF; END $pgha$;\n"+
		"ALTER ROLE %[2]s LOGIN REPLICATION PASSWORD %[3]s;\n", name.Literal(), name.Ident(), password.Literal())
}
