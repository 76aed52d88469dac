package native

import (
	"debug/pe"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/builders/native/disk"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/run"
)

// A disk for arm64, of the loaders that today's archives have: no such processor is at hand to start it, but firmware
// finds what it looks for.
func TestDiskForArm64(t *testing.T) {
	needBuild(t)
	c := testCluster(t, 12)
	i, err := images.New(c, images.Proxy, "arm64")
	if err != nil {
		t.Fatal(err)
	}
	cache := testCache(t)
	lock, err := Resolve(t.Context(), ResolveOptions{Runner: run.System{}, UI: quiet(), Cache: cache, Cluster: c, Images: []images.Image{i}})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Runner: run.System{}, UI: quiet(), Cache: cache, Image: i, Lock: lock}
	packages, _ := lock.Layer(layerLoaders)
	s := store{run: o.Runner, dir: filepath.Join(cache, "debs")}
	if err := s.fill(t.Context(), packages.Packages, false); err != nil {
		t.Fatal(err)
	}
	tree, loaders, out := t.TempDir(), t.TempDir(), t.TempDir()
	var paths []string
	for _, p := range packages.Packages {
		paths = append(paths, s.path(p))
	}
	debs, err := readDebs(t.Context(), paths)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unpack(t.Context(), loaders, debs, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"vmlinuz", "initrd.img"} {
		if err := os.Mkdir(filepath.Join(tree, "boot"), 0o755); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, "boot", name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("boot/"+name, filepath.Join(tree, name)); err != nil {
			t.Fatal(err)
		}
	}
	raw := filepath.Join(out, "disk.raw")
	l := disk.Layout{Tree: []disk.Layer{{Dir: tree}}, Seed: "arm64", Time: time.Unix(1_760_000_000, 0), Arch: "arm64", Loaders: loaders}
	if err := disk.Write(t.Context(), raw, l, nil); err != nil {
		t.Fatal(err)
	}
	tool := func(args ...string) string {
		got, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v %s", args, err, got)
		}
		return string(got)
	}
	if got := tool("sgdisk", "--verify", "--info=1", raw); !strings.Contains(got, "B921B045-1DF0-41C3-AF44-4C6F280D3FAE") || !strings.Contains(got, "No problems found") {
		t.Error(got)
	}
	if got := tool("sgdisk", "--print", raw); strings.Contains(got, "BIOS boot") {
		t.Error(got)
	}
	for _, name := range []string{"BOOTAA64.EFI", "GRUBAA64.EFI", "MMAA64.EFI"} {
		file := filepath.Join(out, name)
		// The ESP begins at 1 MiB.
		tool("mcopy", "-n", "-i", raw+"@@1M", "::EFI/BOOT/"+name, file)
		f, err := pe.Open(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if f.Machine != pe.IMAGE_FILE_MACHINE_ARM64 {
			t.Errorf("%s is for machine %#x", name, f.Machine)
		}
		f.Close() //nolint:errcheck // only read
	}
}
