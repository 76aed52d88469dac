package e2e

import (
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
	if out, code := l.exec("db1", "pgha", "status"); code != 0 || !strings.Contains(out, "primary  running  1   healthy") {
		t.Errorf("pgha status: exit code %d\n%s", code, out)
	}
	if out := l.pgbake("show"); !strings.Contains(out, "10.41.0.11:5432") || strings.Contains(out, "5000") {
		t.Errorf("pgbake show should lead applications to PostgreSQL itself:\n%s", out)
	}
	t.Run("apply twice", l.applyTwice)

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
}

// answers tells whether the row that was written can be read.
func (l *lab) answers() bool {
	out, err := l.try(l.Context(), "lab", "psql", "--", "-XAtc", "SELECT i FROM seen")
	return err == nil && strings.TrimSpace(out) == "42"
}
