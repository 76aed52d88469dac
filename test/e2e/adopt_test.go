package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// adopting is the specification of a cluster that begins with the database of db1. Of its users and databases the
// database has some already.
func adopting(t *testing.T) string {
	t.Helper()
	spec := quickstart(t, "adopt", 13)
	spec = replaceOnce(t, spec, "    - {name: app, owner: app}\n", "    - {name: app, owner: app}\n    - {name: reports, owner: reporter}\n")
	spec = replaceOnce(t, spec, "    - name: app\n", "    - name: app\n    - name: reporter\n")
	return spec + "adopt: {node: db1, cluster: 17/main}\n"
}

const (
	pgData    = "/var/lib/postgresql/17/main"
	pgConf    = "/etc/postgresql/17/main"
	oldSecret = "from before: it's \\ ours"
)

// olderThanTheCluster makes on db1 what an administrator had there years before anybody thought of a cluster.
const olderThanTheCluster = `set -eu
pg_createcluster 17 main >/dev/null
cd /etc/postgresql/17/main
sed -i 's/^max_connections = 100/max_connections = 150/' postgresql.conf
cat >conf.d/app.conf <<-'EOF'
	# ours
	shared_preload_libraries = 'pg_stat_statements'
	work_mem = 7MB
	log_line_prefix = '%m it''s [%p] '
	synchronous_commit = remote_apply
EOF
sed -i '1i host all all 127.0.0.1/32 trust' pg_hba.conf
pg_ctlcluster 17 main start
sql() { runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 "$@"; }
sql <<-'EOF'
	ALTER SYSTEM SET random_page_cost = 1.5;
	CREATE ROLE app LOGIN PASSWORD 'from before: it''s \ ours';
	CREATE ROLE auditor LOGIN PASSWORD 'from before: it''s \ ours' IN ROLE pg_read_all_data;
	CREATE DATABASE app OWNER app;
	CREATE DATABASE "Old One" OWNER auditor;
	CREATE DATABASE sorted;
	UPDATE pg_database SET datcollversion = '1.0' WHERE datname = 'sorted';
	ALTER ROLE app SET statement_timeout = '77s';
	SELECT pg_create_physical_replication_slot('archive', true);
EOF
sql -d app <<-'EOF'
	CREATE EXTENSION pg_stat_statements;
	CREATE EXTENSION hstore;
	CREATE TABLE things(id serial PRIMARY KEY, name text COLLATE "C", attributes hstore);
	INSERT INTO things(name, attributes) SELECT 'thing ' || i, hstore('i', i::text) FROM generate_series(1, 10000) i;
	ALTER TABLE things OWNER TO app;
	SELECT lo_from_bytea(4711, decode(repeat('cafe', 100000), 'hex'));
EOF
sql -d 'Old One' -c "CREATE TABLE letters AS SELECT chr(64 + i) AS letter FROM generate_series(1, 26) i"
runuser -u postgres -- psql -c 'SELECT pg_reload_conf()' >/dev/null
`

// whatThereIs is everything that must be the same before and after.
const whatThereIs = `
SELECT system_identifier FROM pg_control_system();
SELECT count(*), sum(hashtext(name)), sum((attributes->'i')::int) FROM things;
SELECT last_value, is_called FROM things_id_seq;
SELECT md5(lo_get(4711));
SELECT rolname, rolcanlogin, md5(rolpassword), (SELECT setconfig FROM pg_db_role_setting WHERE setrole = a.oid) FROM pg_authid a WHERE rolname IN ('app', 'auditor') ORDER BY 1;
SELECT datname, pg_get_userbyid(datdba), datcollate, datlocprovider, datacl FROM pg_database WHERE datname IN ('app', 'Old One') ORDER BY 1;
SELECT extname, extversion FROM pg_extension ORDER BY 1;
SELECT slot_name FROM pg_replication_slots WHERE slot_name = 'archive';
SHOW work_mem; SHOW shared_preload_libraries; SHOW log_line_prefix; SHOW max_connections; SHOW random_page_cost;
`

// The manual's own case: node 1 has a cluster of Debian's tools, years older than ours. It boots last.
func TestAdopt(t *testing.T) {
	beside(t)
	l := open(t, adopting(t))
	l.atOnce()
	l.newDisks(l.machines...)
	if err := errors.Join(os.MkdirAll(l.disk("db1", "etc/systemd/system"), 0o755), os.Symlink("/dev/null", l.disk("db1", "etc/systemd/system/pgha-apply.service"))); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l.powerOn(l.machines...) // db1 without an agent: a machine that has not been told of any cluster
	l.eventually("db1's boot", time.Minute, func() bool {
		_, err := l.try(t.Context(), "lab", "exec", "db1", "--", "test", "-e", "/etc/pgha/machine")
		return err == nil
	})
	l.sh("db1", olderThanTheCluster)
	l.setTraps("db1")
	before := l.whatThereIs()

	t.Run("check", l.adoptionCheck)
	t.Run("refusals", l.adoptionRefused)
	l.untrapped(t, "db1")
	if now := l.whatThereIs(); now != before {
		t.Fatalf("only looked at, and changed:\n%s\nwas\n%s", now, before)
	}

	// A minute later the others have founded etcd without db1, and no database.
	for _, m := range []string{"db2", "db3"} {
		l.eventually(m+" to wait for db1's database", 3*time.Minute, func() bool {
			why, _ := l.waits(m)
			return strings.Contains(why, "begins with the database of db1, which does not lead yet")
		})
		if _, err := os.Stat(l.disk(m, filepath.Join(pgData, "PG_VERSION"))); err == nil {
			t.Errorf("%s has made a database", m)
		}
		l.eventually("pgha status on "+m+" to say what it waits for", 30*time.Second, func() bool {
			out, _ := l.exec(m, "pgha", "status")
			return strings.Contains(out, "begins with the database of db1")
		})
	}
	t.Logf("db2 and db3 waited %.0f s", time.Since(began).Seconds())

	// The real first boot, and the power cut in the middle of the adoption.
	l.sh("db1", "rm /etc/systemd/system/pgha-apply.service")
	l.pgbake("lab", "fault", "shutdown", "db1")
	elsewhere := filepath.Join(t.TempDir(), "data")
	l.copyTree(l.disk("db1", pgData), elsewhere)
	l.powerOn("db1")
	l.promptly("the old configuration out of the way", time.Minute, func() bool {
		_, err := os.Stat(l.disk("db1", "etc/postgresql.adopted/17/main/postgresql.conf"))
		return err == nil
	})
	l.pgbake("lab", "fault", "power-cut", "db1")
	on := time.Now()
	l.powerOn("db1")
	s := l.healthy(2 * time.Minute)
	t.Logf("healthy %.1f s after db1's power was back", time.Since(on).Seconds())
	if s.primary() != "db1" {
		t.Errorf("the primary is %s", s.primary())
	}
	if now := l.whatThereIs(); now != before {
		t.Errorf("before the adoption:\n%s\nafter:\n%s", before, now)
	}
	l.oneCluster()
	said := l.sh("db1", "journalctl -u pgha-apply -o cat --grep 'the adopted database leads'")
	if strings.Count(said, "after a pause of ") != 1 {
		t.Errorf("of the pause it says: %s", said)
	}
	t.Logf("with a power cut: %s", said)
	t.Run("everybody gets in", l.everybodyGetsIn)
	t.Run("the old cluster is kept, and out of the way", func(t *testing.T) {
		l := l.on(t)
		if out := l.sh("db1", "pg_lsclusters -h; ls /etc/postgresql.adopted/17/main/conf.d; cat /etc/postgresql.adopted/17/main/pg_hba.conf; grep -h random "+pgData+"/postgresql.auto.conf*"); !strings.HasPrefix(out, "app.conf") ||
			!strings.Contains(out, "trust") || !strings.Contains(out, "random_page_cost = '1.5'") {
			t.Errorf("what is left of the old cluster:\n%s", out)
		}
	})
	t.Run("on the replicas", func(t *testing.T) {
		l := l.on(t)
		for _, m := range []string{"db2", "db3"} {
			if got := l.superuser(m, "SELECT current_setting('work_mem'), current_setting('max_connections'), current_setting('shared_preload_libraries'), current_setting('synchronous_commit')"); got != "7MB|150|pg_stat_statements|on" {
				t.Errorf("%s: settings %s", m, got)
			}
		}
	})
	t.Run("apply twice", l.applyTwice)
	t.Run("a power cut later", func(t *testing.T) {
		l := l.on(t)
		l.pgbake("lab", "fault", "power-cut", "db1")
		l.eventually("every thing at another primary", 2*time.Minute, func() bool {
			out, err := l.asRole("app", "app", oldSecret, "SELECT count(*) FROM things")
			return err == nil && out == "10000"
		})
	})
	t.Run("a disk from elsewhere", func(t *testing.T) { l.on(t).fromElsewhere(elsewhere, before) })
}

// fromElsewhere begins another cluster with the data alone, as on a disk that was taken out of its machine.
func (l *lab) fromElsewhere(data, before string) {
	l.Helper()
	l.pgbake("lab", "down")
	spec := replaceOnce(l.T, l.text, "cluster: 17/main", "data: true")
	if err := os.WriteFile(l.spec, []byte(spec), 0o600); err != nil {
		l.Fatal(err)
	}
	l.atOnce()
	l.newDisks(l.machines...)
	l.powerOn("db2", "db3", "proxy1")
	dir := l.disk("db1", pgData)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		l.Fatal(err)
	}
	l.copyTree(data, dir)
	owner := "--reference=" + dir
	if out, err := exec.CommandContext(l.Context(), "chown", owner, filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))).CombinedOutput(); err != nil {
		l.Fatalf("%v: %s", err, out)
	}
	l.copyTree(filepath.Join(data, "PG_VERSION"), filepath.Join(dir, "standby.signal"))
	conf := "shared_preload_libraries = pg_stat_statements\nwork_mem = 7MB\nlog_line_prefix = '%m it''s [%p] '\nmax_connections = 150\n"
	if err := os.WriteFile(filepath.Join(dir, "postgresql.conf"), []byte(conf), 0o644); err != nil {
		l.Fatal(err)
	}
	l.powerOn("db1")
	// What cannot be adopted stays as it is, on a machine that is ready for it, until somebody has seen to it.
	l.eventually("db1 to refuse a standby", time.Minute, func() bool {
		out, _ := l.exec("db1", "pgha", "status")
		return strings.Contains(out, "no primary, but a standby or a copy that was not recovered: standby.signal")
	})
	l.sh("db1", "rm "+pgData+"/standby.signal; pgha adopt --check || test $? = 3")
	l.healthy(2 * time.Minute)
	l.eventually("a word on the database that is sorted in another way, and on no other", 30*time.Second, func() bool {
		out, _ := l.exec("db1", "journalctl", "-u", "pgha-apply", "-o", "cat", "--grep", "database .*: indexes on texts")
		return strings.Count(out, "database sorted: ") == 1 && strings.Count(out, "database ") == 1
	})
	if now := l.whatThereIs(); now != before {
		l.Errorf("before:\n%s\nafter:\n%s", before, now)
	}
	l.oneCluster()
	l.applyTwice(l.T)
}

// atOnce switches the machines on, and waits for nothing.
func (l *lab) atOnce() {
	l.Helper()
	if _, err := l.try(l.Context(), "lab", "up", "--timeout", "1s"); err == nil || !strings.Contains(err.Error(), "gave up after 1s") {
		l.Fatalf("lab up: %v", err)
	}
}

// copyTree copies files as they are, with their owners.
func (l *lab) copyTree(from, to string) {
	l.Helper()
	if out, err := exec.CommandContext(l.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		l.Fatalf("%v: %s", err, out)
	}
}

// whatThereIs asks db1's database app as its superuser.
func (l *lab) whatThereIs() string {
	l.Helper()
	return l.sh("db1", "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d app <<'EOF'\n"+whatThereIs+"EOF")
}

// adoptionCheck reads the report, which changes nothing.
func (l *lab) adoptionCheck(t *testing.T) {
	l = l.on(t)
	out, code := l.exec("db1", "pgha", "adopt", "--check")
	if code != 3 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{
		"PostgreSQL 17, system ", "timeline 1 becomes 2", "a pause of some seconds",
		"work_mem = 7MB", "max_connections = 150", "random_page_cost = 1.5", "log_line_prefix = %m it's [%p]", "shared_preload_libraries = pg_stat_statements",
		"synchronous_commit: remote_apply → on", "host all all 127.0.0.1/32 trust", "replication slots stay on this machine alone, where a failover leaves them: archive",
		"database sorted: indexes on texts were made with another version of its collations (its own)",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("not a word of %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "refused") || strings.Contains(out, "not of PostgreSQL's own package") {
		t.Errorf("too much is said:\n%s", out)
	}
}

// adoptionRefused makes the database one that cannot be adopted, in every way that a container allows, and back.
func (l *lab) adoptionRefused(t *testing.T) {
	l = l.on(t)
	const sql = "runuser -u postgres -- psql -XAtqc "
	for _, tt := range []struct{ name, make, undo, want string }{
		{"standby", "touch " + pgData + "/standby.signal", "rm " + pgData + "/standby.signal", "no primary, but a standby"},
		{"tablespace", "install -d -o postgres /srv/fast; " + sql + `"CREATE TABLESPACE fast LOCATION '/srv/fast'"`, sql + `"DROP TABLESPACE fast"`, "cannot clone: /srv/fast"},
		{
			"another's postmaster", "pg_ctlcluster 17 main stop; runuser -u postgres -- /usr/lib/postgresql/17/bin/pg_ctl -s -w -D " + pgData + " -o '-c config_file=" + pgConf + "/postgresql.conf' -l /dev/null start",
			"runuser -u postgres -- /usr/lib/postgresql/17/bin/pg_ctl -s -w -D " + pgData + " stop; pg_ctlcluster 17 main start", "not in Debian's postgresql@17-main.service",
		},
	} {
		l.sh("db1", tt.make)
		began := l.sh("db1", "head -3 "+pgData+"/postmaster.pid")
		if out, code := l.exec("db1", "pgha", "adopt", "--check"); code != 1 || !strings.Contains(out, tt.want) {
			t.Errorf("%s: check: exit code %d, want %q in\n%s", tt.name, code, tt.want, out)
		}
		if out, code := l.exec("db1", "pgha", "apply", "--timeout", "10s"); code != 1 || !strings.Contains(out, tt.want) || !strings.Contains(out, "hint: ") {
			t.Errorf("%s: apply: exit code %d, want %q in\n%s", tt.name, code, tt.want, out)
		}
		if out := l.sh("db1", "pgha status || :"); !strings.Contains(out, tt.want) {
			t.Errorf("%s: status: want %q in\n%s", tt.name, tt.want, out)
		}
		if now := l.sh("db1", "head -3 "+pgData+"/postmaster.pid; test ! -e /etc/patroni/config.yml; test ! -e /var/lib/pgha/configured"); now != began {
			t.Errorf("%s: PostgreSQL was touched: %s, was %s", tt.name, now, began)
		}
		l.sh("db1", tt.undo)
	}
}

// asRole asks through the proxy with TLS.
func (l *lab) asRole(role, database, password, query string) (string, error) {
	out, err := l.inside([]string{"PGPASSWORD=" + password, "PGCONNECT_TIMEOUT=5"}, "psql", "-XAtq", "-d",
		"host="+l.entry()+" port=5000 user="+role+" dbname='"+database+"' sslmode=verify-full sslrootcert="+filepath.Join(filepath.Dir(l.spec), "secrets", "ca.crt"), "-c", query)
	return strings.TrimSpace(out), err
}

// everybodyGetsIn with the passwords of before, and those who are new with those of the secrets.
func (l *lab) everybodyGetsIn(t *testing.T) {
	l = l.on(t)
	for _, tt := range []struct{ role, database, password, query, want string }{
		{"app", "app", oldSecret, "INSERT INTO things(name) VALUES ('new') RETURNING id", "10001"},
		{"app", "app", oldSecret, "DELETE FROM things WHERE name = 'new' RETURNING id", "10001"},
		{"app", "app", oldSecret, "SHOW statement_timeout", "77s"},
		{"auditor", "Old One", oldSecret, "SELECT count(*) FROM letters", "26"},
		{"reporter", "reports", l.password("reporter"), "SELECT current_user", "reporter"},
	} {
		if out, err := l.asRole(tt.role, tt.database, tt.password, tt.query); err != nil || out != tt.want {
			t.Errorf("%s: %s: %s %v, want %s", tt.role, tt.query, out, err, tt.want)
		}
	}
	if out, err := l.asRole("app", "app", l.password("app"), "SELECT 1"); err == nil {
		t.Errorf("the password of a role that was there has been replaced: %s", out)
	}
}
