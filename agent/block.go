package agent

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// What the kernel knows of disks, partitions and what is mounted.

// mounted is the number, major:minor, of the block device that is mounted at dir, all of it; empty where there is none, as
// in a container or on ZFS, whose room somebody else gives.
func mounted(dir string) (number string, err error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(table)) {
		// proc_pid_mountinfo(5): id, parent, major:minor, root, mount point; the last one hides those before.
		if f := strings.Fields(line); len(f) > 4 && f[4] == dir {
			number = f[2]
			if f[3] != "/" || strings.HasPrefix(number, "0:") {
				number = ""
			}
		}
	}
	return number, nil
}

// block is a block device as the kernel knows it. Sizes and places are in bytes.
type block struct {
	dev string
	// size is its own.
	size uint64
	// partition is its number on disk, 0 when it is none; start is where it begins there.
	partition int
	start     uint64
	disk      *block
	path      string // in /sys
	// below are those that it is made of, where it is made of others.
	below []block
}

func (b block) end() uint64 { return b.start + b.size }

// mbrEnd is where a partition table of MBR's kind ends.
const mbrEnd = 1 << 41

// blockDevice reads what the kernel knows of a device, after it has looked at the disk anew.
func blockDevice(number string) (block, error) {
	path, err := filepath.EvalSymlinks("/sys/dev/block/" + number)
	if err != nil {
		return block{}, err
	}
	b := block{path: path, dev: device(path)}
	if exists(filepath.Join(path, "partition")) {
		whole := block{path: filepath.Dir(path), dev: device(filepath.Dir(path))}
		if err := whole.read(); err != nil {
			return block{}, err
		}
		b.disk = &whole
	}
	if err := b.read(); err != nil {
		return block{}, err
	}
	below, _ := filepath.Glob(filepath.Join(path, "slaves/*/dev"))
	for _, f := range below {
		n, err := os.ReadFile(f)
		if err != nil {
			return block{}, err
		}
		one, err := blockDevice(strings.TrimSpace(string(n)))
		if err != nil {
			return block{}, err
		}
		b.below = append(b.below, one)
	}
	return b, nil
}

// device is the name below /dev of what lies at a path in /sys, where a slash in it is an exclamation mark.
func device(path string) string { return "/dev/" + strings.ReplaceAll(filepath.Base(path), "!", "/") }

func (b *block) read() error {
	if rescan := filepath.Join(b.path, "device/rescan"); exists(rescan) {
		// The kernel notices by itself that a virtio disk was made larger, but not a SCSI one.
		_ = os.WriteFile(rescan, []byte("1\n"), 0o200) // then it has the size that it had
	}
	number := func(name string) (uint64, error) {
		body, err := os.ReadFile(filepath.Join(b.path, name))
		if err != nil {
			return 0, err
		}
		return strconv.ParseUint(strings.TrimSpace(string(body)), 10, 64)
	}
	var err error
	if b.size, err = number("size"); err != nil {
		return err
	}
	b.size *= 512 // the kernel counts so whatever the disk's sectors are
	if !exists(filepath.Join(b.path, "partition")) {
		return nil
	}
	if b.start, err = number("start"); err != nil {
		return err
	}
	b.start *= 512
	n, err := number("partition")
	b.partition = int(n) //nolint:gosec // a partition's number is small
	return err
}

// behind is how much of the disk lies behind its last partition, in bytes, and whether b is that one.
func (b block) behind() (free uint64, last bool, err error) {
	all, _ := filepath.Glob(filepath.Join(b.disk.path, "*/partition"))
	ends := []uint64{b.end()}
	for _, f := range all {
		other := block{path: filepath.Dir(f)}
		if err := other.read(); err != nil {
			return 0, false, err
		}
		ends = append(ends, other.end())
	}
	end := slices.Max(ends)
	return b.disk.size - min(end, b.disk.size), end == b.end(), nil
}

// fileSystemSize is that of the ext4 or xfs on a device, 0 when it has another one.
func fileSystemSize(dev string) (uint64, error) {
	f, err := os.Open(dev)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	b := make([]byte, 2048)
	if _, err := f.ReadAt(b, 0); err != nil {
		return 0, err
	}
	le, be, super := binary.LittleEndian, binary.BigEndian, b[1024:]
	switch {
	case le.Uint16(super[0x38:]) == 0xef53: // https://docs.kernel.org/filesystems/ext4/super.html
		blocks := uint64(le.Uint32(super[0x4:]))
		if le.Uint32(super[0x60:])&0x80 != 0 { // INCOMPAT_64BIT
			blocks |= uint64(le.Uint32(super[0x150:])) << 32
		}
		return blocks << (10 + le.Uint32(super[0x18:])), nil
	case string(b[:4]) == "XFSB": // struct xfs_dsb; while it is mounted the kernel writes it late
		return uint64(be.Uint32(b[4:])) * be.Uint64(b[8:]), nil
	}
	return 0, nil
}
