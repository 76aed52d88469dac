package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// claims has a file for each name of a lab that a test has in use, locked for as long. It says so to other runs on this host;
// what is written in it says to the next run that the lab of that name is a test's, which was killed with it.
const claims = "/run/pgbake-test"

// claim returns a name for a lab that nobody else on this host has: the one that is wanted, if need be with a number. It is
// given back when the test ends. abandoned tells that a test that was killed has left its lab there.
func claim(t testing.TB, name string) (scope string, abandoned bool) {
	t.Helper()
	if err := os.MkdirAll(claims, 0o700); err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 100; n++ {
		scope = name
		if n > 1 {
			scope = fmt.Sprintf("%s-%d", name, n)
		}
		f, err := os.OpenFile(filepath.Join(claims, scope), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		abandoned, err := take(f, scope)
		if err == nil {
			t.Cleanup(func() {
				// Whoever comes next finds no lab here.
				if err := errors.Join(f.Truncate(0), f.Close()); err != nil {
					t.Error(err)
				}
			})
			return scope, abandoned
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(err, errTaken) {
			t.Fatal(err)
		}
	}
	t.Fatalf("a hundred labs are called %s", name)
	return "", false
}

var errTaken = errors.New("somebody has a lab of that name")

// take locks a claim, and writes into it. abandoned tells that a test was killed that had it.
func take(f *os.File, scope string) (abandoned bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, errTaken
	}
	if err != nil {
		return false, err
	}
	before, err := io.ReadAll(f)
	if err == nil && len(before) == 0 && isThere(scope) {
		err = errTaken // by a person
	}
	if err == nil {
		_, err = f.WriteAt([]byte("a test's\n"), 0)
	}
	return len(before) > 0, err
}

// isThere tells whether anything of a lab is on this host.
func isThere(scope string) bool {
	_, network := os.Lstat("/run/netns/pgbake-" + scope)
	_, disks := os.Lstat("/var/lib/pgbake/lab/" + scope)
	return network == nil || disks == nil
}

// running are the labs of this process, by name, with how each is taken down.
var running sync.Map

// downWhenStopped takes all labs down when the tests are stopped by a signal, which ends them without their clean-up.
func downWhenStopped() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	<-ctx.Done()
	stop() // a second signal ends it at once
	var all sync.WaitGroup
	running.Range(func(_, spec any) bool {
		all.Go(func() {
			if _, talk, err := pgbake(context.WithoutCancel(ctx), spec.(string), "lab", "down"); err != nil {
				fmt.Fprintln(os.Stderr, err, talk)
			}
		})
		return true
	})
	all.Wait()
	fmt.Fprintln(os.Stderr, "stopped by a signal; the labs are down")
	os.Exit(1)
}

// A name is given to one test at a time; that of a test that was killed, to the next one; a person's lab is left alone.
func TestClaim(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("writes into /run")
	}
	name := strings.ToLower(strings.ReplaceAll(filepath.Base(t.TempDir()), "_", "-")) + fmt.Sprint(os.Getpid())
	second := name + "-2"
	t.Cleanup(func() {
		for _, n := range []string{name, second} {
			_ = os.Remove(filepath.Join(claims, n))
		}
	})
	expect := func(t *testing.T, want string, wantAbandoned bool) {
		t.Helper()
		if scope, abandoned := claim(t, name); scope != want || abandoned != wantAbandoned {
			t.Errorf("%s, abandoned %t; want %s, %t", scope, abandoned, want, wantAbandoned)
		}
	}
	t.Run("first", func(t *testing.T) {
		expect(t, name, false)
		expect(t, second, false)
	})
	t.Run("given back", func(t *testing.T) { expect(t, name, false) })
	t.Run("killed", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", `echo "a test's" >"$0"`, filepath.Join(claims, name))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		expect(t, name, true)
	})
	t.Run("a person's", func(t *testing.T) {
		disks := "/var/lib/pgbake/lab/" + name
		if err := os.MkdirAll(disks, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(disks) })
		expect(t, second, false)
	})
}
