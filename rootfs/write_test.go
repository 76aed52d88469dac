package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// newRoot is a root in which every name is this user's number, so that the tests need not be root.
func newRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	put(t, root, "etc/passwd", fmt.Sprintf("root:x:0:0:root:/root:/bin/sh\nme:x:%d:%d::/:/bin/sh\nother:x:54321:54321::/:/bin/sh\n", os.Getuid(), os.Getgid()))
	put(t, root, "etc/group", fmt.Sprintf("root:x:0:\nmine:x:%d:me\n", os.Getgid()))
	return root
}

func put(t *testing.T, root, path, body string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}

func paths(files []File) []string {
	var p []string
	for _, f := range files {
		p = append(p, f.Path)
	}
	return p
}

func TestWriteChangesOnlyWhatDiffers(t *testing.T) {
	root := newRoot(t)
	a := File{Path: "/etc/a/b/one", Mode: 0o640, Owner: "me:mine", Body: []byte("one\n")}
	b := File{Path: "/etc/two", Mode: 0o600, Owner: "me", Body: []byte("two\n")}
	apply := func(want ...string) {
		t.Helper()
		changed, err := Write(root, []File{a, b})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, paths(changed)); d != "" {
			t.Errorf("changed (-want +got):\n%s", d)
		}
		for _, f := range []File{a, b} {
			info, err := os.Stat(filepath.Join(root, f.Path))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := os.ReadFile(filepath.Join(root, f.Path))
			if info.Mode().Perm() != f.Mode || string(body) != string(f.Body) {
				t.Errorf("%s: %04o %q", f.Path, info.Mode().Perm(), body)
			}
		}
	}
	apply("/etc/a/b/one", "/etc/two")
	before, _ := os.Stat(filepath.Join(root, b.Path))
	apply()
	if err := os.Chmod(filepath.Join(root, b.Path), 0o666); err != nil {
		t.Fatal(err)
	}
	apply("/etc/two") // its mode
	after, _ := os.Stat(filepath.Join(root, b.Path))
	if !os.SameFile(before, after) {
		t.Error("a file whose body is right was made anew")
	}
	a.Body = []byte("uno\n")
	apply("/etc/a/b/one")
	// What a run that was killed left behind is in nobody's way.
	put(t, root, "etc/.two.pgbake-new", "half")
	b.Body = []byte("due\n")
	apply("/etc/two")
	if left, _ := filepath.Glob(filepath.Join(root, "etc", ".*")); len(left) > 0 {
		t.Errorf("left behind: %s", left)
	}
}

func TestWriteStaysInsideTheRoot(t *testing.T) {
	outside := t.TempDir()
	put(t, outside, "victim", "untouched\n")
	for name, link := range map[string]struct{ path, target string }{
		"absolute": {"etc/app", outside},
		"relative": {"etc/app", strings.Repeat("../", 20) + outside},
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t)
			if err := os.Symlink(link.target, filepath.Join(root, link.path)); err != nil {
				t.Fatal(err)
			}
			f := File{Path: "/etc/app/victim", Mode: 0o600, Owner: "me", Body: []byte("x")}
			if changed, err := Write(root, []File{f}); err == nil || len(changed) > 0 {
				t.Errorf("wrote %v, error %v", paths(changed), err)
			}
			if _, err := Diff(root, []File{f}); err == nil {
				t.Error("looked outside")
			}
		})
	}
	t.Run("the file itself", func(t *testing.T) {
		root := newRoot(t)
		if err := os.Symlink(filepath.Join(outside, "victim"), filepath.Join(root, "etc/conf")); err != nil {
			t.Fatal(err)
		}
		f := File{Path: "/etc/conf", Mode: 0o600, Owner: "me", Body: []byte("mine\n")}
		if _, err := Write(root, []File{f}); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(filepath.Join(root, "etc/conf")); err != nil || !info.Mode().IsRegular() {
			t.Errorf("the link was not replaced: %v %v", info, err)
		}
	})
	t.Run("a link inside is followed", func(t *testing.T) {
		root := newRoot(t)
		if err := errors.Join(os.Mkdir(filepath.Join(root, "real"), 0o700), os.Symlink("../real", filepath.Join(root, "etc/app"))); err != nil {
			t.Fatal(err)
		}
		if _, err := Write(root, []File{{Path: "/etc/app/f", Mode: 0o600, Owner: "me", Body: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(root, "real/f")); err != nil {
			t.Error(err)
		}
	})
	if body, _ := os.ReadFile(filepath.Join(outside, "victim")); string(body) != "untouched\n" {
		t.Errorf("a file outside became %q", body)
	}
}

func TestWriteStopsAtTheFirstError(t *testing.T) {
	root := newRoot(t)
	put(t, root, "etc/dir/file", "")
	good := File{Path: "/etc/good", Mode: 0o644, Owner: "me", Body: []byte("x")}
	for want, bad := range map[string]File{
		"write /etc/x: look up owner nobody-such: no such user in /etc/passwd":    {Path: "/etc/x", Owner: "nobody-such"},
		"write /etc/x: look up owner me:nobody-such: no such group in /etc/group": {Path: "/etc/x", Owner: "me:nobody-such"},
		"write /etc/dir: a directory is in its place":                             {Path: "/etc/dir", Owner: "me"},
	} {
		if err := os.RemoveAll(filepath.Join(root, good.Path)); err != nil {
			t.Fatal(err)
		}
		changed, err := Write(root, []File{good, bad})
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if d := cmp.Diff([]string{good.Path}, paths(changed)); d != "" {
			t.Error(d)
		}
		if _, err := os.Stat(filepath.Join(root, "etc/x")); !errors.Is(err, fs.ErrNotExist) {
			t.Error("half a file is there")
		}
	}
}

// TestWriteSetsOwners needs root: nobody else may give files away.
func TestWriteSetsOwners(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to change owners")
	}
	root := newRoot(t)
	f := File{Path: "/etc/f", Mode: 0o600, Owner: "other", Body: []byte("x")}
	for range 2 { // made with its owner; then put right
		if changed, err := Write(root, []File{f}); err != nil || len(changed) != 1 {
			t.Fatalf("%v %v", changed, err)
		}
		info, err := os.Stat(filepath.Join(root, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		if uid, gid := ids(info); uid != 54321 || gid != 54321 || info.Mode() != 0o600 {
			t.Errorf("%d:%d %s", uid, gid, info.Mode())
		}
		if err := os.Chown(filepath.Join(root, f.Path), 0, 0); err != nil {
			t.Fatal(err)
		}
	}
}
