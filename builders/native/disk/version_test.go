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
	"ext4":       "e59d01170da3ba82",
	"qcow2":      "45e3ec575605eeeb",
	"qcow2-zstd": "9492b78a28df97ae",
	"vhdx":       "48ab3ff940af801f",
	"vmdk":       "b7e7f3ac2e0429d6",
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
	if err := writeExt4(t.Context(), f, size, tree, images.ID("a", "b"), images.ID("c", "d"), "root", epoch, nil); err != nil {
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
