package debian

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// In /var/tmp, whatever $TMPDIR is: every user may enter it, an overlay can lie on it, and a socket's path is short enough.
const places = "/var/tmp"

// Place makes a directory that every user may enter, and holds its lock until it is removed or this program has ended.
// Before, it removes those of the same prefix that nobody holds: their programs were killed. forget takes away what lies
// outside of such a directory.
func Place(prefix string, forget func(dir string) error) (dir string, remove func() error, err error) {
	MoreInotify()
	// Between two runs: one is not to remove what the other is just making.
	turn, err := locked(places, syscall.LOCK_EX)
	if err != nil {
		return "", nil, err
	}
	defer turn.Close() //nolint:errcheck // closing is unlocking
	all, err := filepath.Glob(filepath.Join(places, prefix+"*"))
	if err != nil {
		return "", nil, err
	}
	for _, dead := range all {
		// Another user's is not ours to remove, and what still ends there goes the next time.
		if f, err := locked(dead, syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			if forget(dead) == nil {
				_ = os.RemoveAll(dead)
			}
			f.Close() //nolint:errcheck // closing is unlocking
		}
	}
	if dir, err = os.MkdirTemp(places, prefix); err != nil {
		return "", nil, err
	}
	held, err := locked(dir, syscall.LOCK_EX)
	if err == nil {
		err = os.Chmod(dir, 0o755) //nolint:gosec // every user may enter it
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), held.Close()) }, err
}

// MoreInotify has the host allow as many inotify instances as dozens of machines want: a kernel allows root 128, and each
// machine's systemd and its services take some. Without them it says "Too many open files" and does not boot.
func MoreInotify() {
	const limit, want = "/proc/sys/fs/inotify/max_user_instances", 1024
	body, err := os.ReadFile(limit)
	if have, parse := strconv.Atoi(strings.TrimSpace(string(body))); err == nil && parse == nil && have < want {
		_ = os.WriteFile(limit, []byte(strconv.Itoa(want)), 0) // who may not has few machines
	}
}

// NewDir is a Place whose name is free for a machine.
func NewDir() (dir string, remove func() error, err error) {
	return Place("pgbake-tests-", forgetMachine)
}

func forgetMachine(dead string) error { return forget(filepath.Base(dead)) }

// Dir is NewDir until the test ends.
func Dir(t testing.TB) string {
	t.Helper()
	return PlaceFor(t, "pgbake-tests-", forgetMachine)
}

// PlaceFor is Place until the test ends.
func PlaceFor(t testing.TB, prefix string, forget func(dir string) error) string {
	t.Helper()
	dir, remove, err := Place(prefix, forget)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Made returns a directory that is made once and only read after that: it is whole under its name. It stays until the test
// ends, whoever calls RemoveUnused.
func Made(t testing.TB, final string, fill func(dir string)) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil { //nolint:gosec // holds no secrets
		t.Fatal(err)
	}
	f, err := os.OpenFile(final+".lock", os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() }) //nolint:errcheck // closing is unlocking
	for {
		if err := flock(f, syscall.LOCK_SH); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(final); err == nil {
			return final
		}
		if err := flock(f, syscall.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(final); err != nil {
			makeOnce(t, final, fill)
		}
	}
}

// makeOnce makes the directory. Its lock is held: what is unfinished is of somebody who was killed.
func makeOnce(t testing.TB, final string, fill func(dir string)) {
	t.Helper()
	stale, err := filepath.Glob(final + ".new*")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stale {
		if err := os.RemoveAll(s); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(final), filepath.Base(final)+".new-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the machine's users look into it
		t.Fatal(err)
	}
	t.Logf("making %s, once", final)
	fill(dir)
	if err := os.Rename(dir, final); err != nil {
		t.Fatal(err)
	}
}

// RemoveUnused removes those of the directories, of a pattern as filepath.Glob has it, that Made has made and no test uses.
func RemoveUnused(pattern, but string) error {
	locks, err := filepath.Glob(pattern + ".lock")
	if err != nil {
		return err
	}
	for _, name := range locks {
		if name == but+".lock" {
			continue
		}
		f, err := locked(name, syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return err
		}
		unfinished, _ := filepath.Glob(name[:len(name)-len(".lock")] + ".new*")
		// The lock's own file stays: somebody may just be waiting for it.
		for _, old := range append(unfinished, name[:len(name)-len(".lock")]) {
			err = errors.Join(err, os.RemoveAll(old))
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Lock waits for the lock of a file. It goes with the process.
func Lock(t testing.TB, name string) func() {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o600)
	if err == nil {
		err = flock(f, syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { f.Close() } //nolint:errcheck // closing is unlocking
}

// locked opens a file or a directory and takes its lock.
func locked(name string, how int) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if err := flock(f, how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}
