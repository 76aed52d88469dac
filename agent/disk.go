package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/rootfs"
)

const (
	// dataLabel is the file system label that a data disk gets, and that var-lib-postgresql.mount looks for.
	dataLabel = "pgha-data"
	dataMount = "var-lib-postgresql.mount"
	dataPath  = cluster.DatabaseHome
)

// dataDisk mounts the data disk, before anything looks for a database there. A blank one gets a file system first;
// a disk with anything on it is never formatted.
func (w *work) dataDisk(ctx context.Context) error {
	dev := w.seed.Cluster.Storage.DataDisk
	if dev == "" {
		return nil
	}
	if state, err := w.state(ctx, dataMount); err != nil || running(state) {
		return err
	}
	if err := w.prepareDisk(ctx, dev); err != nil {
		return err
	}
	unit := slices.DeleteFunc(slices.Clone(w.files), func(f rootfs.File) bool { return filepath.Base(f.Path) != dataMount })
	if _, err := rootfs.Write(w.Root, unit); err != nil {
		return err
	}
	if err := w.Runner.Run(ctx, run.Command("systemctl", "daemon-reload")); err != nil {
		return err
	}
	return w.systemctl(ctx, "start", dataMount)
}

// prepareDisk sees to it that there is one disk of ours. Where there is one, whatever it is called today, no other is made one.
func (w *work) prepareDisk(ctx context.Context, dev string) error {
	all, err := w.drives(ctx)
	if err != nil {
		return err
	}
	switch devs := w.labelled(all); {
	case len(devs) > 1:
		return fmt.Errorf("mount the data disk: more than one has the label %s: %s\n      hint: detach the one that is not this machine's", dataLabel, w.named(devs))
	case len(devs) == 1:
		return nil
	}
	if dev == cluster.AnyDisk {
		if dev, err = w.findDisk(all); err != nil {
			return err
		}
	}
	return w.format(ctx, dev, all)
}

// format makes a file system on a blank disk, and refuses any other that is not ours.
func (w *work) format(ctx context.Context, dev string, all []drive) error {
	label, kind, err := signature(ctx, w.Runner, dev)
	switch {
	case err != nil:
		return err
	case label == dataLabel:
		return nil
	case isSeed(label, kind):
		return fmt.Errorf("%s is the seed (%s, %s) and is left alone\n      hint: %s", dev, kind, label, w.another(all))
	case kind != "" && inUse(dev):
		return fmt.Errorf("%s is in use (%s) and is left alone\n      hint: %s", dev, kind, w.another(all))
	case kind != "" && w.adopting():
		return fmt.Errorf("%s is not blank (%s) and is left alone\n      hint: when the database to adopt lies on it, in %d/main: e2label %[1]s %[4]s", dev, kind, w.seed.Cluster.Postgres.Version, dataLabel)
	case kind != "":
		return fmt.Errorf("%s is not blank (%s) and is left alone\n      hint: give this machine an empty disk, or, when nothing on it is needed: wipefs --all %s", dev, kind, dev)
	}
	if err := w.noDataBelow(); err != nil {
		return err
	}
	uid, gid, err := rootfs.LookupOwner(w.Root, "postgres:postgres")
	if err != nil {
		return err
	}
	w.Say("make a file system on the blank disk %s", dev)
	return w.Runner.Run(ctx, run.Command("mkfs.ext4", "-q", "-L", dataLabel, "-E", fmt.Sprintf("root_owner=%d:%d", uid, gid), dev))
}

// another says what to write in place of a disk that cannot be meant.
func (w *work) another(all []drive) string {
	if devs := blank(all); len(devs) == 1 {
		return fmt.Sprintf("%s is blank: storage.data_disk: %[1]s, or %s, which takes the one that is", w.named(devs), cluster.AnyDisk)
	}
	return "attach an empty disk to this machine, and name it in storage.data_disk: /dev/disk/by-id/…"
}

// noDataBelow refuses to hide a database that already lies on the root disk.
func (w *work) noDataBelow() error {
	found, _ := filepath.Glob(filepath.Join(w.Root, dataPath, "*/*/PG_VERSION"))
	if len(found) > 0 {
		return fmt.Errorf("a database lies in %s on the root disk; a data disk mounted there would hide it\n      hint: take storage.data_disk out of %s, or move the data first",
			w.inside(filepath.Dir(found[0])), specFile)
	}
	return nil
}

// signature tells what lies on a block device: the label and kind of what was found, both empty on a blank one.
func signature(ctx context.Context, r run.Runner, dev string) (label, kind string, err error) {
	if _, err := os.Stat(dev); err != nil {
		return "", "", fmt.Errorf("look at the data disk: %w", err)
	}
	// blkid's exit codes: 2 nothing found, 8 several signatures that contradict each other.
	out, err := r.Output(ctx, run.Command("blkid", "--probe", "--output", "export", dev))
	switch code := run.ExitCode(err); {
	case err != nil && code == 2:
		return "", "", nil
	case err != nil && code == 8:
		return "", "several signatures", nil
	case err != nil:
		return "", "", err
	}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "LABEL":
			label = value
		case "TYPE", "PTTYPE":
			kind = value
		}
	}
	if kind == "" {
		return "", "", errors.New("blkid says neither a kind nor that " + dev + " is blank")
	}
	return label, kind, nil
}
