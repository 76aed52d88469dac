package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/render"
)

// connect tries one query as a client would.
func (l *live) connect(conn, password, query string) (string, error) {
	out, err := l.try("nobody", "env", "PGPASSWORD="+password, "psql", "-XAtq", "-d", conn, "-c", query)
	return strings.TrimSpace(out), err
}

func (l *live) hba(t *testing.T) {
	node := "host=" + l.member.Address.String() + " "
	verified := "sslmode=verify-full sslrootcert=/etc/patroni/tls/ca.crt "
	s := l.site.secrets
	for _, c := range []struct{ conn, password, query, want string }{
		// From the network of the clients, which the member's own address is in.
		{node + verified + "user=app dbname=app", s.Users["app"], "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "true"},
		{node + verified + "user=app dbname=app", "wrong", "SELECT 1", "password authentication failed"},
		{node + "sslmode=disable user=app dbname=app", s.Users["app"], "SELECT 1", "no pg_hba.conf entry"},
		{node + verified + "user=postgres dbname=postgres", "", "SELECT 1", "rejects connection"},
		{"host=127.0.0.1 " + verified + "user=postgres dbname=postgres", "", "SELECT 1", "rejects connection"},
		{"host=/var/run/postgresql user=postgres dbname=postgres", "", "SELECT 1", "Peer authentication failed"},
		{"host=/var/run/postgresql user=app dbname=app", s.Users["app"], "SELECT 1", "no pg_hba.conf entry"},
		// Patroni's own.
		{"host=127.0.0.1 replication=1 " + verified + "user=replicator", s.Replicator, "SHOW wal_level", "replica"},
		{node + "replication=1 " + verified + "user=replicator", s.Replicator, "SHOW wal_level", "replica"},
		{"host=/var/run/postgresql replication=1 user=replicator", s.Replicator, "SHOW wal_level", "replica"},
		{node + "replication=1 " + verified + "user=app", s.Users["app"], "SHOW wal_level", "no pg_hba.conf entry"},
		{node + verified + "user=replicator dbname=app", s.Replicator, "SELECT 1", "rejects connection"},
		{node + verified + "user=rewind dbname=postgres", s.Rewind, "SELECT length(pg_read_binary_file('PG_VERSION'))", "3"},
		{node + verified + "user=rewind dbname=postgres", s.Rewind, "SELECT pg_read_file('PG_VERSION')", "permission denied"},
		{node + verified + "user=rewind dbname=app", s.Rewind, "SELECT 1", "rejects connection"},
	} {
		if out, _ := l.connect(c.conn, c.password, c.query); !strings.Contains(out, c.want) {
			t.Errorf("%s: %s: %s, want %s", c.conn, c.query, out, c.want)
		}
	}
}

// python's standard library is the HTTP client that every member has. It prints the status, then the body.
const request = `
import base64, ssl, sys, urllib.request, urllib.error
method, url, user, body = sys.argv[1:]
r = urllib.request.Request(url, method=method, data=body.encode() or None)
if user: r.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
try: a = urllib.request.urlopen(r, context=ssl.create_default_context(cafile="/etc/patroni/tls/ca.crt"))
except urllib.error.HTTPError as e: a = e
print(a.status); print(a.read().decode())
`

func (l *live) request(method, url, user, body string) string {
	l.t.Helper()
	return l.run("nobody", "python3", "-c", request, method, url, user, body)
}

func (l *live) rest(t *testing.T) {
	url := fmt.Sprintf("https://%s:%d", l.member.Address, l.site.Ports.Patroni)
	own := render.RESTUser + ":" + l.site.secrets.REST
	for _, c := range []struct{ method, path, user, body, want string }{
		{"OPTIONS", "/primary", "", "", "200"},
		{"OPTIONS", "/replica?lag=16MB", "", "", "503"},
		{"PATCH", "/config", "", `{"ttl": 31}`, "401"},
		{"PATCH", "/config", "patroni:wrong", `{"ttl": 31}`, "401"},
		{"PATCH", "/config", own, fmt.Sprintf(`{"ttl": %d}`, l.site.Timers().TTL), "200"},
	} {
		if got := l.request(c.method, url+c.path, c.user, c.body); !strings.HasPrefix(got, c.want+"\n") {
			t.Errorf("%s %s as %q: %s, want %s", c.method, c.path, c.user, got, c.want)
		}
	}
}

func (l *live) throughProxy(t *testing.T) {
	for port, what := range map[int]string{l.site.Ports.ReadWrite: "a writer", l.site.Ports.ReadOnly: "a reader, when there is no replica"} {
		conn := fmt.Sprintf("host=%s port=%d user=app dbname=app sslmode=verify-full sslrootcert=/etc/patroni/tls/ca.crt", l.proxy.Address, port)
		l.await(what, func() error {
			out, err := l.connect(conn, l.site.secrets.Users["app"], "SELECT pg_is_in_recovery()")
			if err == nil && out != "f" {
				err = fmt.Errorf("in recovery")
			}
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
}

func (l *live) stats(t *testing.T) {
	url := fmt.Sprintf("https://%s:%d", l.proxy.Address, l.site.Ports.Stats)
	own := render.StatsUser + ":" + l.site.secrets.Stats
	for _, c := range []struct{ path, user, want string }{
		{"/", "", "401"},
		{"/metrics", "", "401"},
		{"/", "admin:1234", "401"},
		{"/", own, "200"},
		{"/metrics", own, `haproxy_server_status{proxy="postgres_rw"`},
	} {
		if got := l.request("GET", url+c.path, c.user, ""); !strings.Contains(got, c.want) {
			t.Errorf("%s as %q: %.200s, want %s", c.path, c.user, got, c.want)
		}
	}
}

// again runs the SQL once more, in a session that begins with everything logged.
func (l *live) again(t *testing.T) {
	before := l.sql("SELECT rolname, rolconnlimit, oid FROM pg_roles ORDER BY 1")
	l.sql("ALTER ROLE postgres SET log_statement = 'all'")
	out := l.run("postgres", "/usr/lib/pgha/post-bootstrap", "host=/var/run/postgresql user=postgres dbname=postgres")
	if out != "" {
		t.Errorf("it says\n%s", out)
	}
	l.await("the session's first statement in the log, without which this test would see nothing", func() error {
		if !strings.Contains(l.patroni.log(), "SET log_statement = 'none'") {
			return errors.New("not yet")
		}
		return nil
	})
	if after := l.sql("SELECT rolname, rolconnlimit, oid FROM pg_roles ORDER BY 1"); after != before {
		t.Errorf("roles changed:\n%s\n%s", before, after)
	}
}

// remote runs what `pgbake adopt` prints: this server has a role replicator whose password somebody streams by.
func (l *live) remote(t *testing.T) {
	const all = "SELECT oid, rolname, rolpassword, rolcanlogin, rolreplication FROM pg_authid WHERE rolname <> 'streams' ORDER BY 1"
	c, secrets := *l.site.Cluster, l.site.secrets
	c.Adopt = cluster.Adopt{Remote: cluster.Remote{Host: "old-db", Port: 5432, SSLMode: cluster.SSLRequire}}
	before := l.sql(all)
	prepare := func(user, password string) (string, error) {
		c.Postgres.ReplicationUser, secrets.Replicator = user, password
		path := filepath.Join(l.dir, "tmp/adopt.sql")
		if err := os.WriteFile(path, []byte(render.RemoteSQL(&c, secrets)), 0o644); err != nil {
			t.Fatal(err)
		}
		return l.try("postgres", "psql", "-X", "-d", "postgres", "-f", "/tmp/adopt.sql")
	}
	out, err := prepare("replicator", "pa'ss of another")
	for _, want := range []string{"the role replicator is there already", "postgres.replication_user"} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("%v, %s, want %q", err, out, want)
		}
	}
	if strings.Contains(out, "of another") {
		t.Errorf("it says the password: %s", out)
	}
	node := "host=" + l.member.Address.String() + " replication=1 sslmode=require user="
	if got, err := l.connect(node+"replicator", l.site.secrets.Replicator, "SHOW wal_level"); err != nil || got != "replica" {
		t.Errorf("whoever streams as replicator: %s, %v", got, err)
	}
	streams := "SELECT rolcanlogin, rolreplication, pg_has_role(oid, 'pg_monitor', 'MEMBER'), rolpassword FROM pg_authid WHERE rolname = 'streams'"
	var passwords []string
	// Its own role: made, made again, and given a changed password.
	for _, password := range []string{"pa'ss 1", "pa'ss 1", "pa'ss 2"} {
		if out, err := prepare("streams", password); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		got := l.sql(streams)
		if !strings.HasPrefix(got, "t|t|t|SCRAM-SHA-256$") {
			t.Errorf("the role: %s", got)
		}
		passwords = append(passwords, got)
	}
	if passwords[1] == passwords[2] {
		t.Error("a changed password is not brought in")
	}
	// One of another cluster is none of this one's.
	c.Scope = "another"
	if out, err := prepare("streams", "pa'ss 3"); err == nil || !strings.Contains(out, "pgbake has not made it for the cluster another") {
		t.Errorf("%v, %s", err, out)
	}
	if after := l.sql(streams); after != passwords[2] {
		t.Errorf("the role of another cluster has changed: %s", after)
	}
	if after := l.sql(all); after != before {
		t.Error("other roles have changed")
	}
}

func (l *live) silence(t *testing.T) {
	logs := l.patroni.log()
	err := filepath.WalkDir(filepath.Join(l.dir, "var/log"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		logs += string(body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(logs, "pa'ss") || strings.Contains(logs, "pa''ss") {
		t.Error("a password is in a log")
	}
}
