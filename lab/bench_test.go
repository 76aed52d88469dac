package lab

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDownRemovesTheBenchesOfTheDeadOnly(t *testing.T) {
	l := &Lab{host: Host{State: filepath.Join(t.TempDir(), "lab")}}
	mine, done, err := l.Bench(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dead, forget, err := l.Bench(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mine, "seed"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A kill -9 lets go of the lock and removes nothing.
	forget()
	if err := os.MkdirAll(filepath.Join(dead, "node1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := clearBenches(l.host.State); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); err == nil {
		t.Error("the bench of a dead pgbake is still there")
	}
	if _, err := os.Stat(filepath.Join(mine, "seed")); err != nil {
		t.Errorf("the bench of a living pgbake is gone: %v", err)
	}
	done()
	if left, _ := os.ReadDir(l.host.State); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
