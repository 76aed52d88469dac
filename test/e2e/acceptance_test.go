package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestVerify is a cluster that is checked from outside, and fails on request, and what its clients are told of it.
func TestVerify(t *testing.T) {
	beside(t)
	spec := replaceOnce(t, example(t, "quickstart.yaml"), "scope: quickstart\n", "scope: verify\nfailover: fast\n")
	spec = replaceOnce(t, spec, "    - {name: app, owner: app}", "    - {name: app, owner: app}\n    - {name: stock, owner: app}")
	l := up(t, spec+"    - name: reader\n")
	l.healthy(time.Minute)
	t.Run("finds nothing wrong", l.verifyPasses)
	t.Run("finds what is wrong", l.verifyFinds)
	t.Run("Ctrl-C", l.verifyStopped)
	t.Run("failover", l.verifyFailover)
	t.Run("connected", l.connected)
}

// TestRunbook is a cluster that is run by its runbook.
func TestRunbook(t *testing.T) {
	beside(t)
	l := up(t, strings.Replace(example(t, "quickstart.yaml"), "scope: quickstart\n", "scope: runbook\nfailover: fast\n", 1))
	l.healthy(time.Minute)
	l.runbookPlay(t)
}

func (l *lab) verifyPasses(t *testing.T) {
	l = l.on(t)
	// Each check looks once, and what a busy machine is late with counts as wrong.
	l.eventually("every check to pass", time.Minute, func() bool {
		r, talk, code := l.verify()
		passed := code == 0 && r.Passed && len(r.Checks) >= 15
		for _, c := range r.Checks {
			passed = passed && c.Verdict == "passed"
		}
		if !passed {
			t.Logf("exit code %d: %+v\n%s", code, r, talk)
		}
		return passed
	})
	l.leftNothing()
}

// leftNothing: the verification's schema is gone, and the application's tables are what they were.
func (l *lab) leftNothing() {
	l.Helper()
	if out := l.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgbake%'"); out != "" {
		l.Errorf("left behind: %s", out)
	}
}

// verifyFinds breaks one promise after the other, sees it found, and mends it.
func (l *lab) verifyFinds(t *testing.T) {
	l = l.on(t)
	lead := l.healthy(time.Minute).primary()
	broken := map[string]struct{ machine, breaks, mends, want string }{
		"users":            {lead, `runuser -u postgres -- psql -qc 'ALTER ROLE app SUPERUSER'`, `runuser -u postgres -- psql -qc 'ALTER ROLE app NOSUPERUSER'`, "app is a superuser"},
		"closed-databases": {lead, `runuser -u postgres -- psql -qc 'GRANT CONNECT ON DATABASE app TO PUBLIC'`, `runuser -u postgres -- psql -qc 'REVOKE CONNECT ON DATABASE app FROM PUBLIC'`, "everybody who may log in may enter app"},
		"patroni":          {"db1", "nft insert rule inet pgha input tcp dport 8008 accept", "systemctl reload-or-restart pgha-firewall", "db1:8008 answers this host"},
		"etcd":             {"db2", "nft insert rule inet pgha input tcp dport 2379 accept", "systemctl reload-or-restart pgha-firewall", "db2:2379 answers this host"},
	}
	for check, b := range broken {
		if out, code := l.exec(b.machine, "sh", "-c", b.breaks); code != 0 {
			t.Fatalf("%s: %s", check, out)
		}
	}
	l.eventually("what is broken to be found, and nothing else", time.Minute, func() bool {
		r, talk, code := l.verify()
		if code != 3 || r.Passed {
			t.Logf("exit code %d, want 3\n%s", code, talk)
			return false
		}
		right := true
		for _, c := range r.Checks {
			b, expected := broken[c.Check]
			switch {
			case !expected && c.Verdict == "failed":
				t.Logf("%s: %q", c.Check, c.Wrong)
				right = false
			case expected && !slices.ContainsFunc(c.Wrong, func(w string) bool { return strings.Contains(w, b.want) }):
				t.Logf("%s: %s %q, want %q", c.Check, c.Verdict, c.Wrong, b.want)
				right = false
			}
		}
		return right
	})
	for check, b := range broken {
		if out, code := l.exec(b.machine, "sh", "-c", b.mends); code != 0 {
			t.Fatalf("%s: %s", check, out)
		}
	}
	l.leftNothing()
}

// verifyStopped: a person who changes their mind finds nothing left.
func (l *lab) verifyStopped(t *testing.T) {
	l = l.on(t)
	bin, err := filepath.Abs("../../bin/pgbake")
	if err != nil {
		t.Fatal(err)
	}
	const schema = "SELECT count(*) FROM pg_tables WHERE schemaname LIKE 'pgbake\\_verify\\_%' AND tablename = 'ledger'"
	cmd := exec.CommandContext(t.Context(), bin, "-f", l.spec, "-o", t.TempDir(), "verify", "--lab", "--failover", "--by-hand", "--i-know-that-it-interrupts")
	var talk strings.Builder
	cmd.Stderr = &talk
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its exit code is looked at below
		close(ended)
	}()
	l.eventually("the ledger", time.Minute, func() bool {
		select {
		case <-ended:
			t.Fatalf("it has ended by itself: %s", talk.String())
		default:
		}
		return l.sql(schema) == "1"
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it goes on a minute after Ctrl-C")
	}
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(talk.String(), "stopped by SIGINT") {
		t.Errorf("exit code %d\n%s", code, talk.String())
	}
	l.leftNothing()
}

func (l *lab) verifyFailover(t *testing.T) {
	l = l.on(t)
	if _, talk, code := l.verify("--failover"); code != 2 || !strings.Contains(talk, "--i-know-that-it-interrupts") {
		t.Errorf("without being sure: exit code %d\n%s", code, talk)
	}
	// What is to be done is done by a program, as on real machines.
	hook := filepath.Join(t.TempDir(), "fault")
	bin, err := filepath.Abs("../../bin/pgbake")
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nset -eu\nlab='" + bin + " -f " + l.spec + " lab'\ncase $1 in\n" +
		"switchover) $lab exec $2 -- pgha switchover ;;\n" +
		"crash) $lab fault power-cut $2 ;;\nreturn) $lab fault power-on $2 ;;\n*) exit 9 ;;\nesac\n"
	if err := os.WriteFile(hook, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	r, talk, code := l.verify("--failover", "--i-know-that-it-interrupts", "--fault-command", hook, "--patience", "3m")
	if code != 0 || len(r.Trials) != 3 {
		t.Fatalf("exit code %d: %+v\n%s", code, r, talk)
	}
	for _, trial := range r.Trials {
		t.Logf("%s: %d rows acknowledged, %d lost, %.1f s without one", trial.Test, trial.Acknowledged, trial.Lost, trial.Outage)
		if trial.Verdict != "passed" || trial.Acknowledged < 100 || trial.Lost != 0 {
			t.Errorf("%s: %s %q", trial.Test, trial.Verdict, trial.Wrong)
		}
	}
	page, err := os.ReadFile(filepath.Join(filepath.Dir(l.spec), "dist/verify/report.html"))
	if err != nil || strings.Count(string(page), "<svg") != 3 {
		t.Errorf("report.html: %v, %d pictures", err, strings.Count(string(page), "<svg"))
	}
	l.leftNothing()
}
