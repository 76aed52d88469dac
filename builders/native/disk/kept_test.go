package disk

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgbake/pgbake/images"
)

// What layers keep changes how fast a format is made, and not a byte of it: not when it is cut short or altered either.
func TestKeptChunks(t *testing.T) {
	below, above, cache, out := sample(t), t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(above, "var/lib/dpkg/info"), 0o755); err != nil {
		t.Fatal(err)
	}
	// It hides one of the files below, in the midst of a chunk.
	hides := filepath.Join(above, "var/lib/dpkg/info/a-package-with-a-rather-long-name-0777.md5sums")
	if err := os.WriteFile(hides, []byte("above"), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := layout(t, below, above)
	keeping := plain
	keeping.Tree = []Layer{{Dir: below, Cache: filepath.Join(cache, "packed")}, {Dir: above}}
	raw := filepath.Join(out, "disk.raw")
	if err := Write(t.Context(), raw, keeping, nil); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(out, "disk.qcow2")
	convert := func(l Layout) string {
		t.Helper()
		if err := Convert(t.Context(), "qcow2", raw, name, l); err != nil {
			t.Fatal(err)
		}
		return sum(t, name)
	}
	want := convert(plain)
	file := keeping.Tree[0].keptName(writers["qcow2"])
	for _, damage := range []struct {
		what string
		do   func() error
	}{
		{"none yet", func() error { return os.RemoveAll(file) }},
		{"found", func() error { return nil }},
		{"cut short", func() error { return os.Truncate(file, 1<<20) }},
		{"empty", func() error { return os.Truncate(file, 0) }},
		{"altered", func() error { return overwrite(file, 0, 1<<20) }},
		{"rows altered", func() error { return overwrite(file, -1000, 200) }},
	} {
		if err := errors.Join(Pack(t.Context(), keeping.Tree[0], "qcow2"), damage.do()); err != nil {
			t.Fatal(err)
		}
		if got := convert(keeping); got != want {
			t.Errorf("other bytes when what is kept is %s", damage.what)
		}
	}
}

func overwrite(name string, at int64, n int) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // a test reads it
	if at < 0 {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		at += info.Size()
	}
	_, err = f.WriteAt(make([]byte, n), at)
	return err
}

// Nearly all of a new image's chunks are found: that is what makes it fast.
func TestKeptChunksAreFound(t *testing.T) {
	l := layout(t, sample(t))
	l.Tree[0].Cache = filepath.Join(t.TempDir(), "packed")
	raw := filepath.Join(t.TempDir(), "disk.raw")
	if err := Write(t.Context(), raw, l, nil); err != nil {
		t.Fatal(err)
	}
	if err := Pack(t.Context(), l.Tree[0], "qcow2"); err != nil {
		t.Fatal(err)
	}
	var known kept
	defer known.close()
	known.open(l.Tree[0], writers["qcow2"])
	_, bodies, err := scanLayer(t.Context(), l.Tree[0], images.Absent, epoch)
	if err != nil {
		t.Fatal(err)
	}
	blocks := uint32(0)
	for _, n := range bodies {
		blocks += n.bodyBlocks()
	}
	missed := map[contentHash]bool{}
	pack, _ := known.before(func() (packer, error) {
		return func(b []byte) ([]byte, error) { missed[hashOf(b)] = true; return nil, nil }, nil
	})()
	f, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	found := 0
	err = eachRun(f, chunk, func(at int64, b []byte) error {
		before := len(missed)
		if _, err := pack(b); err != nil || isZero(b) {
			return err
		}
		if len(missed) == before && !missed[hashOf(b)] {
			found++
		}
		return nil
	})
	if want := int(blocks / alignment); err != nil || found < want {
		t.Errorf("%d chunks found, want %d, %v", found, want, err)
	}
}
