package render

import (
	"fmt"
	"strings"

	"github.com/pgbake/pgbake/cluster"
)

// ReplicatorSQL makes the role that replicas stream as, where there is none, and gives it its password: two statements,
// each on a line of its own, as PostgreSQL's single-user mode wants them.
func ReplicatorSQL(c *cluster.Cluster, s cluster.Secrets) string {
	name, password := text(c.Postgres.ReplicationUser), text(s.Replicator)
	return fmt.Sprintf("DO $pgha$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s) THEN CREATE ROLE %s; END IF; END $pgha$;\n"+
		"ALTER ROLE %[2]s LOGIN REPLICATION PASSWORD %[3]s;\n", name.Literal(), name.Ident(), password.Literal())
}

// remoteRoleSQL makes the role that streams from a primary elsewhere, and gives it its password, in psql. A role that is there
// and that pgbake has not made for this cluster may be somebody's who streams by its password: it is left alone, and
// psql ends. Who has made it stands in the role's comment.
func remoteRoleSQL(c *cluster.Cluster, s cluster.Secrets) string {
	name, password, mark := text(c.Postgres.ReplicationUser), text(s.Replicator), text("made by pgbake for the cluster "+c.Scope)
	refusal := text(fmt.Sprintf("the role %s is there already, and pgbake has not made it for the cluster %s: its password is not changed, and nothing was done. "+
		"Give the cluster a role of its own: postgres.replication_user in cluster.yaml, before its machines boot. "+
		"Where pgbake did make it, before it wrote comments: COMMENT ON ROLE %s IS %s", name, c.Scope, name.Ident(), mark.Literal()))
	return fmt.Sprintf(`DO $pgha$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %[1]s) THEN
    CREATE ROLE %[2]s;
    COMMENT ON ROLE %[2]s IS %[3]s;
  ELSIF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %[1]s AND pg_catalog.shobj_description(oid, 'pg_authid') = %[3]s) THEN
    RAISE EXCEPTION USING MESSAGE = %[4]s;
  END IF;
END $pgha$;
ALTER ROLE %[2]s LOGIN REPLICATION PASSWORD %[5]s;
`, name.Literal(), name.Ident(), mark.Literal(), refusal.Literal(), password.Literal())
}

// RemoteSQL prepares a primary elsewhere for a cluster that begins as its copy: the role that streams, which may also look
// at the settings. psql runs it there, as the superuser. What pg_hba.conf needs is said in comments.
func RemoteSQL(c *cluster.Cluster, s cluster.Secrets) string {
	role := text(c.Postgres.ReplicationUser)
	kind := "hostssl"
	if m := c.Adopt.Remote.SSLMode; m == cluster.SSLDisable || m == cluster.SSLPrefer {
		kind = "host"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "-- For the primary at %s, which cluster %s is to follow. Run it there, as its superuser: psql -X -d postgres\n"+
		"-- It holds a password: keep it out of files that others may read. Running it again does no harm.\n"+
		"-- It changes no role but %s, and that one only where pgbake has made it: the comment of the role says so.\n--\n"+
		"-- Before the rules that are in its pg_hba.conf now, and then SELECT pg_catalog.pg_reload_conf():\n", c.Adopt.Remote.Host, c.Scope, role)
	for _, database := range []string{"replication", "postgres"} {
		for _, n := range c.Nodes {
			fmt.Fprintf(&b, "--   %s %s %s %s scram-sha-256\n", kind, database, role.HBA(), host(n.Address))
		}
	}
	fmt.Fprintf(&b, "\n\\set ON_ERROR_STOP on\n\\set VERBOSITY terse\nSET search_path = '';\nSET log_statement = 'none';\nSET log_min_duration_statement = -1;\n"+
		"SET log_min_error_statement = 'panic';\nSET pg_stat_statements.track_utility = off;\nSET password_encryption = 'scram-sha-256';\n%sGRANT pg_monitor TO %s;\n", remoteRoleSQL(c, s), role.Ident())
	return b.String()
}
