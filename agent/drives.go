package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pgbake/pgbake/cluster"
)

// Which of a machine's disks is for the database. What a disk is tells, not what it is called: names follow the order in which
// disks are attached, and the seed is one of them.

// drive is a whole disk of this machine.
type drive struct {
	dev string
	// label and kind are those of what lies on it; both empty on one without a signature.
	label, kind string
	// not is why it cannot be for the database, as words behind its name; empty when it can.
	not string
}

// drives are the whole disks of this machine, by name.
func (w *work) drives(ctx context.Context) ([]drive, error) {
	found, err := filepath.Glob(filepath.Join(w.Root, "sys/block/*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(found)
	var all []drive
	for _, path := range found {
		name := filepath.Base(path)
		// What is made of files, memory or other disks has no device of its own; CD and floppy drives have.
		if !exists(filepath.Join(path, "device")) || strings.HasPrefix(name, "sr") || strings.HasPrefix(name, "fd") || sysNumber(path, "size") == "0" {
			continue
		}
		d := drive{dev: filepath.Join(w.Root, device(path))}
		if d.label, d.kind, err = signature(ctx, w.Runner, d.dev); err != nil {
			d.kind, d.not = "unknown", "cannot be read"
		} else {
			d.not = d.unfit(path)
		}
		all = append(all, d)
	}
	return all, nil
}

// unfit is why a disk that can be read is not for the database: anything that is not surely blank, and nobody's.
func (d drive) unfit(path string) string {
	partitions, _ := filepath.Glob(filepath.Join(path, "*/partition"))
	holders, _ := filepath.Glob(filepath.Join(path, "holders/*"))
	switch {
	case isSeed(d.label, d.kind):
		return "is the seed"
	case len(partitions) > 0:
		return "has partitions"
	case d.kind != "":
		return "is not blank (" + d.kind + ")"
	case len(holders) > 0:
		return "is part of another device"
	case sysNumber(path, "ro") != "0":
		return "is read-only"
	case sysNumber(path, "removable") != "0":
		return "can be taken out"
	}
	zero, err := blankEnds(d.dev)
	switch {
	case errors.Is(err, syscall.EBUSY):
		return "is in use"
	case err != nil:
		return "cannot be read"
	case !zero:
		return "is not blank (data without a signature)"
	}
	return ""
}

func sysNumber(path, name string) string {
	body, _ := os.ReadFile(filepath.Join(path, name))
	return strings.TrimSpace(string(body))
}

// isSeed tells whether a file system is what NoCloud or a config drive comes in, whoever made it.
func isSeed(label, kind string) bool {
	l := strings.ToLower(label)
	return (kind == "iso9660" || kind == "vfat") && (l == "cidata" || l == "config-2")
}

// inUse tells whether the kernel lets nobody else have a disk: it or a part of it is mounted, swapped to, or part of another device.
func inUse(dev string) bool {
	f, err := os.OpenFile(dev, os.O_RDONLY|syscall.O_EXCL, 0)
	if err == nil {
		_ = f.Close() // only read
	}
	return errors.Is(err, syscall.EBUSY)
}

// blankEnds tells whether a disk has nothing but zeros in its first and last MiB, where everything that has no signature
// begins or ends. EBUSY is a disk in use.
func blankEnds(dev string) (bool, error) {
	f, err := os.OpenFile(dev, os.O_RDONLY|syscall.O_EXCL, 0)
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // only read
	const end = 1 << 20
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	buf := make([]byte, min(end, size))
	for _, at := range []int64{0, size - int64(len(buf))} {
		if _, err := f.ReadAt(buf, at); err != nil {
			return false, err
		}
		if len(bytes.Trim(buf, "\x00")) > 0 {
			return false, nil
		}
	}
	return true, nil
}

// labelled are the disks that this or an earlier pgha made for the database. A partition that an owner labelled so is one, too.
func (w *work) labelled(all []drive) (devs []string) {
	for _, d := range all {
		if d.label == dataLabel {
			devs = append(devs, d.dev)
		}
	}
	if link := filepath.Join(w.Root, "dev/disk/by-label", dataLabel); len(devs) == 0 && exists(link) {
		devs = append(devs, link)
	}
	return devs
}

// blank are the disks that can be for the database.
func blank(all []drive) (devs []string) {
	for _, d := range all {
		if d.not == "" {
			devs = append(devs, d.dev)
		}
	}
	return devs
}

// findDisk is the disk that `storage.data_disk: auto` means on a machine that has none of ours: the only one that is blank.
func (w *work) findDisk(all []drive) (string, error) {
	const is = "storage.data_disk is " + cluster.AnyDisk
	switch devs := blank(all); {
	case w.adopting():
		return "", fmt.Errorf("find the data disk: %s, and no disk has the label %s\n"+
			"      hint: the database to adopt lies on one, in %d/main: e2label DISK %[2]s", is, dataLabel, w.seed.Cluster.Postgres.Version)
	case exists(filepath.Join(w.Root, "etc/systemd/system", dataMount)):
		// It had one. A blank one in its place would be an empty database, on a guess.
		return "", fmt.Errorf("find the data disk: this machine had one, and no disk has its label, %s\n"+
			"      hint: attach it; or, when it is lost for good and another one is there: rm /etc/systemd/system/%s, and pgha apply", dataLabel, dataMount)
	case len(devs) > 1:
		return "", fmt.Errorf("find the data disk: %s, and more than one disk is blank: %s\n"+
			"      hint: detach what is not for the database, or name the one that is: storage.data_disk: /dev/disk/by-id/…", is, w.named(devs))
	case len(devs) == 1:
		return devs[0], nil
	}
	var each []string
	for _, d := range all {
		each = append(each, w.inside(d.dev)+" "+d.not)
	}
	return "", fmt.Errorf("find the data disk: %s, and no disk is blank: %s\n      hint: attach an empty disk to this machine", is, strings.Join(each, ", "))
}

// named are the disks as the machine has them.
func (w *work) named(devs []string) string {
	var names []string
	for _, d := range devs {
		names = append(names, w.inside(d))
	}
	return strings.Join(names, ", ")
}
