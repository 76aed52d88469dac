package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// overlay is a root directory put together from read-only layers and one that takes what is written.
type overlay struct {
	// Lower are the read-only layers, the topmost first.
	Lower []string
	// Dir holds upper (what was written), work (the kernel's) and root (where it is seen).
	Dir string
	// Volatile leaves out every fsync: for a root that is thrown away when its making is interrupted.
	Volatile bool
}

func (o overlay) upper() string { return filepath.Join(o.Dir, "upper") }
func (o overlay) root() string  { return filepath.Join(o.Dir, "root") }

// mount mounts the overlay. Call it under ownMounts.
func (o overlay) mount() error {
	for _, d := range []string{o.upper(), filepath.Join(o.Dir, "work"), o.root()} {
		if err := os.MkdirAll(d, 0o755); err != nil { //nolint:gosec // it becomes "/" of a machine
			return err
		}
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s",
		strings.Join(o.Lower, ":"), o.upper(), filepath.Join(o.Dir, "work"))
	if o.Volatile {
		data += ",volatile"
	}
	if err := unix.Mount("overlay", o.root(), "overlay", 0, data); err != nil {
		return fmt.Errorf("mount overlay %s: %w", o.root(), err)
	}
	return nil
}
