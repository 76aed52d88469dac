package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The manual's own cluster: Debian 12, PostgreSQL 17 from PGDG, of which tests have a small signed stand-in.
func TestGlobal(t *testing.T) {
	beside(t)
	l := theMainJob(t, fromPGDG(t, example(t, "global.yaml")), application{user: "global", database: "replicatest"})
	t.Run("data that cannot start", l.cannotStart)
}

// Debian's own archive only: PostgreSQL 15 and Patroni 3.0.2. Then its machines are replaced.
func TestQuickstartDebian12(t *testing.T) {
	beside(t)
	l := theMainJob(t, quickstart(t, "quick12", 12), application{user: "app", database: "app"})
	t.Run("replaced", l.replaced)
}

// Debian's own archive only: PostgreSQL 17 and Patroni 4.0.7. Then its specification changes.
func TestQuickstartDebian13(t *testing.T) {
	beside(t)
	l := theMainJob(t, quickstart(t, "quick13", 13), application{user: "app", database: "app"})
	t.Run("changed", l.changed)
}

type application struct{ user, database string }

// theMainJob boots a cluster and has it do what it is for. It is healthy in the end, and led by another member than before.
func theMainJob(t *testing.T, spec string, app application) *lab {
	t.Helper()
	l := up(t, spec)
	s := l.healthy(2 * time.Minute)
	if len(s.Members) != 3 {
		t.Fatalf("%d members, want 3: %+v", len(s.Members), s)
	}

	t.Run("routing", func(t *testing.T) {
		l := l.on(t)
		if got := l.sql("SELECT pg_is_in_recovery(), current_user, current_database()"); got != fmt.Sprintf("f|%s|%s", app.user, app.database) {
			t.Errorf("through the read-write port: %s", got)
		}
		l.eventually("reads from a replica", 10*time.Second, func() bool {
			out, err := l.try(t.Context(), "lab", "psql", "--read-only", "--", "-XAtc", "SELECT pg_is_in_recovery()")
			return err == nil && strings.TrimSpace(out) == "t"
		})
		l.sql("CREATE TABLE seen(i int); INSERT INTO seen VALUES (42)")
		l.eventually("the row on a replica", 10*time.Second, func() bool {
			out, err := l.try(t.Context(), "lab", "psql", "--read-only", "--", "-XAtc", "SELECT i FROM seen")
			return err == nil && strings.TrimSpace(out) == "42"
		})
	})
	t.Run("nobody else gets in", func(t *testing.T) { l.refusals(t, app) })
	t.Run("firewall", l.firewall)
	t.Run("apply twice", l.applyTwice)
	t.Run("killed and mended", l.killedApply)
	t.Run("no secret leaks", l.noLeak)
	t.Run("power cut", l.powerCut)
	return l
}

// example returns the text of an example.
func example(t *testing.T, name string) string {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("../../examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func replaceOnce(t *testing.T, text, old, by string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q is in the example %d times, want once", old, strings.Count(text, old))
	}
	return strings.Replace(text, old, by, 1)
}

// fromPGDG has a specification with PGDG's archive take it from the mirror on this disk, where there is one.
func fromPGDG(t *testing.T, spec string) string {
	t.Helper()
	dir := pgdg(t)
	if dir == "" {
		return spec
	}
	key, err := os.ReadFile(filepath.Join(dir, "stand-in.asc"))
	if err != nil {
		t.Fatal(err)
	}
	indented := "      " + strings.ReplaceAll(strings.TrimSpace(string(key)), "\n", "\n      ")
	return replaceOnce(t, spec, "\n  source: pgdg", fmt.Sprintf("\n  mirror:\n    url: file://%s\n    key: |\n%s\n  source: pgdg", dir, indented))
}

// pgdg is a mirror of PGDG on this disk: $PGBAKE_PGDG, else shared/pgdg beside the repository.
func pgdg(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PGBAKE_PGDG")
	if dir == "" {
		dir = "../../../shared/pgdg"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}
