package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Each folder in testdata is a package with tests that fail, or do not compile, or are stopped by their time; what the report
// says of it is beside it.
func TestReport(t *testing.T) {
	t.Chdir("testdata")
	cases, err := filepath.Glob("*/go.mod")
	if err != nil || len(cases) < 4 {
		t.Fatalf("%v: only %q", err, cases)
	}
	for _, mod := range cases {
		name := filepath.Dir(mod)
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			r := newReport(&out)
			timeout := "1m"
			if name == "slow" {
				timeout = "2s"
			}
			l := line{Name: "line", Dir: name, Env: []string{"GOFLAGS=-mod=mod -trimpath", "GOWORK=off"}, Args: []string{"go", "test", "-json", "-count", "1", "-vet=off", "-timeout", timeout, "-p", "2", "./..."}}
			t.Cleanup(func() { _ = os.Remove(filepath.Join(name, "began")) })
			if err := run(t.Context(), l, filepath.Join(t.TempDir(), "log"), r); err != nil {
				t.Fatal(err)
			}
			got := r.failuresByName()
			want, err := os.ReadFile(filepath.Join(name, "want"))
			if err != nil {
				t.Fatal(err)
			}
			r.summary("dir", 0)
			_, list, _ := strings.Cut(out.String(), " These failed:\n")
			for _, reason := range []string{"a reason", "undefined: undefined", "test timed out"} {
				if strings.Contains(out.String(), reason) {
					got = append(got, "says: "+reason)
				}
			}
			if list == "" { // nothing failed
				list = out.String()[strings.LastIndex(strings.TrimSpace(out.String()), "\n"):]
			}
			got = append(got, strings.TrimSpace(list))
			if diff := cmp.Diff(strings.TrimSpace(string(want)), strings.Join(got, "\n")); diff != "" {
				t.Errorf("%s\n%s", diff, out.String())
			}
		})
	}
}

func (r *report) failuresByName() (names []string) {
	for _, f := range r.failures {
		names = append(names, "failed: "+f.name)
	}
	return names
}

// All lines run, whatever those before them and beside them say, and the exit code tells.
func TestEveryLineRuns(t *testing.T) {
	dir := t.TempDir()
	sh := func(name, script string) line { return line{Name: name, Args: []string{"sh", "-c", script}} }
	ran := filepath.Join(t.TempDir(), "ran")
	failed, err := suite(t.Context(), [][]line{
		{sh("first", "echo a reason; exit 3"), sh("second", "echo second >>"+ran)},
		{sh("third", "echo third >>"+ran)},
		{{Name: "still", Still: true, Args: []string{"sh", "-c", "echo $http_proxy >>" + ran}}},
	}, dir)
	if !failed || err != nil {
		t.Errorf("failed: %t, %v", failed, err)
	}
	body, err := os.ReadFile(ran)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Fields(string(body)); !slices.Contains(lines, "second") || !slices.Contains(lines, "third") ||
		!strings.Contains(string(body), "http://127.0.0.1:") {
		t.Errorf("only %q ran", lines)
	}
	if log, err := os.ReadFile(filepath.Join(dir, "first.log")); err != nil || string(log) != "a reason\n" {
		t.Errorf("the log: %q, %v", log, err)
	}
	if failed, err := suite(t.Context(), [][]line{{sh("fine", "true")}}, dir); failed || err != nil {
		t.Errorf("failed: %t, %v", failed, err)
	}
	if _, err := suite(t.Context(), [][]line{{{Name: "none", Args: []string{"no-such-program"}}}}, dir); err == nil {
		t.Error("a program that is not there is no error")
	}
}

// Ctrl-C reaches all that a line has started, which may tidy up; no further line begins.
func TestStopped(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	began, tidied, next := filepath.Join(dir, "began"), filepath.Join(dir, "tidied"), filepath.Join(dir, "next")
	go func() {
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if _, err := os.Stat(began); err == nil {
				break
			}
		}
		cancel(errors.New("stopped by a test"))
	}()
	script := "sh -c 'trap \"touch " + tidied + "; exit\" INT; touch " + began + "; while :; do sleep 0.1; done'; true"
	_, err := suite(ctx, [][]line{{{Name: "long", Args: []string{"sh", "-c", script}}, {Name: "next", Args: []string{"touch", next}}}}, filepath.Join(dir, "logs"))
	if err == nil || !strings.Contains(err.Error(), "stopped by a test") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(tidied); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(next); err == nil {
		t.Error("another line has begun")
	}
}

// What makes way for the other lines does so among the sessions of the whole host, and so does what it starts.
func TestBackground(t *testing.T) {
	said := filepath.Join(t.TempDir(), "said")
	// It has begun before it makes way, and may have been in the background before.
	script := "until [ $(nice) -ge 10 ] && { [ ! -e /proc/self/autogroup ] || grep -q ' nice 10$' /proc/self/autogroup; }; do sleep 0.01; done; " +
		"sh -c 'nice; cat /proc/self/autogroup' >" + said
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l := line{Name: "background", Background: true, Args: []string{"sh", "-c", script}}
	if _, err := suite(ctx, [][]line{{l}}, filepath.Join(t.TempDir(), "logs")); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	want := "^1[0-9]\n$" // a kernel without groups
	if _, err := os.Stat("/proc/self/autogroup"); err == nil {
		want = `^1[0-9]\n/autogroup-[0-9]+ nice 10\n$`
	}
	if !regexp.MustCompile(want).Match(body) {
		t.Errorf("a line in the background says %q, want %s", body, want)
	}
}

// Every package with tests on machines is in one of the lines, and each of the others in the one of the short tests.
func TestEveryTestHasALine(t *testing.T) {
	in := ""
	lanes, err := lanes(t.Context(), "../..", true)
	if err != nil {
		t.Fatal(err)
	}
	var short []string
	for _, l := range slices.Concat(lanes...) {
		if l.Name == "short" {
			short = l.Args
		}
	}
	for _, name := range []string{"agent", "agent/join", "test/suite", "cmd/pgbake"} {
		if !slices.Contains(short, "github.com/pgbake/pgbake/"+name) {
			t.Errorf("%s is tested by no line of make test: %q", name, short)
		}
	}
	if slices.Contains(short, "github.com/pgbake/pgbake/lab") {
		t.Errorf("lab is tested twice: %q", short)
	}
	for _, lane := range lanes {
		for _, l := range lane {
			in += strings.Join(l.Args, " ") + "\n"
		}
	}
	machines := regexp.MustCompile(`testing\.Short\(\)|needMachines\(|needRoot\(`)
	err = filepath.WalkDir("../..", func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		body, err := os.ReadFile(path)
		dir := "./" + strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../../")
		if err != nil || !machines.Match(body) || strings.HasPrefix(dir, "./builders/") || dir == "./test/suite" || dir == "./test/peers" {
			return err
		}
		if !regexp.MustCompile(regexp.QuoteMeta(dir) + `(\s|$)`).MatchString(in) {
			t.Errorf("%s is in no line: -short leaves its tests out", dir)
		}
		return nil
	})
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

// What a test of machines has waited for its turn is not among what it has taken.
func TestWaiting(t *testing.T) {
	r := newReport(io.Discard)
	w := r.line(line{Name: "line"}, io.Discard)
	for _, text := range []string{
		`{"Action":"run","Package":"p","Test":"TestA"}`,
		`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: waited 60.0 s for its turn\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestA","Elapsed":90.5}`,
	} {
		w.take(text)
	}
	if len(r.ended) != 1 || r.ended[0].took != 30500*time.Millisecond {
		t.Errorf("it took %+v", r.ended)
	}
}
