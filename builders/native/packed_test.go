package native

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pgbake/pgbake/builders/native/disk"
	"github.com/pgbake/pgbake/images"
)

// A new pgha's image, made with what the layers below have kept of themselves, is to the bit what it is without.
func TestNewImageIsAFullOne(t *testing.T) {
	needBuild(t)
	cache := testCache(t)
	for _, version := range []string{"1.0.0", "1.0.1"} { // the first one packs
		o := testOptions(t, cache, 12, images.Proxy, version)
		err := Root(t.Context(), o, func(ctx context.Context, tree Tree) error {
			out := t.TempDir()
			made := func(name string, stack []disk.Layer) (sums [2]string) {
				l := disk.Layout{Tree: stack, Seed: tree.Key, Time: tree.Time, Arch: "amd64", Loaders: tree.Loaders}
				raw, qcow2 := filepath.Join(out, name+".raw"), filepath.Join(out, name+".qcow2")
				if err := disk.Write(ctx, raw, l, nil); err != nil {
					t.Fatal(err)
				}
				if err := disk.Convert(ctx, "qcow2", raw, qcow2, l); err != nil {
					t.Fatal(err)
				}
				for i, f := range []string{raw, qcow2} {
					var err error
					if sums[i], err = sumFile(f); err != nil {
						t.Fatal(err)
					}
				}
				return sums
			}
			kept := made("kept", tree.Stack)
			if version == "1.0.0" {
				return nil
			}
			full := slices.Clone(tree.Stack)
			for i, l := range full {
				if _, err := os.Stat(l.Cache); i < 2 && err != nil {
					t.Errorf("nothing is kept of layer %d: %v", i, err)
				}
				full[i].Cache = ""
			}
			if got := made("full", full); got != kept {
				t.Errorf("raw and qcow2 are %v, in full %v", kept, got)
			}
			return nil
		})
		if err != nil {
			t.Fatal(fmt.Errorf("version %s: %w", version, err))
		}
	}
}
