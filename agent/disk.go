package agent

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/pgbake/pgbake/agent/datadisk"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/rootfs"
)

const (
	dataMount = "var-lib-postgresql.mount"
	dataPath  = cluster.DatabaseHome
)

// dataDisk mounts the data disk, before anything looks for a database there, and notes which one it is. A blank one gets a
// file system first; a disk with anything on it, and one that cannot be read, is never formatted.
func (w *work) dataDisk(ctx context.Context) error {
	if w.seed.Cluster.Storage.DataDisk == "" {
		return nil
	}
	// "activating" is not enough: so it is while systemd waits for a disk that may be gone.
	if state, err := w.state(ctx, dataMount); err != nil {
		return err
	} else if state != "active" {
		if err := w.mountDisk(ctx); err != nil {
			return err
		}
	} else if err := w.checkDataDisk(); err != nil {
		w.Say("the data disk is mounted, and would not be at the next boot: %v", err)
	}
	number, err := mounted(filepath.Join(w.Root, dataPath))
	if err != nil || number == "" {
		return err
	}
	b, err := blockDevice(number)
	if err != nil {
		return err
	}
	if err := w.noteDisk(b.dev, b.path); err != nil {
		return err
	}
	return w.writeMount(ctx)
}

// mountDisk mounts the data disk, once it is sure which one that is.
func (w *work) mountDisk(ctx context.Context) error {
	if err := w.prepareDisk(ctx, w.seed.Cluster.Storage.DataDisk); err != nil {
		return err
	}
	if err := w.writeMount(ctx); err != nil {
		return err
	}
	if err := w.systemctl(ctx, "start", dataMount); err != nil {
		return err
	}
	return w.ownEmpty(filepath.Join(w.Root, dataPath))
}

// writeMount writes the unit that mounts the data disk, by its UUID where that is noted, and has systemd read it.
func (w *work) writeMount(ctx context.Context) error {
	files, err := w.seed.Files(w.Root)
	if err != nil {
		return err
	}
	unit := slices.DeleteFunc(files, func(f rootfs.File) bool { return filepath.Base(f.Path) != dataMount })
	written, err := rootfs.Write(w.Root, unit)
	if err != nil || len(written) == 0 {
		return err
	}
	w.Changed = append(w.Changed, written...)
	return w.Runner.Run(ctx, run.Command("systemctl", "daemon-reload"))
}

// prepareDisk sees to it that there is one disk of ours. Where there is one, whatever it is called today, no other is made one.
func (w *work) prepareDisk(ctx context.Context, wish string) error {
	note, err := readDiskNote(w.Root)
	if err != nil {
		return err
	}
	all, err := w.drives()
	if err != nil {
		return err
	}
	ours, beside, err := datadisk.Ours(note, devices(all))
	if err != nil {
		return err
	}
	for _, d := range beside {
		w.Say("%s has the label %s, but is not this machine's data disk (its UUID is %s), and is left alone", d, datadisk.Label, d.UUID)
	}
	if ours != nil {
		if had := note.Mounted(); had != "" && ours.Serial != note.Disk {
			w.Say("the data disk is on %s now, and was on %s when it was first mounted: it was moved, or restored from a copy", ours, cmp.Or(note.Disk, "a disk without a serial number"))
		}
		return nil
	}
	dev, err := w.blankDisk(ctx, wish, note, all)
	if err != nil {
		return err
	}
	return w.format(ctx, dev)
}

func devices(all []drive) (devs []datadisk.Device) {
	for _, d := range all {
		devs = append(devs, d.Device)
	}
	return devs
}

// blankDisk is the disk that may be formatted.
func (w *work) blankDisk(ctx context.Context, wish string, note datadisk.Note, all []drive) (drive, error) {
	q := datadisk.Wish{Version: w.seed.Cluster.Postgres.Version, Adopting: w.adopting(), Below: w.below(), Had: w.hadDisk()}
	if wish != cluster.AnyDisk {
		q.Disk = w.inside(wish)
		if d := w.find(all, wish); d != nil {
			d.Name = q.Disk // as the specification calls it
		} else if exists(wish) {
			all = append(all, w.drive(wish, ""))
		}
	}
	var some []drive
	for _, d := range all {
		// Part of a disk, and what is made of disks, is only formatted where it is named; one that cannot be read may be ours.
		if d.whole || d.Name == q.Disk || d.Failed != nil {
			d.examine(ctx, w)
			some = append(some, d)
		}
	}
	dev, err := datadisk.Blank(q, note, devices(some))
	if err != nil {
		return drive{}, err
	}
	return some[slices.IndexFunc(some, func(d drive) bool { return d.Name == dev.Name })], nil
}

// below is a database that lies on the root disk, where a data disk would hide it; empty when there is none.
func (w *work) below() string {
	found, _ := filepath.Glob(filepath.Join(w.Root, dataPath, "*/*/PG_VERSION"))
	if len(found) == 0 {
		return ""
	}
	return w.inside(filepath.Dir(found[0]))
}

// hadDisk tells whether this machine had a data disk, or was a member of a cluster, before any of it was noted.
func (w *work) hadDisk() bool {
	_, remembers := readMemory(w.Root)
	return remembers || exists(filepath.Join(w.Root, "etc/systemd/system", dataMount))
}

// format makes a file system on a disk that was proved blank. Which disk and which UUID is noted before: killed in between,
// the next apply knows its own work.
func (w *work) format(ctx context.Context, d drive) error {
	uid, gid, err := rootfs.LookupOwner(w.Root, "postgres:postgres")
	if err != nil {
		return err
	}
	note := datadisk.Note{UUID: newUUID(), Making: d.Attached}
	if note.Making == "" {
		note.Making = "unknown"
	}
	if err := writeDiskNote(w.Root, note); err != nil {
		return err
	}
	w.Say("make a file system on the blank disk %s", d)
	// With a terminal mkfs.ext4 asks before it overwrites a file system, and nobody is there to agree; without one it does not ask.
	// Nothing is discarded: what was there could still be brought back.
	mkfs := run.Command("mkfs.ext4", "-q", "-L", datadisk.Label, "-U", note.UUID, "-E", fmt.Sprintf("nodiscard,root_owner=%d:%d", uid, gid), d.path)
	mkfs.Terminal = true
	if err := w.Runner.Run(ctx, mkfs); err != nil {
		return err
	}
	begin, err := readBegin(d.path)
	if err != nil {
		return fmt.Errorf("read %s, which has just got a file system: %w", d, err)
	}
	if _, uuid := datadisk.Superblock(begin); uuid != note.UUID {
		return fmt.Errorf("read %s: the file system that mkfs.ext4 has just made there is not there\n      hint: the disk loses what is written to it: replace it", d)
	}
	return nil
}

// newUUID is a random one (RFC 9562, version 4).
func newUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ownEmpty gives the root of a file system that somebody made by hand to PostgreSQL, which is to make its database there.
// One with anything in it stays as it is.
func (w *work) ownEmpty(dir string) error {
	found, err := os.ReadDir(dir)
	if err != nil || slices.ContainsFunc(found, func(e os.DirEntry) bool { return e.Name() != "lost+found" }) {
		return err
	}
	uid, gid, err := rootfs.LookupOwner(w.Root, "postgres:postgres")
	if err != nil {
		return err
	}
	return os.Chown(dir, uid, gid)
}
