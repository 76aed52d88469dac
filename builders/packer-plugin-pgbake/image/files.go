package image

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/pgbake/pgbake/images"
)

// Files implements packer.Artifact: the disks first, then what lies beside them.
func (a artifact) Files() []string {
	var files []string
	for _, f := range a.Manifest.Files {
		files = append(files, filepath.Join(a.Dir, f.File))
	}
	for _, name := range []string{images.ManifestName, a.Manifest.Name + ".cdx.json", images.SumsName, images.SignatureName, images.BootName} {
		path := filepath.Join(a.Dir, name)
		if _, err := os.Stat(path); err == nil {
			files = append(files, path)
		}
	}
	return files
}

// Destroy implements packer.Artifact: a post-processor has made something else of it. Only what the build made goes.
func (a artifact) Destroy() error {
	var all []error
	for _, f := range a.Files() {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			all = append(all, err)
		}
	}
	_ = os.Remove(a.Dir) // others may have files in it
	return errors.Join(all...)
}
