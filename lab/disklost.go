package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// given is what the lab itself puts on a container's disk.
var given = []string{"var/lib/cloud/seed/nocloud", "etc/systemd/system/console-getty.service", "etc/default/chrony"}

// loseDisk gives a machine that is off a new disk: what its image holds, its seed, and nothing that it has written.
func loseDisk(m Machine, _ context.Context) error { //nolint:revive // a method expression beside it has this order
	n, ok := m.(*nspawn)
	switch {
	case !ok:
		return errors.New("lose a disk: only a container's can be lost")
	case n.Alive():
		return fmt.Errorf("lose the disk of %s: it is on\n      hint: power-cut first", n.name)
	}
	o, err := n.overlay()
	if err != nil {
		return err
	}
	old := o.upper() + ".lost"
	if _, err := os.Stat(old); err != nil { // else what a killed run left is gone on with
		if err := os.Rename(o.upper(), old); err != nil {
			return err
		}
	}
	for _, name := range given {
		to := filepath.Join(o.upper(), name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // directories of a machine
			return err
		}
		if err := os.Rename(filepath.Join(old, name), to); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return errors.Join(os.RemoveAll(old), os.RemoveAll(filepath.Join(o.Dir, "work")))
}
