package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// One member and no proxy: PostgreSQL that Patroni looks after, with nobody to fail over to. Applications connect to it.
func TestLone(t *testing.T) {
	beside(t)
	l := up(t, `scope: lone
network: 10.41.0.0/24
nodes:
  - {name: db1, address: 10.41.0.11}
postgres:
  databases:
    - {name: app, owner: app}
  users:
    - name: app
`)
	if s := l.healthy(30 * time.Second); len(s.Members) != 1 || s.primary() != "db1" || len(s.Proxies) != 0 {
		t.Fatalf("want db1 alone to lead: %+v", s)
	}
	l.eventually("pgha status to say that it is healthy", 30*time.Second, func() bool {
		out, code := l.exec("db1", "pgha", "status")
		return code == 0 && strings.Contains(out, "primary  running  1   healthy")
	})
	if out := l.pgbake("show"); !strings.Contains(out, "10.41.0.11:5432") || strings.Contains(out, "5000") {
		t.Errorf("pgbake show should lead applications to PostgreSQL itself:\n%s", out)
	}
	t.Run("apply twice", l.applyTwice)
	t.Run("what a failure keeps", l.keepsWhatIsSaid)

	t.Run("killed", func(t *testing.T) {
		l := l.on(t)
		l.sql("CREATE TABLE seen(i int); INSERT INTO seen VALUES (42)") // waits for nobody, since nobody is there
		l.pgbake("lab", "fault", "kill", "db1", "postgres")
		l.eventually("PostgreSQL again", 30*time.Second, l.answers)
	})
	t.Run("power cut", func(t *testing.T) {
		l := l.on(t)
		l.pgbake("lab", "fault", "power-cut", "db1")
		if s, err := l.status(); err != nil || s.Healthy {
			t.Errorf("without power: %v, %+v", err, s)
		}
		l.pgbake("lab", "fault", "power-on", "db1")
		l.healthy(time.Minute)
		l.eventually("the row", 10*time.Second, l.answers)
	})
	t.Run("asks for too much", l.asksForTooMuch)
}

// asksForTooMuch: a parameter with which PostgreSQL cannot start on this machine is told of in PostgreSQL's own words, and a
// specification without it brings the database back.
func (l *lab) asksForTooMuch(t *testing.T) {
	l = l.on(t)
	if mode, err := os.ReadFile("/proc/sys/vm/overcommit_memory"); err != nil || strings.TrimSpace(string(mode)) == "1" {
		t.Skipf("this host gives away memory that it has not (vm.overcommit_memory %s, %v): PostgreSQL would begin to use it", mode, err)
	}
	const said = "could not map anonymous shared memory: Cannot allocate memory"
	if out, code := l.accept("db1", l.seed(l.text+"  parameters:\n    shared_buffers: 2000GB\n")); code != 0 {
		t.Fatal(out)
	}
	l.eventually("the restart that is wanted", 30*time.Second, func() bool {
		out, _ := l.exec("db1", "pgha", "doctor")
		return strings.Contains(out, "pgha restart --pending")
	})
	if out, code := l.exec("db1", "sh", "-c", "pgha restart 2>&1"); code != 1 || !strings.Contains(out, said) {
		t.Errorf("pgha restart: exit code %d, no %q in\n%s", code, said, out)
	}
	if out, _ := l.exec("db1", "pgha", "doctor"); !strings.Contains(out, "does not run, and said: "+said) || !strings.Contains(out, `"shared_buffers"`) {
		t.Errorf("pgha doctor does not tell why PostgreSQL does not start:\n%s", out)
	}
	if out, code := l.accept("db1", l.seed(l.text)); code != 0 {
		t.Fatal(out)
	}
	l.healthy(time.Minute)
	l.eventually("the row", 10*time.Second, l.answers)
}

// keepsWhatIsSaid looks at what a test that fails would keep.
func (l *lab) keepsWhatIsSaid(t *testing.T) {
	l = l.on(t)
	dir := l.postMortem()
	if dir == "" {
		t.Fatal("nothing is kept")
	}
	for name, want := range map[string]string{
		"status": "db1", "db1.status": "db1", "db1.journal": "patroni", "db1.console": "systemd", "db1.network": "10.41.0.11", "db1.doctor": "", "db1.units": "loaded units",
	} {
		body, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: %v, no %q in\n%.500s", name, err, want, body)
		}
		if strings.Contains(string(body), l.password("app")) {
			t.Errorf("%s has a password", name)
		}
	}
	if !t.Failed() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
}

// answers tells whether the row that was written can be read.
func (l *lab) answers() bool {
	out, err := l.try(l.Context(), "lab", "psql", "--", "-XAtc", "SELECT i FROM seen")
	return err == nil && strings.TrimSpace(out) == "42"
}
