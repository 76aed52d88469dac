package native

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/test/debian"
)

// freshCache has the packages, and no layer.
func freshCache(t testing.TB) string {
	t.Helper()
	dir := debian.Dir(t)
	debs := filepath.Join(testCache(t), "debs")
	if err := os.Symlink(debs, filepath.Join(dir, "debs")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func testOptions(t testing.TB, cache string, release int, role images.Role, version string) Options {
	t.Helper()
	i, err := images.New(testCluster(t, release), role, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Runner: run.System{}, UI: talk(), Cache: cache, Image: i, Lock: testLock(t, release), Debs: testDebs(t, version),
	}
}

// thing is what is compared of a path.
type thing struct {
	mode       fs.FileMode
	uid, gid   uint32
	time       int64
	links      uint64
	value, sum string
}

// listing is a whole tree by path. Directories' sizes and link counts are the file system's business.
func listing(t testing.TB, dir string) map[string]thing {
	t.Helper()
	all := map[string]thing{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		one := thing{mode: info.Mode(), uid: st.Uid, gid: st.Gid, time: info.ModTime().UnixNano()}
		switch {
		case e.Type() == fs.ModeSymlink:
			one.value, err = os.Readlink(path)
		case e.Type().IsRegular():
			one.links = st.Nlink
			one.sum, err = sumFile(path)
		}
		all[strings.TrimPrefix(path, dir)] = one
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// differences are the paths that two trees have differently, a readable number of them.
func differences(a, b map[string]thing) []string {
	var diff []string
	for path, one := range a {
		if other, ok := b[path]; !ok || other != one {
			diff = append(diff, fmt.Sprintf("%s: %+v, %+v", path, one, other))
		}
	}
	for path := range b {
		if _, ok := a[path]; !ok {
			diff = append(diff, path+": only in the second")
		}
	}
	slices.Sort(diff)
	if len(diff) > 40 {
		diff = append(diff[:40], fmt.Sprintf("and %d more", len(diff)-40))
	}
	return diff
}

// Two builds that share nothing but the packages give the same tree; what was built before on the same base does not
// matter either. Debian 12 is compared by test/image, down to the disk.
func TestTwoBuildsAreTheSame(t *testing.T) {
	if os.Getenv("PGBAKE_LARGE")+os.Getenv("PGBAKE_QEMU") == "" {
		t.Skip("make test-all: two more builds from nothing; make test compares those of Debian 12")
	}
	needBuild(t)
	var trees []map[string]thing
	var keys []string
	fresh := freshCache(t)
	for _, b := range []struct {
		cache string
		role  images.Role
	}{{testCache(t), images.DB}, {fresh, images.Proxy}, {fresh, images.DB}} {
		err := Root(t.Context(), testOptions(t, b.cache, 13, b.role, "1.0.0"), func(_ context.Context, tree Tree) error {
			if b.role == images.DB {
				trees, keys = append(trees, listing(t, tree.Dir)), append(keys, tree.Key)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if keys[0] != keys[1] || len(trees[0]) < 10_000 {
		t.Fatalf("keys %q, %d paths", keys, len(trees[0]))
	}
	for _, d := range differences(trees[0], trees[1]) {
		t.Error(d)
	}
}

// What is in a tree, by what a person would look at.
func TestTree(t *testing.T) {
	needBuild(t)
	cache := testCache(t)
	for _, release := range []int{12, 13} {
		for _, role := range images.Roles {
			o := testOptions(t, cache, release, role, "1.0.0")
			err := Root(t.Context(), o, func(ctx context.Context, tree Tree) error {
				lookAt(ctx, t, o, tree)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), cache) {
		t.Errorf("something is still mounted (%v):\n%s", err, mounts)
	}
}

func lookAt(ctx context.Context, t *testing.T, o Options, tree Tree) {
	t.Helper()
	in := func(args ...string) string {
		out, err := exec.CommandContext(ctx, "chroot", append([]string{tree.Dir}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("%q: %v: %s", args, err, out)
		}
		return string(out)
	}
	if out := in("dpkg", "--audit"); out != "" {
		t.Errorf("dpkg --audit: %s", out)
	}
	installed := strings.Fields(in("dpkg-query", "-W", "-f", "${Package}=${Version}=${db:Status-Status}\n"))
	var want []string
	for _, name := range []string{"base", string(o.Image.Role)} {
		layer, _ := o.Lock.Layer(name)
		for _, p := range layer.Packages {
			want = append(want, p.Name+"="+p.Version+"=installed")
		}
	}
	for _, name := range o.Image.PGHA() {
		want = append(want, name+"=1.0.0=installed")
	}
	slices.Sort(want)
	slices.Sort(installed)
	if diff := cmp.Diff(want, installed); diff != "" {
		t.Errorf("packages: %s", diff)
	}
	// What dpkg unpacked is what is there: the sums of all packages.
	if out := in("dpkg", "--verify"); out != "" {
		t.Errorf("dpkg --verify: %s", out)
	}
	for path, one := range listing(t, tree.Dir) {
		if one.time > tree.Time.UnixNano() {
			t.Errorf("%s is newer than the tree", path)
		}
		if path != "" && images.Absent(path, one.mode.IsDir()) {
			t.Errorf("%s should not be in an image", path)
		}
		if strings.HasSuffix(path, ".dpkg-new") || strings.HasSuffix(path, ".dpkg-tmp") {
			t.Errorf("%s was left behind", path)
		}
	}
	for _, link := range []string{"vmlinuz", "initrd.img"} {
		if _, err := os.Stat(filepath.Join(tree.Dir, link)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(tree.Loaders, "usr/lib/grub/i386-pc/boot.img")); err != nil {
		t.Error(err)
	}
	if clusters, _ := filepath.Glob(filepath.Join(tree.Dir, "var/lib/postgresql/*/*")); len(clusters) > 0 {
		t.Errorf("a cluster was made: %q", clusters)
	}
}

// A new pgha costs its own layer and the image's, and the result is what a build from nothing gives.
func TestNewPackagesOfOurs(t *testing.T) {
	needBuild(t)
	cache := testCache(t)
	sums := map[string]string{}
	for _, version := range []string{"1.0.0", "1.0.1", "1.0.0"} {
		o := testOptions(t, cache, 12, images.Proxy, version)
		err := Root(t.Context(), o, func(_ context.Context, tree Tree) error {
			var b strings.Builder
			all := listing(t, tree.Dir)
			for _, path := range slices.Sorted(keysOf(all)) {
				fmt.Fprintf(&b, "%s %+v\n", path, all[path])
			}
			sum := fmt.Sprintf("%x", sha256.Sum256([]byte(b.String())))
			if before, ok := sums[tree.Key]; ok && before != sum {
				t.Errorf("two trees of the key %s", tree.Key)
			}
			sums[tree.Key] = sum
			for _, made := range tree.Made {
				if version == "1.0.1" && !strings.HasSuffix(made, "-pgha") && !strings.HasSuffix(made, "-image") {
					t.Errorf("made %s for a new pgha", made)
				}
			}
			if key, err := Key(o); err != nil || key != tree.Key {
				t.Errorf("the key was to be %s (%v), is %s", key, err, tree.Key)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(sums) != 2 {
		t.Errorf("two versions have %d keys", len(sums))
	}
}

func keysOf(m map[string]thing) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// A package that cannot be configured: the error has the step, the command, what it said last, and where the rest is.
func TestScriptFails(t *testing.T) {
	needBuild(t)
	o := testOptions(t, testCache(t), 13, images.Proxy, "1.0.0")
	dir := t.TempDir()
	bad := filepath.Join(dir, "pgha-common_9_all.deb")
	for name, body := range map[string]string{
		"control":  "Package: pgha-common\nVersion: 9\nArchitecture: all\nMaintainer: nobody\nDescription: bad\n",
		"postinst": "#!/bin/sh\necho the dog ate it >&2\nexit 7\n",
	} {
		at := filepath.Join(dir, "deb/DEBIAN", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(body), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("dpkg-deb", "--build", filepath.Join(dir, "deb"), bad).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	o.Debs = append([]string{bad}, o.Debs...)
	err := Root(t.Context(), o, func(context.Context, Tree) error { return nil })
	if err == nil {
		t.Fatal("it was made all the same")
	}
	for _, want := range []string{"make pgha: run dpkg ", "--configure", "exit status 1", "the dog ate it", "\n      log: " + o.Cache} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	_, log, _ := strings.Cut(err.Error(), "log: ")
	if body, readErr := os.ReadFile(strings.TrimSpace(log)); readErr != nil || !strings.Contains(string(body), "the dog ate it") {
		t.Errorf("log %q: %v", log, readErr)
	}
}
