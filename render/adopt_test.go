package render

import (
	"strings"
	"testing"

	"github.com/pgbake/pgbake/cluster"
)

// A cluster that begins with an older database: Patroni cannot run initdb, and what exists is only made where it is absent.
func TestAdoption(t *testing.T) {
	c, err := cluster.Parse("cluster.yaml", []byte("scope: t\nnetwork: 10.0.0.0/24\nnodes: [{name: elder, address: 10.0.0.1}]\n"+
		"postgres: {users: [{name: app}], databases: [{name: app, owner: app}]}\nadopt: {node: elder, cluster: 17/main}\n"))
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{}
	for _, f := range machine(t, c, c.Machines()[0]) {
		bodies[f.Path] = string(f.Body)
	}
	config, sql := bodies["/etc/patroni/config.yml"], bodies["/etc/patroni/post_bootstrap.sql"]
	if config == "" || strings.Contains(config, "\nbootstrap:") || strings.Contains(config, "initdb:") || !strings.Contains(config, "\n\npostgresql:\n  listen: ") {
		t.Errorf("config.yml:\n%s", config)
	}
	// Whatever changes the role or the database of an application stands between \if and \endif.
	inside, guarded := false, 0
	for line := range strings.Lines(sql) {
		switch {
		case line == "\\if :absent\n":
			inside = true
		case line == "\\endif\n":
			inside = false
		case strings.Contains(line, `"app"`):
			guarded++
			if !inside {
				t.Errorf("in any case: %s", line)
			}
		}
	}
	if guarded < 4 || strings.Count(sql, "AS absent \\gset\n\\if") != 2 {
		t.Errorf("post_bootstrap.sql:\n%s", sql)
	}
}

// Single-user mode ends a statement at the end of the line.
func TestReplicatorSQL(t *testing.T) {
	c := &cluster.Cluster{Postgres: cluster.Postgres{ReplicationUser: `o"dd`}}
	want := `DO $pgha$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'o"dd') THEN CREATE ROLE "o""dd"; END IF; END $pgha$;` + "\n" +
		`ALTER ROLE "o""dd" LOGIN REPLICATION PASSWORD E'a''b\\c';` + "\n"
	if got := ReplicatorSQL(c, cluster.Secrets{Replicator: `a'b\c`}); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// What is run as the superuser of somebody else's server trusts no search path, and names the password once: in the statement
// that psql sends alone.
func TestRemoteSQL(t *testing.T) {
	c, err := cluster.Parse("cluster.yaml", []byte("scope: t\nnetwork: 10.0.0.0/24\nnodes: [{name: db1, address: 10.0.0.1}]\n"+
		"postgres: {replication_user: streams}\nadopt: {remote: {host: old, sslmode: require}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := RemoteSQL(c, cluster.Secrets{Replicator: "secret'word"})
	for _, want := range []string{
		"--   hostssl replication streams 10.0.0.1/32 scram-sha-256\n",
		"COMMENT ON ROLE \"streams\" IS 'made by pgbake for the cluster t';\n",
		"\nALTER ROLE \"streams\" LOGIN REPLICATION PASSWORD 'secret''word';\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	refusal := strings.Index(got, "RAISE EXCEPTION")
	if password := strings.Index(got, "secret''word"); strings.Count(got, "secret") != 1 || password < refusal || refusal < 0 {
		t.Errorf("the password stands before the refusal, or twice:\n%s", got)
	}
	if strings.Contains(got, "FROM pg_roles") || strings.Contains(got, " shobj_description") {
		t.Errorf("a name without its schema:\n%s", got)
	}
}
