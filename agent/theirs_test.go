package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pgbake/pgbake/internal/run"
)

func TestReadTheirs(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("theirs"), 0o600), os.Symlink(at("file"), at("link")), os.Mkdir(at("directory"), 0o700),
		syscall.Mkfifo(at("pipe"), 0o600), os.WriteFile(at("large"), nil, 0o600), os.Truncate(at("large"), theirSize+1),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if body, err := readTheirs(at("file")); err != nil || string(body) != "theirs" {
		t.Errorf("a file: %q, %v", body, err)
	}
	for name, want := range map[string]string{"link": "is a link", "directory": "is no file", "pipe": "is no file", "large": "is larger than", "nothing": "no such file"} {
		if _, err := readTheirs(at(name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// What lies beside a file under its name-to-be, a link to another's, is never written by root.
func TestLayDown(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	said := &bytes.Buffer{}
	w := &work{Agent: &Agent{Root: "/", Runner: run.Recorder{W: said}}}
	other, file := filepath.Join(dir, "others"), filepath.Join(dir, "theirs", "file")
	for _, err := range []error{
		os.Chmod(dir, 0o755), os.WriteFile(other, []byte("root's"), 0o600), os.Mkdir(filepath.Dir(file), 0o755),
		os.Chown(filepath.Dir(file), 4711, 4711), os.Symlink(other, file+".pgha"), os.Symlink(other, file+".new"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.layDown(t.Context(), file, "text"); err != nil {
		t.Fatal(err)
	}
	if body, err := os.ReadFile(other); err != nil || string(body) != "root's" || !strings.HasPrefix(said.String(), "setpriv --reuid=postgres ") {
		t.Errorf("%q, %v, by %q", body, err, said)
	}
	// In root's own directory there is nobody to fear.
	said.Reset()
	if err := w.layDown(t.Context(), filepath.Join(dir, "note"), "text"); err != nil {
		t.Fatal(err)
	}
	if body, err := os.ReadFile(filepath.Join(dir, "note")); err != nil || string(body) != "text" || said.Len() > 0 {
		t.Errorf("%q, %v, by %q", body, err, said)
	}
}

// A directory for PostgreSQL, and links that its user has laid where it was to be.
func TestMakeDir(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const postgres, theirs = 4711, 0o755
	root := t.TempDir()
	w := &work{Agent: &Agent{Root: root, Runner: &run.Recorder{}}}
	at := func(name string) string { return filepath.Join(root, name) }
	write := func(name, body string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/passwd", "postgres:x:4711:4711::/:/bin/sh\n")
	write("etc/group", "postgres:x:4711:\n")
	write("full/file", "")
	for _, name := range []string{"sbin", "disk", "theirs"} {
		if err := os.MkdirAll(at(name), theirs); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Chmod(root, 0o755), os.Chown(at("theirs"), postgres, postgres), os.Symlink(at("sbin"), at("theirs/backups")),
		os.Symlink("disk", at("roots")), os.Symlink("theirs/backups", at("by-theirs")),
		os.Symlink(at("etc"), at("theirs/above")), os.Symlink("round", at("round")), os.Symlink(at("disk"), at("etc/link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		dir, owned string // the directory, and which becomes PostgreSQL's
		err        string
	}{
		{"srv/new", "srv/new", ""},
		{"roots", "disk", ""},
		{"full", "", ""},
		{"theirs/new", "theirs/new", ""},
		{"theirs/backups", "", "is a link"},
		{"by-theirs", "", "is a link"},
		{"theirs/above/new", "", "is a link"},
		{"theirs/above/link", "", "is a link"},
		{"by-theirs/new", "", "is a link"},
		{"roots/new", "disk/new", ""},
		{"round", "", "in a circle"},
		{"etc/passwd", "", "not a directory"},
	} {
		err := w.makeDir(at(tt.dir))
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %v, want %q", tt.dir, err, tt.err)
		}
		for _, name := range []string{"srv/new", "disk", "theirs/new", "disk/new", "sbin", "full"} {
			info, err := os.Stat(at(name))
			if err != nil {
				continue
			}
			if is := info.Sys().(*syscall.Stat_t).Uid == postgres; name == tt.owned && (!is || info.Mode().Perm() != 0o700) {
				t.Errorf("%s: %s is %v and not PostgreSQL's", tt.dir, name, info.Mode())
			} else if is && (name == "sbin" || name == "full") {
				t.Errorf("%s: %s has become PostgreSQL's", tt.dir, name)
			}
		}
	}
}
