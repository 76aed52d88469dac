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
	want := `DO $pgha$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'o"dd') THEN CREATE ROLE "o""dd"; END IF; END $pgha$;` + "\n" +
		`ALTER ROLE "o""dd" LOGIN REPLICATION PASSWORD E'a''b\\c';` + "\n"
	if got := ReplicatorSQL(c, cluster.Secrets{Replicator: `a'b\c`}); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
