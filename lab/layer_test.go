package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func fileLayer(fill func(dir string) error) layer {
	return layer{Name: "test", Inputs: []string{"a"}, Fill: func(_ context.Context, dir string) error { return fill(dir) }}
}

func TestKeyTellsInputsApart(t *testing.T) {
	keys := map[string]bool{}
	for _, in := range [][]string{nil, {"ab"}, {"a", "b"}, {"b", "a"}, {"a", "", "b"}} {
		keys[layer{Name: "x", Inputs: in}.key()] = true
	}
	if len(keys) != 5 {
		t.Errorf("5 different inputs have %d keys", len(keys))
	}
}

func TestTwoBuildersTakeTurns(t *testing.T) {
	needRoot(t)
	cache, built := t.TempDir(), atomic.Int32{}
	l := fileLayer(func(dir string) error {
		built.Add(1)
		return write(filepath.Join(dir, "upper", "file"), "whole", 0o600)
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			dir, err := l.build(t.Context(), cache)
			if err != nil {
				t.Error(err)
				return
			}
			if body, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(body) != "whole" {
				t.Errorf("the layer holds %q, %v", body, err)
			}
		})
	}
	wg.Wait()
	if built.Load() != 1 {
		t.Errorf("built %d times", built.Load())
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	needRoot(t)
	cache := t.TempDir()
	l := fileLayer(func(dir string) error {
		if err := write(filepath.Join(dir, "upper", "file"), "half", 0o600); err != nil {
			return err
		}
		return fmt.Errorf("no network")
	})
	if _, err := l.build(t.Context(), cache); err == nil {
		t.Fatal("built in spite of the error")
	}
	onlyLock(t, cache, l)
}

// layerHelper builds a layer below its argument and hangs in the middle of it, with something mounted.
func layerHelper() error {
	_, err := fileLayer(func(dir string) error {
		upper := filepath.Join(dir, "upper")
		if err := write(filepath.Join(upper, "file"), "half", 0o600); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", upper, "tmpfs", 0, ""); err != nil {
			return err
		}
		fmt.Println("half")
		return wait()
	}).build(context.Background(), os.Args[1])
	return err
}

func TestKilledBuilderIsForgotten(t *testing.T) {
	needRoot(t)
	cache := t.TempDir()
	killedHelper(t, "layer", "half", cache)
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || bytes.Contains(mounts, []byte(cache)) {
		t.Errorf("its mount is still there (%v)", err)
	}
	l := fileLayer(func(dir string) error { return write(filepath.Join(dir, "upper", "file"), "whole", 0o600) })
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir, err := l.build(ctx, cache)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(body) != "whole" {
		t.Errorf("the layer holds %q, %v", body, err)
	}
	onlyLock(t, cache, l, l.key())
}

// onlyLock fails when roots holds more than the lock and what is named.
func onlyLock(t *testing.T, cache string, l layer, names ...string) {
	t.Helper()
	want := map[string]bool{l.key() + ".lock": true}
	for _, n := range names {
		want[n] = true
	}
	entries, err := os.ReadDir(filepath.Join(cache, "roots"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !want[e.Name()] {
			t.Errorf("%s is left over", e.Name())
		}
	}
}

func TestUnusedLayersGo(t *testing.T) {
	needRoot(t)
	cache := labsDir(t) // machines stand on it
	var dirs []string
	for _, in := range []string{"unused", "used", "stood on"} {
		l := fileLayer(func(dir string) error { return write(filepath.Join(dir, "upper", "file"), "whole", 0o600) })
		l.Inputs = []string{in}
		dir, err := l.build(t.Context(), cache)
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	long := time.Now().Add(-2 * unusedTime)
	for _, dir := range []string{dirs[0], dirs[2]} {
		if err := os.Chtimes(dir+".lock", long, long); err != nil {
			t.Fatal(err)
		}
	}
	err := ownMounts(func() error {
		o := overlay{Lower: dirs[2:], Dir: filepath.Join(cache, "machine")}
		if err := o.mount(); err != nil {
			return err
		}
		stay := exec.CommandContext(t.Context(), "sleep", "60") // it stands on the third as a machine would
		if err := stay.Start(); err != nil {
			return err
		}
		err := forget(filepath.Join(cache, "roots"), time.Now().Add(-unusedTime))
		err = errors.Join(err, stay.Process.Kill())
		_ = stay.Wait() // killed
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, true} {
		if _, err := os.Stat(dirs[i]); (err == nil) != want {
			t.Errorf("layer %d is there: %v, want %v", i, err == nil, want)
		}
	}
}

// A helper thread's namespaces must never become the process's own.
func TestOwnMountsAreOwn(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for range 20 {
		err := ownMounts(func() error {
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "inside"), nil, 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "inside")); err == nil {
			t.Fatal("the mount is seen outside")
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root: it mounts")
		}
		t.Skip("needs root: it mounts")
	}
}

// apt refuses to share a directory of downloads: two labs with different packages must not meet in one.
func TestOneBuilderAtATimeDownloads(t *testing.T) {
	r := roots{cache: t.TempDir()}
	dir, unlock, err := r.archives(t.Context(), "bookworm")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := r.archives(ctx, "bookworm"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second builder got %s: %v", dir, err)
	}
	unlock()
	if _, _, err := r.archives(t.Context(), "bookworm"); err != nil {
		t.Error(err)
	}
}
