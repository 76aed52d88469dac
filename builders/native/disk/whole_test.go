package disk

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A killed build's file goes with the next build of that name; one that is being written stays.
func TestStaleFilesGo(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "disk.raw")
	stale, other := filepath.Join(dir, ".disk.raw.new-1"), filepath.Join(dir, ".disk.qcow2.new-1")
	for _, f := range []string{stale, other} {
		if err := os.WriteFile(f, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := whole(name, func(w *os.File) error {
		// Another build of the same name, at the same time.
		return errors.Join(whole(name, func(*os.File) error { return nil }), func() error { _, err := w.WriteString("mine"); return err }())
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(name); string(got) != "mine" {
		t.Errorf("the file is %q, %v", got, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 1 || left[0] != other {
		t.Errorf("left behind: %q", left)
	}
}

// A disk that gets full leaves nothing, and says where.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts a small tmpfs: needs root")
	}
	l, place := layout(t, sample(t)), t.TempDir()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread goes with its mounts
		err := errors.Join(
			unix.Unshare(unix.CLONE_NEWNS),
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("tmpfs", place, "tmpfs", 0, "size=8m"),
		)
		if err != nil {
			t.Error(err)
			return
		}
		raw := filepath.Join(place, "disk.raw")
		check := func(err error) {
			t.Helper()
			if !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), "write "+raw) || !strings.HasSuffix(err.Error(), "hint: make room in "+place+", or write to another place") {
				t.Errorf("error is %v", err)
			}
			if left, err := os.ReadDir(place); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		}
		check(Write(t.Context(), raw, l, nil))
		if err := unix.Mount("", place, "", unix.MS_REMOUNT, "size=1m"); err != nil {
			t.Error(err)
		}
		elsewhere := filepath.Join(t.TempDir(), "disk.raw")
		if err := Write(t.Context(), elsewhere, l, nil); err != nil {
			t.Error(err)
		}
		check(Convert(t.Context(), "qcow2", elsewhere, raw, l))
		check(Tar(t.Context(), raw, l))
	}()
	<-done
}
