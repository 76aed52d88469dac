// Package image tests what a person gets from `pgbake image` on a real machine, by the program that `make build` has
// built: the same bits for everybody, nothing left behind whatever ends a bake, and errors that say what to do.
package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/test/debian"
)

// place is where all of the run's files are, pgbake itself, too: a clone may lie where only its owner may enter.
var place string

func TestMain(m *testing.M) {
	var remove func() error
	var err error
	if place, remove, err = debian.NewDir(); err == nil {
		err = fill()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if shared != nil {
		err = keep(shared.cache)
		if run := os.Getenv("PGBAKE_TEST_RUN"); run != "" { // for the tests of builders/native
			err = errors.Join(err, os.Rename(filepath.Join(shared.cache, "layers"), filepath.Join(run, "layers")))
		}
	}
	if err := errors.Join(err, remove()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// fill gives the place what every site uses.
func fill() error {
	for dir, mode := range map[string]fs.FileMode{"bin": 0o755, "tmp": fs.ModeSticky | 0o777} {
		dir = filepath.Join(place, dir)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, mode)); err != nil {
			return err
		}
	}
	body, err := os.ReadFile("../../bin/pgbake")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // -short needs none
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(place, "bin/pgbake"), body, 0o755)
}

// needRoot leaves a test out where it cannot run, and fails it where CI promised that it can.
func needRoot(t *testing.T) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("bakes images")
	case os.Geteuid() != 0 && os.Getenv("CI") == "true":
		t.Fatal("needs root")
	case os.Geteuid() != 0:
		t.Skip("needs root")
	}
}

// site is a directory with a specification, where somebody bakes.
type site struct {
	*testing.T
	dir, cache string
	// as is what comes before the command: how it becomes another user, or loses a right. flags come before its arguments.
	as, flags []string
	// env is added to the environment.
	env []string
}

// spec is the quickstart's cluster with other settings.
func spec(debian int, more string) string {
	return fmt.Sprintf(`scope: test
network: 10.20.0.0/24
debian: %d
nodes:
  - {name: db1, address: 10.20.0.11}
proxies:
  - {name: proxy1, address: 10.20.0.21}
%s`, debian, more)
}

// newSite makes one below the run's directory. Its cache has the packages that others have downloaded, and nothing else.
func newSite(t *testing.T, spec string) *site {
	t.Helper()
	needRoot(t)
	dir, err := os.MkdirTemp(place, "site-")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, dir: dir, cache: filepath.Join(dir, "cache")}
	if err := errors.Join(os.Chmod(dir, 0o755), os.MkdirAll(filepath.Join(s.cache, "debs"), 0o755)); err != nil {
		t.Fatal(err)
	}
	s.write("cluster.yaml", spec)
	return s
}

// borrow links packages that another site has downloaded, its lists and its lock.
func (s *site) borrow(from *site) {
	s.Helper()
	debs, err := filepath.Glob(filepath.Join(from.cache, "debs", "*.deb"))
	if err != nil {
		s.Fatal(err)
	}
	for _, d := range debs {
		if err := os.Link(d, filepath.Join(s.cache, "debs", filepath.Base(d))); err != nil && !errors.Is(err, fs.ErrExist) {
			s.Fatal(err)
		}
	}
	s.write("pgbake.lock", from.read("pgbake.lock"))
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) read(name string) string {
	s.Helper()
	body, err := os.ReadFile(s.path(name))
	if err != nil {
		s.Fatal(err)
	}
	return string(body)
}

func (s *site) write(name, body string) {
	s.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(s.path(name)), 0o755), os.WriteFile(s.path(name), []byte(body), 0o644)); err != nil {
		s.Fatal(err)
	}
}

// command is pgbake as this site's user calls it.
func (s *site) command(ctx context.Context, args ...string) *exec.Cmd {
	s.Helper()
	all := slices.Concat(s.as, []string{filepath.Join(place, "bin/pgbake")}, s.flags, args)
	cmd := exec.CommandContext(ctx, all[0], all[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(append(os.Environ(), "TMPDIR="+filepath.Join(place, "tmp"), "PGBAKE_CACHE="+s.cache), s.env...)
	return cmd
}

// try is pgbake that may fail: what it said on both outputs, and its exit code.
func (s *site) try(args ...string) (out, talk string, code int) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 15*time.Minute)
	defer cancel()
	cmd := s.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := debian.Run(cmd)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.Fatalf("pgbake %s: %v", strings.Join(args, " "), err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// pgbake must succeed. It returns standard output.
func (s *site) pgbake(args ...string) string {
	s.Helper()
	out, talk, code := s.try(args...)
	if code != 0 {
		s.Fatalf("pgbake %s: exit code %d\n%s", strings.Join(args, " "), code, talk)
	}
	return out
}

// fails must not, and says all of want; nothing is left of it.
func (s *site) fails(want []string, args ...string) string {
	s.Helper()
	_, talk, code := s.try(args...)
	if code != 1 {
		s.Errorf("pgbake %s: exit code %d\n%s", strings.Join(args, " "), code, talk)
	}
	for _, w := range want {
		if !strings.Contains(talk, w) {
			s.Errorf("pgbake %s: no %q in what it says:\n%s", strings.Join(args, " "), w, talk)
		}
	}
	s.nothingLeft()
	return talk
}

// nothingLeft waits until no process knows the site's cache any more: by its mounts, or by its environment.
func (s *site) nothingLeft() {
	s.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		left := s.left()
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("left behind: %s", left)
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
}

func (s *site) left() string {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		for _, file := range []string{"mountinfo", "environ"} {
			body, err := os.ReadFile(filepath.Join(p, file))
			if err == nil && bytes.Contains(body, []byte(s.cache)) {
				line, _ := os.ReadFile(filepath.Join(p, "cmdline"))
				return fmt.Sprintf("%s in %s of %q", s.cache, p, line)
			}
		}
	}
	return ""
}

// image is the folder of the image of a role.
func (s *site) image(codename, role string) string {
	return s.path(fmt.Sprintf("dist/images/pgbake-%s-%s-amd64", codename, role))
}
