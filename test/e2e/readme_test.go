package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestReadme types what the README shows, line by line: what is for the operator in an empty directory, what is for
// a machine of the cluster on node1, while the lab is up.
func TestReadme(t *testing.T) {
	beside(t)
	body, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := commands(string(body))
	onMachines := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, "pgha ") })
	if len(lines) < 15 || len(onMachines) < 3 {
		t.Fatalf("found only %q", lines)
	}
	dir := t.TempDir()
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	shell := func(ctx context.Context, line string) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "EDITOR=true")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	spec := filepath.Join(dir, "cluster.yaml")
	scope, abandoned := claim(t, "readme")
	t.Cleanup(func() {
		_, _ = shell(context.Background(), "pgbake lab down")
		running.Delete(scope)
	})
	run := func(line string) {
		t.Helper()
		for end := time.Now().Add(time.Minute * slow); ; time.Sleep(time.Second) {
			out, err := shell(t.Context(), line)
			var exit *exec.ExitError
			// Exit code 3 says that something is not as it should be: what has just booted, for a moment, and what was broken
			// on purpose.
			found := errors.As(err, &exit) && exit.ExitCode() == 3
			switch {
			case err == nil, found && (strings.HasSuffix(line, "status") || onlyTheDisk(out)):
				return
			case !found || time.Now().After(end):
				t.Fatalf("%s: %v\n%s", line, err, out)
			}
		}
	}
	for _, line := range lines {
		switch word, _, _ := strings.Cut(line, " "); word {
		case "git", "make", "pgha": // the clone is this one, make runs this test, pgha has its turn below
			continue
		}
		run(line)
		if line == "pgbake init" {
			// A name that nobody else has on this host: make demo's own lab may be up.
			body, err := os.ReadFile(spec)
			if err == nil {
				err = os.WriteFile(spec, scopeLine.ReplaceAll(body, []byte("scope: "+scope)), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			running.Store(scope, spec)
			if abandoned {
				run("pgbake lab down")
			}
		}
		if line == "pgbake lab up" {
			for _, l := range onMachines {
				run("pgbake lab exec node1 -- " + l)
			}
		}
	}
}

// onlyTheDisk tells that doctor has found nothing but that this host's disk is nearly full.
func onlyTheDisk(doctor string) bool {
	found := regexp.MustCompile(`(?m)^\S.*$`).FindAllString(doctor, -1)
	return len(found) > 0 && !slices.ContainsFunc(found, func(what string) bool { return !isHostsDisk(what) })
}

// TestReadmeCommandsExist holds for both languages: every command is one, with flags that it has.
func TestReadmeCommandsExist(t *testing.T) {
	for _, name := range []string{"README.md", "README.ru.md"} {
		body, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		makefile, err := os.ReadFile("../../Makefile")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commands(string(body)) {
			f := strings.Fields(line)
			switch f[0] {
			case "make":
				if !regexp.MustCompile(`(?m)^` + f[1] + `:`).Match(makefile) {
					t.Errorf("%s: there is no `%s`", name, line)
				}
			case "pgbake":
				cut := slices.Index(append(f, "--"), "--")
				args := append(slices.Clone(f[1:cut]), "--help")
				if out, talk, err := pgbakeIn(t.Context(), "../..", args...); err != nil || !strings.Contains(out, "pgbake "+f[1]) {
					t.Errorf("%s: `%s`: %v\n%s", name, line, err, talk)
				}
			}
		}
	}
}

var prompt = regexp.MustCompile(`(?m)^[$#] (.*)$`)

// commands are what stands behind a prompt in the text's console blocks, without the remarks; of the session that is
// shown with its output, only its commands.
func commands(text string) []string {
	var lines []string
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(text, -1) {
		for _, m := range prompt.FindAllStringSubmatch(block[1], -1) {
			line, _, _ := strings.Cut(m[1], "  #")
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "alias") {
				lines = append(lines, strings.TrimPrefix(line, "bin/"))
			}
		}
	}
	return lines
}
