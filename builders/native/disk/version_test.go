package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/images"
)

// The bytes of this version. When they are others, raise Version: an image that is there, and what layers keep of
// themselves, must not be taken for what this program would make.
var bytesOfVersion = map[string]string{
	"version":    "1",
	"ext4":       "a496f5a7704158bb",
	"qcow2":      "97d68fe8f8361d0e",
	"qcow2-zstd": "fb4c1af77dbcf4c5",
	"vhdx":       "715cc3b754db8179",
	"vmdk":       "f8f6a1e60f66e430",
}

func TestVersion(t *testing.T) {
	out := t.TempDir()
	got := map[string]string{"version": Version}
	tree, err := scan(t.Context(), []Layer{{Dir: sample(t)}}, nil, images.Absent, epoch)
	if err != nil {
		t.Fatal(err)
	}
	_ = walk(tree.root, "/", func(_ string, n *node) error { n.uid, n.gid = 0, 0; return nil }) // whoever runs this
	raw := filepath.Join(out, "disk.ext4")
	f, err := os.Create(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it is read by its name
	const size = 2 * groupBytes
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := writeExt4(t.Context(), f, size, tree, images.ID("a", "b"), images.ID("c", "d"), "root", epoch); err != nil {
		t.Fatal(err)
	}
	got["ext4"] = sum(t, raw)[:16]
	for _, format := range []string{"qcow2", "qcow2-zstd", "vhdx", "vmdk"} {
		name := filepath.Join(out, "disk."+format)
		if err := Convert(t.Context(), format, raw, name, Layout{Seed: "test", Time: epoch}); err != nil {
			t.Fatal(err)
		}
		got[format] = sum(t, name)[:16]
	}
	if diff := cmp.Diff(bytesOfVersion, got); diff != "" {
		t.Errorf("other bytes than those of version %s:\n%s", Version, diff)
	}
}
