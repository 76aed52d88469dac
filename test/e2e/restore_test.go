package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// restoreSteps are a restore's, as its plan has them.
var restoreSteps = []string{"check", "switchover", "copy", "pause", "stop", "swap", "start", "resume", "replicas"}

// restoredCluster takes the whole cluster back to a backup that lies on a replica. The restore is killed at every step in turn, the
// primary moves meanwhile, a second operator tries what he may not, and the machine loses its power twice.
func (l *lab) restoredCluster(t *testing.T) {
	l = l.on(t)
	before := l.healthy(time.Minute)
	m := before.replicas()[0]
	l.must(m, "pgha", "backup")
	l.sql("DROP TABLE moments; CREATE TABLE later()")
	var plan string
	l.eventually("a plan, which wants "+m+" to be synchronous", time.Minute, func() bool {
		out, code := l.exec(m, "pgha", "restore")
		plan = out
		return code == 0
	})
	for _, want := range []string{"switch over from " + before.primary(), "keep the database of today as /var/lib/postgresql/17/main.aside-", "Nothing was done"} {
		if !strings.Contains(plan, want) {
			t.Errorf("the plan does not say %q:\n%s", want, plan)
		}
	}
	if got := l.sql("SELECT to_regclass('later')"); got != "later" {
		t.Fatalf("the plan has done something: %q", got)
	}
	began := time.Now()
	for i, step := range restoreSteps {
		at := l.killRestore(m, i)
		switch step {
		case "copy":
			l.failedOver(m)
			l.secondOperator(m)
		case "pause":
			if out := l.must(m, "pgha", "restore"); !strings.Contains(out, "done 3. restore to the end of") || !strings.Contains(out, "pgha restore --yes") {
				t.Errorf("where it stands:\n%s", out)
			}
		case "swap", "resume":
			l.pgbake("lab", "fault", "power-cut", m)
			l.powerOn(m)
		}
		t.Logf("%.1f s: killed at %s, which was to be %s", time.Since(began).Seconds(), at, step)
	}
	// From here on it goes on by itself.
	l.eventually("the end of the restore", 4*time.Minute, func() bool {
		_, code := l.exec(m, "test", "!", "-e", "/var/lib/pgha/restore.json")
		return code == 0
	})
	after := l.healthy(2 * time.Minute)
	t.Logf("back after %.1f s", time.Since(began).Seconds())
	l.isRestored(m, after)
	l.must(m, "pgha", "backup", "--here")
	t.Run("apply twice", l.applyTwice)

	// A database that is down: one message, what was there stays, and the others hear nothing wrong.
	down := after.replicas()[0]
	l.must(down, "systemctl", "stop", "patroni.service")
	if out, code := l.exec(down, "pgha", "backup", "--here"); code != 1 || strings.Count(out, "hint:") != 1 || !strings.Contains(out, "PostgreSQL of this machine does not answer") {
		t.Errorf("with PostgreSQL down: exit code %d\n%s", code, out)
	}
	if out := l.must(down, "ls", "-A", backupDir); strings.Contains(out, "."+down+"\n") {
		t.Errorf("left over: %s", out)
	}
	if out := l.must(down, "cat", "/var/lib/pgha/backup.json"); !strings.Contains(out, "does not answer") {
		t.Errorf("the record does not say so: %s", out)
	}
	l.must(down, "systemctl", "start", "patroni.service")
}

// restoredSlowly has the replicas copy the restored database for longer than a minute: one copy each is all that they need. Before a
// release the database has 3 GB, and the copies take more than two minutes.
func (l *lab) restoredSlowly(t *testing.T) {
	l = l.on(t)
	s := l.healthy(2 * time.Minute)
	p := s.primary()
	rows, rate := 40000, "900k"
	if os.Getenv("PGBAKE_LARGE") != "" {
		rows, rate = 2700000, "20M"
	}
	l.sql(fmt.Sprintf("CREATE TABLE filler AS SELECT i, repeat(md5(i::text), 32) FROM generate_series(1, %d) i", rows))
	l.must(p, "pgha", "backup", "--here")
	for _, r := range s.replicas() {
		l.sh(r, `sed -i 's/^  basebackup:$/&\n  - max-rate: `+rate+`/' /etc/patroni/config.yml; systemctl reload patroni; journalctl --rotate -q; journalctl --vacuum-time=1s -q`)
		defer l.must(r, "pgha", "apply") // it takes the rate away, for those who come after a failure, too
	}
	began := time.Now()
	t.Logf("%s", l.must(p, "pgha", "restore", "--yes"))
	t.Logf("%.0f s, with the copies", time.Since(began).Seconds())
	for _, r := range s.replicas() {
		said := l.sh(r, "journalctl -u patroni -o cat | grep -E 'replica has been created|Removing data directory' || :")
		if strings.Count(said, "replica has been created") != 1 || strings.Count(said, "Removing data directory") > 1 {
			t.Errorf("the copies of %s:\n%s", r, said)
		}
	}
	l.healthy(2 * time.Minute)
}

// killRestore has the restore of a machine go on, if it does not by itself, and kills it at a step, or just behind a short one.
func (l *lab) killRestore(m string, step int) (at string) {
	l.Helper()
	script := fmt.Sprintf(`pgha restore --yes >>/tmp/restore.log 2>&1 &
for i in $(seq 12000); do
	next=$(sed -n 's/^  "next": "\(.*\)",*$/\1/p' /var/lib/pgha/restore.json 2>/dev/null)
	case " %s " in *" ${next:-none} "*) pkill -9 -f '^(/usr/bin/)?pgha restore'; echo "$next"; exit 0 ;; esac
	sleep 0.01
done
tail -n 20 /tmp/restore.log; exit 1`, strings.Join(restoreSteps[step:], " "))
	return strings.TrimSpace(l.must(m, "sh", "-c", script))
}

// failedOver moves the primary away from a machine, past pgha, which refuses it during a restore.
func (l *lab) failedOver(m string) {
	l.Helper()
	s := l.healthy(2 * time.Minute)
	if s.primary() != m {
		l.Fatalf("%s leads, and %s restores", s.primary(), m)
	}
	if out, code := l.exec(m, "pgha", "switchover"); code != 1 || !strings.Contains(out, m+": restore to the end of") || !strings.Contains(out, "pgha restore --give-up") {
		l.Errorf("a switchover during a restore: exit code %d\n%s", code, out)
	}
	l.eventually("another primary", time.Minute, func() bool {
		_, code := l.exec(m, "sh", "-c", "patronictl -c /etc/patroni/config.yml switchover --force --leader "+m+" "+l.scope+" 2>&1")
		s, err := l.status()
		return code == 0 && err == nil && s.primary() != "" && s.primary() != m
	})
	l.healthy(2 * time.Minute)
}

// secondOperator tries on another machine what a restore does not let anybody do.
func (l *lab) secondOperator(m string) {
	l.Helper()
	other := ""
	for _, each := range l.members() {
		if each != m {
			other = each
		}
	}
	for _, args := range [][]string{{"maintenance", "on"}, {"maintenance", "off"}, {"switchover"}, {"restore", "--give-up"}, {"backup", "--here"}} {
		if out, code := l.exec(other, append([]string{"pgha"}, args...)...); code != 1 || !strings.Contains(out, m) || strings.Count(out, "hint:") != 1 {
			l.Errorf("pgha %s on %s: exit code %d\n%s", strings.Join(args, " "), other, code, out)
		}
	}
	if out, _ := l.exec(other, "pgha", "status"); !strings.Contains(out, m+": restore to the end of") {
		l.Errorf("the status of %s:\n%s", other, out)
	}
	if out, code := l.exec(other, "pgha", "doctor"); code == 0 || !strings.Contains(out, "on "+m+": pgha restore") {
		l.Errorf("the doctor of %s:\n%s", other, out)
	}
}

// restoreGivenUp loses the machine that restores when it has exchanged its databases. Another member gives the restore up, and the
// cluster goes on with what it had; the machine comes back, and does what it is told.
func (l *lab) restoreGivenUp(t *testing.T) {
	l = l.on(t)
	s := l.healthy(2 * time.Minute)
	m := s.primary()
	l.must(m, "pgha", "backup", "--here")
	l.sql("CREATE TABLE kept AS SELECT 1")
	at := l.killRestore(m, slices.Index(restoreSteps, "swap"))
	l.pgbake("lab", "fault", "power-cut", m)
	other := s.replicas()[0]
	if out := l.sh(other, "pgha restore --give-up 2>&1"); !strings.Contains(out, "Patroni goes on with what the others have") {
		t.Errorf("killed at %s, given up: %s", at, out)
	}
	l.eventually("another primary", 2*time.Minute, func() bool {
		s, err := l.status()
		return err == nil && s.primary() != "" && s.primary() != m
	})
	l.eventually("a write, where the proxy leads writers", time.Minute, func() bool {
		_, err := l.try(t.Context(), "lab", "psql", "--", "-XAtc", `INSERT INTO kept SELECT 2 WHERE NOT EXISTS (SELECT FROM kept WHERE "?column?" = 2)`)
		return err == nil
	})
	l.powerOn(m)
	l.eventually("it to see that it was given up", time.Minute, func() bool {
		out, code := l.exec(m, "pgha", "restore", "--yes")
		return code == 1 && strings.Contains(out, "it was given up on another machine meanwhile") && strings.Contains(out, "hint: pgha restore --give-up")
	})
	l.must(m, "pgha", "restore", "--give-up")
	l.healthy(4 * time.Minute)
	if got := l.sql("SELECT sum(\"?column?\") FROM kept"); got != "3" {
		t.Errorf("the database has %s", got)
	}
	if out := l.sh(m, "ls -d /var/lib/postgresql/17/*; ls /var/lib/pgha"); strings.Contains(out, "restore.json") || strings.Contains(out, "patroni.held") || strings.Contains(out, "main.restored") {
		t.Errorf("left on %s:\n%s", m, out)
	}
	l.nothingFound(l.members()...)
}

// isRestored looks at every member of a cluster that was restored on m.
func (l *lab) isRestored(m string, s status) {
	l.Helper()
	if got := l.sql("SELECT count(*), to_regclass('later') FROM moments"); got != "1000|" {
		l.Errorf("the database has %s", got)
	}
	if s.primary() != m {
		l.Errorf("the primary is %s, and %s was restored", s.primary(), m)
	}
	for _, each := range s.Members {
		if each.Timeline != s.Members[0].Timeline || each.Timeline < 3 {
			l.Errorf("%s is on timeline %d", each.Name, each.Timeline)
		}
		if got := l.must(each.Name, "runuser", "-u", "postgres", "--", "psql", "-XAtc", "SELECT count(*) FROM moments", "app"); got != "1000\n" {
			l.Errorf("%s has %s", each.Name, got)
		}
	}
	if out := l.must(m, "sh", "-c", "ls -d /var/lib/postgresql/17/*; cat /proc/$(head -n 1 /var/lib/postgresql/17/main/postmaster.pid)/cgroup; ls /var/lib/pgha"); !strings.Contains(out, "main.aside-") || strings.Contains(out, "restored") ||
		!strings.Contains(out, "patroni.service") || strings.Contains(out, "restore.json") || strings.Contains(out, "patroni.held") {
		l.Errorf("left on %s:\n%s", m, out)
	}
	if out := l.sh(m, "cat /var/lib/postgresql/17/main/pg_wal/*.history"); !strings.Contains(out, "\n# restored by pgha to the end of 20") {
		l.Errorf("nothing tells the restore from a failover:\n%s", out)
	}
	l.nothingFound(l.members()...)
}

// allLost loses every machine, and the secrets. One member's directory of backups has survived: new machines begin with an empty database,
// and then take over what was lost, with passwords of their own.
func (l *lab) allLost(t *testing.T) {
	if os.Getenv("PGBAKE_LARGE")+os.Getenv("PGBAKE_QEMU") == "" {
		t.Skip("make test-all: a second first boot of four machines; make test loses one machine, and keeps its repository")
	}
	l = l.on(t)
	p := l.healthy(2 * time.Minute).primary()
	l.sql("CREATE TABLE survivors AS SELECT generate_series(1, 100)")
	l.must(p, "pgha", "backup", "--here")
	survived := t.TempDir()
	l.copyTree(l.disk(p, backupDir)+"/.", survived)
	l.pgbake("lab", "down")
	if err := os.RemoveAll(filepath.Join(filepath.Dir(l.spec), "secrets")); err != nil {
		t.Fatal(err)
	}
	l.pgbake("lab", "up", "--timeout", "20m")
	m := l.healthy(2 * time.Minute).replicas()[0]
	l.pgbake("lab", "fault", "power-cut", m)
	l.copyTree(survived+"/.", l.disk(m, backupDir))
	l.powerOn(m)
	l.healthy(2 * time.Minute)
	all := l.backups(m)
	if out, code := l.exec(m, "pgha", "restore"); code != 1 || !strings.Contains(out, "there is no good backup") || !strings.Contains(out, "--another-database") {
		t.Errorf("without a word that it is another database: exit code %d\n%s", code, out)
	}
	if out, code := l.exec(m, "pgha", "restore", "--backup", all[len(all)-1].Name); code != 1 || !strings.Contains(out, "is of another database") || !strings.Contains(out, "--another-database") {
		t.Errorf("by name: exit code %d\n%s", code, out)
	}
	// What the nights until the restore do: there are more backups than are kept, and none of the lost database goes.
	l.must(m, "pgha", "backup", "--here")
	if got := l.backups(m); len(got) != len(all)+1 {
		t.Errorf("backups of before %+v and now %+v", all, got)
	}
	if out := l.must(m, "pgha", "restore", "--another-database"); !strings.Contains(out, "all that this cluster has today goes out of use") {
		t.Errorf("the plan:\n%s", out)
	}
	t.Logf("%s", l.must(m, "pgha", "restore", "--another-database", "--yes"))
	l.healthy(2 * time.Minute)
	if got := l.sql("SELECT count(*) FROM survivors"); got != "100" { // by a password of the new secrets
		t.Errorf("the database has %s", got)
	}
	l.must(m, "pgha", "backup", "--here")
	if got := l.backups(m); len(got) != 2+1 { // two are kept of the database that is back; that of the empty one is of another
		t.Errorf("backups of before %+v and now %+v", all, got)
	}
	l.nothingFound(l.members()...)
}
