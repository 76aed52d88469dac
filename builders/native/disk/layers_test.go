package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// overlaid makes two layers by overlayfs itself: what f does to a root of the first is the second. look sees the whole.
// The mount is only seen by this thread, which ends with the test.
func overlaid(t *testing.T, f, look func(root string)) []Layer {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts an overlay: needs root")
	}
	dir := t.TempDir()
	below, above, root := sample(t), filepath.Join(dir, "above"), filepath.Join(dir, "root")
	var cannot error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread goes with its mounts
		for _, d := range []string{above, root, filepath.Join(dir, "work")} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Error(err)
				return
			}
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,index=off,redirect_dir=off,metacopy=off", below, above, filepath.Join(dir, "work"))
		err := errors.Join(
			unix.Unshare(unix.CLONE_NEWNS),
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("overlay", root, "overlay", 0, options),
		)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
			cannot = err
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		f(root)
		look(root)
	}()
	<-done
	if cannot != nil {
		t.Skipf("no overlay can be mounted in %s: %v", dir, cannot)
	}
	return []Layer{{Dir: below}, {Dir: above}}
}

// what tells everything of a tree that an image shows.
func what(t *testing.T, root *node) []string {
	t.Helper()
	var lines []string
	_ = walk(root, "/", func(name string, n *node) error {
		line := fmt.Sprintf("%s %o %d:%d @%d %d links %q %v", name, n.mode, n.uid, n.gid, n.mtime, n.links, n.target, n.xattrs)
		if n.is(unix.S_IFREG) {
			b := make([]byte, n.bodyBlocks()*blockSize)
			if err := (part{n, extent{}}).read(b); err != nil {
				t.Error(err)
			}
			line += fmt.Sprintf(" %d %x", n.size, crc32c(0, b))
		}
		lines = append(lines, line)
		return nil
	})
	return lines
}

// change does all that a layer can do to those below it.
func change(t *testing.T) func(string) {
	return func(root string) {
		at := func(name string) string { return filepath.Join(root, name) }
		write := func(name, body string) error { return os.WriteFile(at(name), []byte(body), 0o640) }
		acl := []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xe8, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255}
		capNetRaw := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		err := errors.Join(
			write("etc/new", "new"), write("etc/passwd", "root:x:0:0:another:/root:/bin/sh\n"),
			os.Remove(at("usr/bin/program")),    // one of two names
			os.RemoveAll(at("var/lib/dpkg")),    // a directory, gone
			os.RemoveAll(at("usr/share/empty")), // a file
			os.RemoveAll(at("boot")), os.Mkdir(at("boot"), 0o700), write("boot/vmlinuz-6.1", "another kernel"), write("boot/initrd.img-6.1", "x"),
			os.Remove(at("bin")), os.Mkdir(at("bin"), 0o755), // a directory for a link
			os.Remove(at("var/fifo")), os.Symlink("somewhere", at("var/fifo")),
			os.Chmod(at("usr/share"), 0o711), os.Chown(at("usr"), 7, 8),
			os.Rename(at("etc/long"), at("etc/longer")),
			write("usr/bin/ping", "ping"), unix.Setxattr(at("usr/bin/ping"), "security.capability", capNetRaw, 0),
			write("etc/acl", "acl"), unix.Setxattr(at("etc/acl"), "system.posix_acl_access", acl, 0),
			os.Link(at("etc/new"), at("usr/new too")),
		)
		if err != nil {
			t.Error(err)
		}
	}
}

func TestLayersAreWhatOverlayfsShows(t *testing.T) {
	none := func(string, bool) bool { return false }
	var want []string
	layers := overlaid(t, change(t), func(root string) {
		view, _, err := scanLayer(t.Context(), Layer{Dir: root}, none, epoch)
		if err != nil {
			t.Error(err)
			return
		}
		count(view)
		want = what(t, view)
	})
	got, err := scan(t.Context(), layers, nil, none, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, what(t, got.root)); diff != "" || len(want) < 20 {
		t.Errorf("%d names; overlayfs -, we +:\n%s", len(want), diff)
	}
}

// What a layer hides is not on the disk, what it has is: with its capabilities and access lists.
func TestDiskOfLayers(t *testing.T) {
	layers := overlaid(t, change(t), func(string) {})
	out := t.TempDir()
	raw := filepath.Join(out, "disk.raw")
	l := layout(t, layers[0].Dir, layers[1].Dir)
	if err := Write(t.Context(), raw, l, nil); err != nil {
		t.Fatal(err)
	}
	fs := rootOf(t, raw)
	tool(t, "e2fsck", "-fn", fs)
	if got := tool(t, "debugfs", "-R", "ea_get /usr/bin/ping security.capability", fs); !strings.Contains(got, "01 00 00 02 00 20") {
		t.Errorf("capabilities of ping: %s", got)
	}
	if got := tool(t, "debugfs", "-R", "ea_list /etc/acl", fs); !strings.Contains(got, "system.posix_acl_access") {
		t.Errorf("access list: %s", got)
	}
	for name, want := range map[string]bool{"/usr/bin/same": true, "/usr/bin/program": false, "/boot/initrd.img-6.1": true, "/var/lib/dpkg": false} {
		if got := tool(t, "debugfs", "-R", "stat "+name, fs); strings.Contains(got, "Inode:") != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	// The old initramfs is nowhere.
	body, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := os.ReadFile(filepath.Join(layers[0].Dir, "boot/initrd.img-6.1"))
	if err != nil {
		t.Fatal(err)
	}
	if i := strings.Index(string(body), string(hidden[8192:12288])); i >= 0 {
		t.Errorf("a body that is hidden lies at %d", i)
	}
}

// A layer's chunks are the same on every disk, wherever it lies: that is what makes them worth keeping.
func TestLayersChunksAreTheSame(t *testing.T) {
	one, two := sample(t), t.TempDir()
	// With this in front, a group's copy of the superblock lies in the midst of the layer.
	if err := os.WriteFile(filepath.Join(two, "two"), slices.Repeat([]byte("two\n"), 6<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	chunks := func(size int64, dirs ...string) map[uint32]bool {
		l := layout(t, dirs...)
		l.Size, l.Seed = size, fmt.Sprint(size)
		raw := filepath.Join(t.TempDir(), "disk.raw")
		if err := Write(t.Context(), raw, l, nil); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(raw)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // only read
		all := map[uint32]bool{}
		if err := eachRun(f, chunk, func(_ int64, b []byte) error { all[crc32c(0, b)] = true; return nil }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	a, b := chunks(0, one), chunks(9<<30, two, one)
	same := 0
	for c := range a {
		if b[c] {
			same++
		}
	}
	if want := (1<<20 + 3_345_678) / chunk; same < want {
		t.Errorf("%d of %d chunks are the same, want %d", same, len(a), want)
	}
}
