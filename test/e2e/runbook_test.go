package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// play walks through a runbook: every command is typed where its prompt says, in order, and between them happens to the
// cluster what the comments say.
type play struct {
	*lab
	dir string
	// next is what the operator's editor will make of cluster.yaml; first is what it was in the beginning.
	next, first string
	// broken tells that a machine is down on purpose, until the cluster is healthy again.
	broken bool
	// reboots tells that the next command takes its own machine away.
	reboots bool
	// lost are the machines that are off while etcd has no majority.
	lost     []string
	commands int
}

var line = regexp.MustCompile("(?m)^(?:<!-- play: (.*) -->|([a-z0-9-]+)([#$]) (.*))$")

// runbookPlay plays the runbook that `pgbake docs` writes for the lab.
func (l *lab) runbookPlay(t *testing.T) {
	l = l.on(t)
	dir := filepath.Dir(l.spec)
	first, err := os.ReadFile(l.spec)
	if err != nil {
		t.Fatal(err)
	}
	p := &play{lab: l, dir: dir, first: string(first)}
	if out, err := p.operator("pgbake docs"); err != nil {
		t.Fatalf("pgbake docs: %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "dist/docs/runbook.en.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range line.FindAllStringSubmatch(string(text), -1) {
		began := time.Now()
		if m[1] != "" {
			what, rest, _ := strings.Cut(m[1], " ")
			p.direct(what, rest)
		} else {
			p.commands++
			p.enter(m[2], m[4])
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Logf("%5.1f s  %s", took.Seconds(), m[0])
		}
	}
	if p.commands < 50 {
		t.Errorf("only %d commands were found in the runbook", p.commands)
	}
	t.Logf("%d commands of the runbook were run", p.commands)
}

// direct makes happen what a comment says.
func (p *play) direct(what, rest string) {
	p.Helper()
	f := strings.Fields(rest)
	switch what {
	case "primary":
		p.lead(f[0])
	case "healthy":
		p.healthy(3 * time.Minute)
		p.broken = false
	case "unhealthy":
		p.broken = true
	case "fault":
		p.pgbake(append([]string{"lab", "fault"}, f...)...)
	case "leads":
		p.eventually("another member to lead", 2*time.Minute, func() bool {
			s, _ := p.status() // not healthy, which it says by its exit code
			return s.primary() != "" && s.primary() != f[2]
		})
	case "edit":
		p.next = p.current() + "  " + rest + "\n"
	case "grow":
		p.next = replaceOnce(p.T, p.current(), "  - {name: db3, address: 10.20.0.13}\n",
			"  - {name: db3, address: 10.20.0.13}\n  - {name: db4, address: 10.20.0.14}\n  - {name: db5, address: 10.20.0.15}\n")
	case "shrink":
		p.next = replaceOnce(p.T, p.current(), "  - {name: db4, address: 10.20.0.14}\n  - {name: db5, address: 10.20.0.15}\n", "")
	case "up":
		p.pgbake("lab", "up")
		p.healthy(3 * time.Minute)
	case "copy":
		body, err := os.ReadFile(filepath.Join(p.dir, f[0]))
		if err != nil {
			p.Fatal(err)
		}
		if out, code := p.exec(f[1], "sh", "-c", "echo "+base64.StdEncoding.EncodeToString(body)+" | base64 -d >"+f[2]); code != 0 {
			p.Fatal(out)
		}
	case "reboot":
		p.reboots = true
	case "lose":
		s := p.healthy(time.Minute)
		p.lost = nil
		for _, m := range s.Members[1:] { // the first one is whom the runbook asks
			if fmt.Sprint(len(p.lost)) != f[0] {
				p.lost = append(p.lost, m.Name)
			}
		}
		p.together(p.lost, func(m string) []string { return []string{"lab", "fault", "power-cut", m} })
	case "replace":
		p.newDisks(p.lost...)
		p.powerOn(p.lost...)
	case "regain":
		p.powerOn(p.lost...)
	default:
		p.Fatalf("the runbook says play: %s %s", what, rest)
	}
}

// lead lets a member lead, if it does not. One that has only just come back may not yet.
func (p *play) lead(member string) {
	p.Helper()
	p.eventually(member+" to lead", 2*time.Minute, func() bool {
		now := p.healthy(2 * time.Minute).primary()
		if now != member {
			said, _ := p.exec(now, "patronictl", "-c", "/etc/patroni/config.yml", "switchover", "--leader", now, "--candidate", member, "--force")
			p.Log(said)
		}
		return now == member
	})
}

// retried are commands that a person would give once more: what they ask for, or wait for, is on its way. After a boot the
// machine's own apply may be at work still.
var retried = []string{"pgha status", "pgha apply", "pgha member remove", "pgha reinit", "pgbake verify", "du "}

// enter runs one line where its prompt says.
func (p *play) enter(where, command string) {
	p.Helper()
	run := func() (string, int) {
		if where != "operator" {
			return p.exec(where, "sh", "-c", command)
		}
		out, err := p.operator(command)
		var exit *exec.ExitError
		switch {
		case err == nil:
			return out, 0
		case errors.As(err, &exit):
			return out, exit.ExitCode()
		}
		p.Fatal(err)
		return "", 0
	}
	want := 0
	if command == "pgha status" && p.broken {
		want = 3
	}
	out, code := run()
	if p.reboots {
		p.reboots = false
		// A container that reboots ends, and whoever runs it starts it again.
		p.eventually(where+" to have gone down", time.Minute, func() bool {
			s, _ := p.status()
			return slices.ContainsFunc(s.Members, func(m member) bool { return m.Name == where && !m.On })
		})
		p.powerOn(where)
		return
	}
	if slices.ContainsFunc(retried, func(r string) bool { return strings.HasPrefix(command, r) }) {
		for end := time.Now().Add(2 * time.Minute); code != want && time.Now().Before(end); out, code = run() {
			select {
			case <-p.Context().Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}
	if code != want {
		p.Errorf("%s: %s: exit code %d, want %d\n%s", where, command, code, want, out)
	}
}

// operator types a line beside cluster.yaml, on a machine in the cluster's network.
func (p *play) operator(command string) (string, error) {
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		return "", err
	}
	next := filepath.Join(p.TempDir(), "next.yaml")
	if err := os.WriteFile(next, []byte(p.next), 0o600); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(p.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "--net=/run/netns/pgbake-"+p.scope, "--", "sh", "-c", command)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "EDITOR=cp "+next, "PGPASSWORD="+p.password("app"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (p *play) current() string {
	p.Helper()
	body, err := os.ReadFile(p.spec)
	if err != nil {
		p.Fatal(err)
	}
	return string(body)
}

// report is what the tests look at of verify's.
type report struct {
	Passed bool
	Checks []struct {
		Check, Verdict string
		Wrong          []string
	}
	Trials []struct {
		Test, Verdict      string
		Wrong              []string
		Acknowledged, Lost int
		Outage             float64 `json:"outage_seconds"`
	}
}

// verify runs it from inside the lab's network, as the operator would beside a cluster.
func (l *lab) verify(flags ...string) (r report, talk string, code int) {
	l.Helper()
	bin, err := filepath.Abs("../../bin/pgbake")
	if err != nil {
		l.Fatal(err)
	}
	args := append([]string{"--net=/run/netns/pgbake-" + l.scope, "--", bin, "-f", l.spec, "-o", filepath.Join(filepath.Dir(l.spec), "dist"), "verify", "--json"}, flags...)
	cmd := exec.CommandContext(l.Context(), "nsenter", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		l.Fatal(err)
	}
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil && code != 1 && code != 2 {
		l.Fatalf("pgbake verify: exit code %d: %v\n%s%s", code, err, &stdout, &stderr)
	}
	return r, stderr.String(), code
}
