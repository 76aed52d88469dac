package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/agent/datadisk"
	"github.com/pgbake/pgbake/internal/run"
)

// What this machine's block devices are, read at this moment. Their names follow the order in which disks are attached, and
// the seed is one of them: what a disk is tells, not what it is called.

// drive is a block device of this machine.
type drive struct {
	datadisk.Device
	// path is where it lies, below the agent's root; sys is its directory in /sys, empty where it has none there.
	path, sys string
	// whole tells that it is a disk, neither a part of one nor made of others.
	whole bool
}

// drives are the block devices of this machine, by name: disks, partitions, and what is made of them. The beginning of each is
// read, unless its partitions or what it is a part of are; more is not looked at.
func (a *Agent) drives() ([]drive, error) {
	all, err := a.listed()
	if err != nil {
		return nil, err
	}
	// What /sys has no place for here, or what is left out as no disk: an owner may have labelled it.
	link := filepath.Join(a.Root, "dev/disk/by-label", datadisk.Label)
	if path, err := filepath.EvalSymlinks(link); err == nil && a.find(all, path) == nil {
		all = append(all, a.drive(path, ""))
	}
	return all, nil
}

// listed are the block devices that /sys lists.
func (a *Agent) listed() ([]drive, error) {
	found, err := filepath.Glob(filepath.Join(a.Root, "sys/block/*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(found)
	var all []drive
	for _, sys := range found {
		name := filepath.Base(sys)
		// Memory, files, and drives for CDs and floppies are no disks; a card reader without a card has the size 0.
		if slices.ContainsFunc([]string{"loop", "ram", "zram", "sr", "fd"}, func(p string) bool { return strings.HasPrefix(name, p) }) || empty(sys) {
			continue
		}
		d := a.drive(filepath.Join(a.Root, device(sys)), sys)
		// What is made of other disks has no device of its own.
		d.whole = exists(filepath.Join(sys, "device"))
		all = append(all, d)
		for _, part := range partitions(sys) {
			if !empty(part) {
				all = append(all, a.drive(filepath.Join(a.Root, device(part)), part))
			}
		}
	}
	return all, nil
}

// drive reads what tells one device from the others.
func (a *Agent) drive(path, sys string) drive {
	d := drive{path: path, sys: sys}
	d.Name, d.Serial, d.Attached = a.inside(path), a.serial(path, sys), a.attached(sys)
	if len(partitions(sys)) == 0 && len(holders(sys)) == 0 {
		begin, err := readBegin(path)
		d.Failed = err
		d.Label, d.UUID = datadisk.Superblock(begin)
	}
	return d
}

func partitions(sys string) []string {
	files, _ := filepath.Glob(filepath.Join(sys, "*/partition"))
	for i, f := range files {
		files[i] = filepath.Dir(f)
	}
	return files
}

func holders(sys string) []string {
	found, _ := filepath.Glob(filepath.Join(sys, "holders/*"))
	return found
}

func empty(sys string) bool { n := sysNumber(sys, "size"); return n == "0" || n == "" }

func sysNumber(sys, name string) string {
	body, _ := os.ReadFile(filepath.Join(sys, name))
	return strings.TrimSpace(string(body))
}

// serial is the device's first name below /dev/disk/by-id, which has the maker's or the hypervisor's serial number in it; else
// that number as the kernel has it; else empty.
func (a *Agent) serial(path, sys string) string {
	links, _ := filepath.Glob(filepath.Join(a.Root, "dev/disk/by-id/*"))
	for _, link := range links {
		if same(link, path) {
			return filepath.Base(link)
		}
	}
	for _, file := range []string{"serial", "device/serial", "device/wwid"} {
		if s := sysNumber(sys, file); sys != "" && s != "" {
			return s
		}
	}
	return ""
}

// same tells whether two paths lead to one device.
func same(one, other string) bool {
	a, err := filepath.EvalSymlinks(one)
	b, err2 := filepath.EvalSymlinks(other)
	return err == nil && err2 == nil && a == b
}

// attached numbers this attachment of a disk in this boot; empty where the kernel (before 5.15) does not.
func (a *Agent) attached(sys string) string {
	boot, err := os.ReadFile(filepath.Join(a.Root, "proc/sys/kernel/random/boot_id"))
	if n := sysNumber(sys, "diskseq"); err == nil && sys != "" && n != "" {
		return strings.TrimSpace(string(boot)) + " " + n
	}
	return ""
}

// find is the device that a path leads to; nil when there is none.
func (a *Agent) find(all []drive, path string) *drive {
	for i := range all {
		if same(all[i].path, path) {
			return &all[i]
		}
	}
	return nil
}

// examine looks at a device as one to format: what is on it, who has it, and whether it holds nothing but zeros.
func (d *drive) examine(ctx context.Context, w *work) {
	if d.Failed != nil {
		return
	}
	label, kind, err := signature(ctx, w.Runner, d.path)
	switch {
	case err != nil:
		d.Failed = err
		return
	case isSeed(label, kind):
		d.Seed, d.Label = true, label
	case len(partitions(d.sys)) > 0:
		d.Not = "has partitions"
	case len(holders(d.sys)) > 0:
		d.Not = "is part of another device"
	case d.sys != "" && sysNumber(d.sys, "ro") != "0":
		d.Not = "is read-only"
	}
	d.Kind, d.Removable = kind, d.sys != "" && sysNumber(d.sys, "removable") != "0"
	if d.Not != "" || d.Seed {
		return
	}
	switch d.Data, err = firstData(d.path); {
	case errors.Is(err, unix.EBUSY):
		d.InUse = true
	case err != nil:
		d.Failed = err
	}
}

// isSeed tells whether a file system is what NoCloud or a config drive comes in, whoever made it.
func isSeed(label, kind string) bool {
	l := strings.ToLower(label)
	return (kind == "iso9660" || kind == "vfat") && (l == "cidata" || l == "config-2")
}

// signature tells what lies on a block device: the label and kind of what was found, both empty where blkid finds nothing. That
// is no proof that there is nothing: blkid finds nothing on a device that it cannot read, either.
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
