package packages

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// epoch is the time that the tests build with.
var epoch = time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC)

// agent is the real one for amd64, built once.
var agent = sync.OnceValues(func() ([]byte, error) { return compile("amd64") })

func compile(arch string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "pgha-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a directory for a moment
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", dir+"/pgha", "../cmd/pgha")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	return os.ReadFile(dir + "/pgha")
}

func options(tb testing.TB) Options {
	tb.Helper()
	body, err := agent()
	if err != nil {
		tb.Fatal(err)
	}
	return Options{Version: "1.0.0", Arch: "amd64", Agent: body, Out: tb.TempDir(), Time: epoch}
}

func mustBuild(tb testing.TB, o Options) []string {
	tb.Helper()
	paths, err := Build(context.Background(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return paths
}

func read(tb testing.TB, file string) []byte {
	tb.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	return body
}

// TestPackages compares what each package says and holds with a golden file.
func TestPackages(t *testing.T) {
	paths := mustBuild(t, options(t))
	for i, name := range Names {
		deb := read(t, paths[i])
		var got strings.Builder
		fmt.Fprintf(&got, "%s\n", filepath.Base(paths[i]))
		for _, part := range []string{"control.tar.gz", "data.tar.gz"} {
			archive, err := member(deb, part)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&got, "\n%s\n", part)
			list(t, &got, archive)
		}
		golden := "testdata/" + name + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(string(read(t, golden)), got.String()); diff != "" {
			t.Errorf("%s (-want +got; -update writes it anew):\n%s", name, diff)
		}
	}
}

// TestPlain: without compression a package holds the same.
func TestPlain(t *testing.T) {
	o := options(t)
	packed := mustBuild(t, o)
	o.Plain, o.Out = true, t.TempDir()
	for i, path := range mustBuild(t, o) {
		plain, err := member(read(t, path), "data.tar")
		if err != nil {
			t.Fatal(err)
		}
		archive, err := member(read(t, packed[i]), "data.tar.gz")
		if err != nil {
			t.Fatal(err)
		}
		zip, err := gzip.NewReader(bytes.NewReader(archive))
		if err != nil {
			t.Fatal(err)
		}
		if unpacked, err := io.ReadAll(zip); err != nil || !bytes.Equal(unpacked, plain) {
			t.Errorf("%s: %v, %d bytes, with compression %d", Names[i], err, len(plain), len(unpacked))
		}
	}
}

// list writes a line for each file of an archive, and the control file itself, less its size, which the agent changes.
func list(t *testing.T, w io.Writer, archive []byte) {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(zip); ; {
		head, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if !head.ModTime.Equal(epoch) || head.Uid != 0 || head.Gid != 0 {
			t.Errorf("%s: time %s, owner %d:%d", head.Name, head.ModTime, head.Uid, head.Gid)
		}
		fmt.Fprintf(w, "%04o %s\n", head.Mode, head.Name)
		if path.Base(head.Name) == "control" {
			text, err := io.ReadAll(files)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				if !strings.HasPrefix(line, "Installed-Size:") {
					fmt.Fprintf(w, "     | %s", line)
				}
			}
		}
	}
}

// TestSameBytes builds again at another time of day, under another umask, time zone and temporary directory.
func TestSameBytes(t *testing.T) {
	o := options(t)
	first := mustBuild(t, o)

	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	t.Setenv("VERSION", "9")
	zone := time.Local
	time.Local = time.FixedZone("far", 13*3600)
	mask := syscall.Umask(0o077)
	defer func() { time.Local = zone; syscall.Umask(mask) }()
	o.Out, o.Time = t.TempDir(), o.Time.In(time.Local).Add(300*time.Millisecond)
	for i, again := range mustBuild(t, o) {
		if !bytes.Equal(read(t, first[i]), read(t, again)) {
			t.Errorf("%s differs between two builds", filepath.Base(again))
		}
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("the build left %v behind (%v)", left, err)
	}
}

func TestArm64(t *testing.T) {
	o := options(t)
	amd := mustBuild(t, o)
	body, err := compile("arm64")
	if err != nil {
		t.Fatal(err)
	}
	o.Arch, o.Agent, o.Out = "arm64", body, t.TempDir()
	arm := mustBuild(t, o)
	if d, err := readDeb(arm[0]); err != nil || d.arch != "arm64" {
		t.Errorf("%s is for %q (%v)", arm[0], d.arch, err)
	}
	for i := range Names[1:] {
		if !bytes.Equal(read(t, amd[i+1]), read(t, arm[i+1])) {
			t.Errorf("%s is for all architectures, and differs between two", Names[i+1])
		}
	}
}

func TestVersions(t *testing.T) {
	order := []string{"1.0.0-rc.1", "1.0.0-rc.2", "1.0.0", "v1.0.1", "1.0.1+3-g1a2b3c4", "1.1.0"}
	want := []string{"1.0.0~rc.1", "1.0.0~rc.2", "1.0.0", "1.0.1", "1.0.1+3.g1a2b3c4", "1.1.0"}
	for i, v := range order {
		if got := debianVersion(v); got != want[i] {
			t.Errorf("debianVersion(%q) = %q, want %q", v, got, want[i])
		}
		if i == 0 {
			continue
		}
		tool(t, "dpkg")
		if err := exec.Command("dpkg", "--compare-versions", want[i-1], "lt", want[i]).Run(); err != nil {
			t.Errorf("%s is not before %s: %v", want[i-1], want[i], err)
		}
	}
}

func TestRefused(t *testing.T) {
	good := Options{Version: "1.0.0", Arch: "amd64", Agent: []byte("\x7fELF"), Out: t.TempDir(), Time: epoch}
	for want, change := range map[string]func(*Options){
		`version "" is none`:                func(o *Options) { o.Version = "" },
		`version "1.0.0 (dirty)" is none`:   func(o *Options) { o.Version = "1.0.0 (dirty)" },
		`architecture "riscv64" is not one`: func(o *Options) { o.Arch = "riscv64" },
		"the agent is not a program":        func(o *Options) { o.Agent = []byte("#!/bin/sh") },
		"no time given":                     func(o *Options) { o.Time = time.Time{} },
	} {
		o := good
		change(&o)
		_, err := Build(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want … %s …", err, want)
		}
	}
}

// TestCopyright: whoever links another module also names it, with its licence, in the file copyright.
func TestCopyright(t *testing.T) {
	body, err := agent()
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.Read(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	text := string(read(t, "copyright"))
	for _, dep := range info.Deps {
		if !strings.Contains(text, "Files: "+dep.Path+"\n") {
			t.Errorf("the agent holds %s, which the file copyright does not name", dep.Path)
		}
	}
}

// TestLintian wants no error and no warning, and one override, which its file explains.
func TestLintian(t *testing.T) {
	tool(t, "lintian")
	args := append([]string{"--allow-root", "--show-overrides", "--fail-on=none"}, mustBuild(t, options(t))...)
	out, err := exec.Command("lintian", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("lintian: %v\n%s", err, out)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "N:") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{"O: pgha-common: statically-linked-binary [usr/bin/pgha]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lintian (-want +got):\n%s", diff)
	}
}

// tool skips the test where the program is missing, and fails it where it must be there.
func tool(t *testing.T, name string) {
	t.Helper()
	_, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skipf("%v; apt install %s", err, name)
	}
}

func BenchmarkBuild(b *testing.B) {
	o := options(b)
	for b.Loop() {
		mustBuild(b, o)
	}
}

// BenchmarkPeerDpkgDeb is Debian's own tool on the same three trees, gzip too.
func BenchmarkPeerDpkgDeb(b *testing.B) {
	dir := b.TempDir()
	var trees []string
	for _, deb := range mustBuild(b, options(b)) {
		tree := filepath.Join(dir, filepath.Base(deb))
		if out, err := exec.CommandContext(b.Context(), "dpkg-deb", "--raw-extract", deb, tree).CombinedOutput(); err != nil {
			b.Fatalf("dpkg-deb: %v\n%s", err, out)
		}
		trees = append(trees, tree)
	}
	for b.Loop() {
		for _, tree := range trees {
			if out, err := exec.CommandContext(b.Context(), "dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, tree+".deb").CombinedOutput(); err != nil {
				b.Fatalf("dpkg-deb: %v\n%s", err, out)
			}
		}
	}
}
