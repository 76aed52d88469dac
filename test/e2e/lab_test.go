package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgbake/pgbake/test/debian"
)

// The test binary is also the ledger's writer and the packages' web server, which must run inside the lab's network.
func TestMain(m *testing.M) {
	if dir := os.Getenv("PGBAKE_SERVE"); dir != "" {
		fmt.Fprintln(os.Stderr, serve(dir))
		os.Exit(1)
	}
	if url := os.Getenv("PGBAKE_LEDGER_URL"); url != "" {
		pause, err := time.ParseDuration(os.Getenv("PGBAKE_LEDGER_PAUSE"))
		if err == nil {
			err = ledger(url, os.Getenv("PGBAKE_LEDGER_FILE"), pause)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	go downWhenStopped()
	os.Exit(m.Run())
}

// lab is a cluster that `pgbake lab up` has booted, and the user who looks at it.
type lab struct {
	*testing.T
	// spec is the specification's file; text is what it said in the beginning.
	spec, text string
	scope      string
	machines   []string
}

// on is the lab in the hands of a subtest.
func (l *lab) on(t *testing.T) *lab {
	sub := *l
	sub.T = t
	return &sub
}

// needMachines leaves a test out where no machine can boot, and fails it where CI promised that one can.
func needMachines(t testing.TB) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("boots machines")
	case os.Geteuid() != 0 && os.Getenv("CI") == "true":
		t.Fatal("needs root")
	case os.Geteuid() != 0:
		t.Skip("needs root")
	}
	debian.MoreInotify()
}

// up boots the cluster of the specification, healthy, and takes it down when the test ends.
func up(t *testing.T, spec string, flags ...string) *lab {
	t.Helper()
	l := open(t, spec)
	t.Logf("%s", l.pgbake(append([]string{"lab", "up"}, flags...)...))
	return l
}

var scopeLine = regexp.MustCompile(`(?m)^scope: (\S+)`)

// open writes the specification, and takes what comes of it down when the test ends. The cluster may get another name than the
// specification has: l.scope and l.text are true.
func open(t *testing.T, spec string) *lab {
	t.Helper()
	needMachines(t)
	names := scopeLine.FindAllStringSubmatch(spec, -1)
	if len(names) != 1 {
		t.Fatalf("one scope is wanted in\n%s", spec)
	}
	scope, abandoned := claim(t, names[0][1])
	l := &lab{T: t, spec: filepath.Join(t.TempDir(), "cluster.yaml"), scope: scope, text: scopeLine.ReplaceAllString(spec, "scope: "+scope)}
	if err := os.WriteFile(l.spec, []byte(l.text), 0o600); err != nil {
		t.Fatal(err)
	}
	if abandoned {
		l.pgbake("lab", "down")
	}
	running.Store(scope, l.spec)
	t.Cleanup(func() {
		if _, err := l.try(context.Background(), "show"); err != nil { // the test was about to write it
			if err := os.WriteFile(l.spec, []byte(l.text), 0o600); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			l.postMortem()
		}
		if _, err := l.try(context.Background(), "lab", "down"); err != nil {
			t.Errorf("lab down: %v", err)
		}
		running.Delete(scope)
		l.nothingLeft()
	})
	l.pgbake("init") // keeps the specification, makes the secrets
	l.machines = slices.Sorted(maps.Keys(l.addresses()))
	return l
}

// pgbake runs it as the user would, and must succeed. It returns standard output. `lab up` waits as the tests do: see slow.
func (l *lab) pgbake(args ...string) string {
	l.Helper()
	if len(args) > 1 && args[0] == "lab" && args[1] == "up" {
		args = append(args, "--timeout", (5 * time.Minute * slow).String())
	}
	out, err := l.try(l.Context(), args...)
	if err != nil {
		l.Fatalf("pgbake %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// try is pgbake that may fail; the error has what it said.
func (l *lab) try(ctx context.Context, args ...string) (string, error) {
	out, talk, err := pgbake(ctx, l.spec, args...)
	if err != nil {
		return out, errors.Join(err, errors.New(talk))
	}
	return out, nil
}

// pgbake runs the program that `make build` has built, and returns what it said on both outputs.
func pgbake(ctx context.Context, spec string, args ...string) (out, talk string, err error) {
	return pgbakeIn(ctx, "", append([]string{"-f", spec}, args...)...)
}

// pgbakeIn runs it in a directory.
func pgbakeIn(ctx context.Context, dir string, args ...string) (out, talk string, err error) {
	return pgbakeWith(ctx, nil, dir, args...)
}

// pgbakeWith runs it in a directory, with more in its environment.
func pgbakeWith(ctx context.Context, env []string, dir string, args ...string) (out, talk string, err error) {
	bin, err := filepath.Abs("../../bin/pgbake")
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// exec runs a program on a machine of the lab; what it said on both outputs, and its exit code.
func (l *lab) exec(machine string, args ...string) (string, int) {
	l.Helper()
	out, err := l.try(l.Context(), append([]string{"lab", "exec", machine, "--"}, args...)...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out, 0
	case errors.As(err, &exit):
		return out + err.Error(), exit.ExitCode()
	}
	l.Fatal(err)
	return "", 0
}

// onAll runs a program on several machines at the same time; it must succeed on all of them.
func (l *lab) onAll(machines []string, args ...string) {
	l.Helper()
	l.together(machines, func(machine string) []string { return append([]string{"lab", "exec", machine, "--"}, args...) })
}

// together runs pgbake once for each machine, all at the same time.
func (l *lab) together(machines []string, args func(machine string) []string) {
	l.Helper()
	failed := make([]error, len(machines))
	var wg sync.WaitGroup
	for i, machine := range machines {
		wg.Go(func() { _, failed[i] = l.try(l.Context(), args(machine)...) })
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		l.Fatal(err)
	}
}

// sql asks through the proxy, as the application.
func (l *lab) sql(query string, flags ...string) string {
	l.Helper()
	args := append([]string{"lab", "psql"}, flags...)
	return strings.TrimSpace(l.pgbake(append(args, "--", "-XAtc", query)...))
}

// member is the name of the n-th database machine, from 1.
func (l *lab) member(n int) string {
	l.Helper()
	s, err := l.status()
	if err != nil || len(s.Members) < n {
		l.Fatalf("lab status: %v: %+v", err, s)
	}
	return s.Members[n-1].Name
}

type status struct {
	Healthy bool     `json:"healthy"`
	Members []member `json:"members"`
	Proxies []struct {
		Name  string
		Holds bool `json:"holds_virtual_address"`
	} `json:"proxies"`
}

type member struct {
	Name, Role, State string
	On                bool
	Timeline          int
}

func (l *lab) status() (status, error) {
	out, err := l.try(l.Context(), "lab", "status", "--json")
	var s status
	if jsonErr := json.Unmarshal([]byte(out), &s); jsonErr != nil {
		return s, errors.Join(err, jsonErr)
	}
	return s, nil
}

func (s status) primary() string {
	for _, m := range s.Members {
		if m.Role == "primary" {
			return m.Name
		}
	}
	return ""
}

// replicas are all members but the primary.
func (s status) replicas() (names []string) {
	for _, m := range s.Members {
		if m.Name != s.primary() {
			names = append(names, m.Name)
		}
	}
	return names
}

// holder is the proxy that has the virtual address; empty when there is none or more than one.
func (s status) holder() (name string) {
	for _, p := range s.Proxies {
		switch {
		case p.Holds && name != "":
			return ""
		case p.Holds:
			name = p.Name
		}
	}
	return name
}

// slow is how many times as long as on a quiet machine something may take: there are other labs, and other programs.
const slow = 4

// eventually looks until the condition holds; what says what was waited for, deadline what is plenty on a quiet machine.
func (l *lab) eventually(what string, deadline time.Duration, holds func() bool) {
	l.Helper()
	deadline *= slow
	first := time.Now()
	for {
		began := time.Now()
		if holds() {
			return
		}
		if time.Since(first) > deadline {
			l.Fatalf("waited %s for %s in vain", deadline, what)
		}
		// Looking is work, which others have to do, too: what takes long is looked at more and more seldom.
		pause := max(300*time.Millisecond, 2*time.Since(began), min(time.Since(first)/10, 2*time.Second))
		select {
		case <-l.Context().Done():
			l.Fatal(l.Context().Err())
		case <-time.After(pause):
		}
	}
}

func (l *lab) healthy(deadline time.Duration) status {
	l.Helper()
	var s status
	l.eventually("a healthy cluster", deadline, func() bool {
		var err error
		s, err = l.status()
		return err == nil && s.Healthy
	})
	return s
}

// inside runs a program of this host in the lab's network.
func (l *lab) inside(env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(l.Context(), "nsenter", append([]string{"--net=/run/netns/pgbake-" + l.scope, "--"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// nothingLeft is the promise of `lab down`.
func (l *lab) nothingLeft() {
	if _, err := os.Stat("/run/netns/pgbake-" + l.scope); err == nil {
		l.Errorf("the network namespace pgbake-%s is still there", l.scope)
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		l.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "/lab/"+l.scope+"/") {
			l.Errorf("still mounted: %s", line)
		}
	}
}
