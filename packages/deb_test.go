package packages_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgbake/pgbake/packages"
)

// epoch is the time that the tests build with.
var epoch = time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC)

// agent builds the real one.
func agent(tb testing.TB, arch string) []byte {
	tb.Helper()
	out := filepath.Join(tb.TempDir(), "pgha")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "../cmd/pgha")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if msg, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("build the agent: %v\n%s", err, msg)
	}
	body, err := os.ReadFile(out)
	if err != nil {
		tb.Fatal(err)
	}
	return body
}

func build(tb testing.TB, o packages.Options) []string {
	tb.Helper()
	paths, err := packages.Build(context.Background(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return paths
}

func TestSameInputsSameBytes(t *testing.T) {
	o := packages.Options{Version: "1.0.0", Arch: "amd64", Agent: agent(t, "amd64"), Out: t.TempDir(), Time: epoch}
	first := build(t, o)
	o.Out = t.TempDir()
	for i, again := range build(t, o) {
		a, err := os.ReadFile(first[i])
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(again)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs between two builds", filepath.Base(again))
		}
	}
}
