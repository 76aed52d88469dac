package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// connected: what pgbake connect writes is used for real, by the programs it is for; then the proxy loses its power, then the
// primary too, and the same strings go on.
func (l *lab) connected(t *testing.T) {
	l = l.on(t)
	dir := filepath.Join(t.TempDir(), "it's 100% ours") // every kind of quoting
	l.pgbake("-o", dir, "connect")
	c := clients{l, filepath.Join(dir, "connect")}
	l.healthy(time.Minute)

	t.Run("services", c.services)
	t.Run("strings", c.strings)
	t.Run("queries", c.queries)
	t.Run("JDBC", c.jdbc)
	t.Run("without the proxy", c.withoutProxy)
}

type clients struct {
	*lab
	dir string
}

func (c clients) on(t *testing.T) clients { return clients{c.lab.on(t), c.dir} }

// psql runs in the lab's network with nothing but what connect wrote.
func (c clients) psql(args ...string) (string, error) {
	out, err := c.inside([]string{"PGSERVICEFILE=" + filepath.Join(c.dir, "pg_service.conf"), "PGPASSFILE=" + filepath.Join(c.dir, "pgpass")},
		append([]string{"psql", "-XwAtq", "-v", "ON_ERROR_STOP=1"}, args...)...)
	return strings.TrimSpace(out), err
}

const whoAmI = "SELECT current_user, current_database(), pg_is_in_recovery(), ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"

func (c clients) services(t *testing.T) {
	c = c.on(t)
	for service, want := range map[string]string{
		"app": "app|app|f|t", "app.ro": "app|app|t|t", "stock": "app|stock|f|t", "reader@app": "reader|app|f|t", "reader@app.ro": "reader|app|t|t",
	} {
		if got, err := c.psql("service="+service, "-c", whoAmI); err != nil || got != want {
			t.Errorf("service=%s: %s, %v; want %s", service, got, err, want)
		}
	}
}

// strings are for scripts. A certificate of another authority is refused: verify-full means what it says.
func (c clients) strings(t *testing.T) {
	c = c.on(t)
	for _, form := range []string{"libpq", "url"} {
		for flag, want := range map[string]string{"--read-only=false": "app|app|f|t", "--read-only": "app|app|t|t"} {
			s := strings.TrimSpace(c.pgbake("-o", filepath.Dir(c.dir), "connect", "--print", form, flag))
			if got, err := c.psql(s, "-c", whoAmI); err != nil || got != want {
				t.Errorf("%s: %s, %v; want %s", s, got, err, want)
			}
		}
	}
	other := t.TempDir()
	if out, _, err := pgbakeIn(t.Context(), other, "init"); err != nil {
		t.Fatal(out, err)
	}
	s := strings.TrimSpace(c.pgbake("connect", "--print", "libpq", "--at", filepath.Join(other, "secrets")))
	if out, err := c.psql(s, "-c", "SELECT 1"); err == nil || !strings.Contains(out, "certificate verify failed") {
		t.Errorf("with the certificate of another cluster: %s, %v", out, err)
	}
}

// queries run without an error, on the primary and on a replica, for the owner and for an ordinary user; a superuser's
// eyes see the replicas.
func (c clients) queries(t *testing.T) {
	c = c.on(t)
	for _, service := range []string{"app", "app.ro", "reader@app", "reader@app.ro"} {
		if out, err := c.psql("service="+service, "-f", filepath.Join(c.dir, "monitoring.sql")); err != nil {
			t.Errorf("%s: %v: %s", service, err, out)
		}
	}
	primary := c.healthy(time.Minute).primary()
	body, err := os.ReadFile(filepath.Join(c.dir, "monitoring.sql"))
	if err != nil {
		t.Fatal(err)
	}
	c.eventually("the superuser to see two replicas", 30*time.Second, func() bool {
		out, code := c.exec(primary, "runuser", "-u", "postgres", "--", "psql", "-XAt", "-v", "ON_ERROR_STOP=1", "-c", string(body))
		return code == 0 && strings.Count(out, "|streaming|quorum|") == 2
	})
	write := filepath.Join(c.dir, "write-test.sql")
	if out, err := c.psql("service=app", "-f", write); err != nil || !strings.HasPrefix(out, "written through the read-write port|") {
		t.Errorf("write: %v: %s", err, out)
	}
	if out, err := c.psql("service=app.ro", "-f", write); err == nil || !strings.Contains(out, "read-only transaction") {
		t.Errorf("write on a replica: %v: %s", err, out)
	}
	if left, err := c.psql("service=app", "-c", `\d`); err != nil || strings.Contains(left, "pgbake_write_test") {
		t.Errorf("left behind: %s %v", left, err)
	}
}

// jdbc takes the strings to PostgreSQL's own driver, by a program that only has JDBC.
func (c clients) jdbc(t *testing.T) {
	c = c.on(t)
	c.needJava()
	for flag, want := range map[string]string{"--read-only=false": "'app','f'", "--read-only": "'app','t'"} {
		if out, err := c.java(flag); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v: %s", flag, err, out)
		}
	}
}

var jars = []string{"/usr/share/java/postgresql.jar", "/usr/share/java/sqlline.jar", "/usr/share/java/jline.jar"}

func (c clients) needJava() {
	for _, jar := range jars {
		if _, err := os.Stat(jar); err != nil {
			if os.Getenv("CI") == "true" {
				c.Fatal(err)
			}
			c.Skipf("%v: apt-get install default-jre-headless libpostgresql-jdbc-java sqlline", err)
		}
	}
}

// java asks who it is and whether that is a replica, by JDBC.
func (c clients) java(flag string) (string, error) {
	url := strings.TrimSpace(c.pgbake("-o", filepath.Dir(c.dir), "connect", "--print", "jdbc", flag))
	cmd := exec.CommandContext(c.Context(), "nsenter", "--net=/run/netns/pgbake-"+c.scope, "--", "java", "-cp", strings.Join(jars, ":"),
		"sqlline.SqlLine", "--silent=true", "--fastConnect=true", "--outputformat=csv")
	cmd.Env = append(os.Environ(), "HOME="+c.TempDir())
	cmd.Stdin = strings.NewReader("!connect \"" + url + "\" app " + c.password("app") + " org.postgresql.Driver\n" +
		"SELECT current_user AS u, pg_is_in_recovery()::text::char AS r;\n!quit\n")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// withoutProxy cuts the proxy's power, then the primary's. An application that knows nothing but its service connects
// to the member that is primary now.
func (c clients) withoutProxy(t *testing.T) {
	c = c.on(t)
	c.pgbake("lab", "fault", "power-cut", "proxy1")
	insert := func(n int) (string, error) {
		return c.psql("service=app", "-c", fmt.Sprintf("CREATE TABLE IF NOT EXISTS kept (n int PRIMARY KEY); INSERT INTO kept VALUES (%d) ON CONFLICT DO NOTHING", n))
	}
	if out, err := insert(1); err != nil {
		t.Fatalf("with the proxy off: %v: %s", err, out)
	}
	old := ""
	c.eventually("the primary's name", 30*time.Second, func() bool {
		s, _ := c.status() // not healthy: the proxy is off
		old = s.primary()
		return old != ""
	})
	c.pgbake("lab", "fault", "power-cut", old)
	since := time.Now()
	c.eventually("a write after the primary's power cut, with the proxy off too", 2*time.Minute, func() bool {
		_, err := insert(2)
		return err == nil
	})
	t.Logf("written again after %.1f s", time.Since(since).Seconds())
	if got, err := c.psql("service=app", "-c", "SELECT count(*) FROM kept"); err != nil || got != "2" {
		t.Errorf("%s rows, want 2: %v", got, err)
	}
	if got, err := c.psql("service=app.ro", "-c", "SELECT count(*) FROM kept"); err != nil || got != "2" {
		t.Errorf("read-only: %s rows, want 2: %v", got, err)
	}
	c.needJava()
	if out, err := c.java("--read-only=false"); err != nil || !strings.Contains(out, "'app','f'") {
		t.Errorf("JDBC: %v: %s", err, out)
	}
}
