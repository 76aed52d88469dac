package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pgbake/pgbake/builders/native"
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

// sizes are what a person wants to know of an image in one line.
func sizes(b native.Baked) string {
	var parts []string
	for _, f := range b.Manifest.Files {
		parts = append(parts, fmt.Sprintf("%s %d MB", f.Format, f.Bytes/1_000_000))
	}
	return fmt.Sprintf("%d packages, %s", len(b.Manifest.Packages), strings.Join(parts, ", "))
}
