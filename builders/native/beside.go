package native

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/pgbake/pgbake/images"
)

// What lies beside an image's files. All of it follows from the manifest.

// manifest is that of a tree, with the files that are there already.
func (o BakeOptions) manifest(t Tree, p plan) (images.Manifest, error) {
	f, err := os.Open(filepath.Join(t.Dir, "var/lib/dpkg/status"))
	if err != nil {
		return images.Manifest{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	installed, err := images.Installed(f)
	return images.Manifest{
		Name: o.Image.Name(), Role: o.Image.Role, Debian: int(o.Image.Release), Arch: o.Image.Arch, Init: o.Image.Init, Pgbake: o.Version,
		Key: p.key, Created: t.Time, Inputs: t.Layers, Files: p.manifest.Files, Packages: installed,
	}, err
}

// beside writes what is not there or not as it should be, the manifest last.
func (o BakeOptions) beside(m images.Manifest) error {
	slices.SortFunc(m.Files, func(a, b images.Output) int { return order(a) - order(b) })
	manifest, err := m.JSON()
	if err != nil {
		return err
	}
	sbom, err := images.SBOM(o.Image, m.Key, m.Created, m.Packages)
	if err != nil {
		return err
	}
	type file struct {
		name string
		body []byte
	}
	files := []file{
		{o.Image.Name() + ".cdx.json", sbom},
		{images.BootName, images.Instructions(o.Image, m.Files, seedExample(o.Image))},
		{images.ManifestName, manifest},
	}
	outputs := slices.Clone(m.Files)
	for _, f := range files {
		sum := sha256.Sum256(f.body)
		outputs = append(outputs, images.Output{File: f.name, SHA256: hex.EncodeToString(sum[:])})
	}
	sums := images.SHA256Sums(outputs)
	beside := []file{{images.SumsName, sums}}
	if o.Sign != nil {
		signature, err := o.Sign(sums, m.Created)
		if err != nil {
			return err
		}
		beside = append(beside, file{images.SignatureName, signature})
	} else if err := os.Remove(filepath.Join(o.dir(), images.SignatureName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, f := range slices.Concat(beside, files) {
		name := filepath.Join(o.dir(), f.name)
		if now, err := os.ReadFile(name); err == nil && bytes.Equal(now, f.body) {
			continue
		}
		if err := errors.Join(writeWhole(name, f.body), os.Chtimes(name, m.Created, m.Created)); err != nil {
			return err
		}
	}
	return nil
}

// seedExample stands in the instructions where the machine's seed goes.
func seedExample(i images.Image) string {
	if i.Init == images.Ignition {
		return "node1.ign.iso"
	}
	return "node1.iso"
}

// order is an output's place among the formats.
func order(f images.Output) int {
	return slices.IndexFunc(images.Formats, func(g images.Format) bool { return g.Name == f.Format })
}
