package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// A disk that was made larger becomes room: first the partition, when the file system lies on one, then the file system,
// both while they are in use. Nothing is ever made smaller or moved.

// leastRoom is what is worth growing for, in bytes. Less than that lies behind the last partition of most disks.
const leastRoom = 4 << 20

// growth is systemd's program. It grows ext4 and xfs by the kernel's own means, and is on every Debian with systemd.
const growth = "/usr/lib/systemd/systemd-growfs"

// noGrowth is the file by which an owner keeps cloud-init and growroot from growing the root.
const noGrowth = "/etc/growroot-disabled"

// growDisks makes room of what the disks of the root and of the database have gained. The size of the latter is in the
// files that follow. A failure stops nothing here: a member is worth more than its room. grown reports it in the end.
func (w *work) growDisks(ctx context.Context) error {
	if w.Root != "/" {
		return nil
	}
	dirs := []string{"/"}
	if w.seed.Machine.Role == cluster.DB && w.seed.Cluster.Storage.DataDisk != "" {
		dirs = append(dirs, dataPath)
	}
	for _, dir := range dirs {
		if dir == "/" && exists(noGrowth) {
			continue
		}
		if err := w.grow(ctx, dir); err != nil {
			w.notGrown = errors.Join(w.notGrown, fmt.Errorf("make room in %s: %w", dir, err))
		}
	}
	return nil
}

// grown reports what could not be grown.
func (w *work) grown(context.Context) error { return w.notGrown }

// grow makes the file system that is mounted at dir as large as its disk allows.
func (w *work) grow(ctx context.Context, dir string) error {
	number, err := mounted(dir)
	if err != nil || number == "" {
		return err
	}
	b, err := blockDevice(number)
	if err != nil {
		return err
	}
	size, err := fileSystemSize(b.dev)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission):
		return nil // a container, which has no devices: its host makes it larger
	case err != nil:
		return err
	}
	if err := w.growPartition(ctx, dir, b, size > 0); err != nil {
		return err
	}
	if b, err = blockDevice(number); err != nil {
		return err
	}
	if size == 0 || b.size < size+leastRoom {
		return nil
	}
	before := disk(dir)
	if err := w.Runner.Run(ctx, run.Command(growth, dir)); err != nil {
		return err
	}
	if now := disk(dir); now > before {
		w.Say("%s has grown from %s to %s", dir, mebibytes(before), mebibytes(now))
	}
	return nil
}

// growPartition gives the partition b what is free behind it, and says so where it cannot. can tells whether the file system
// on it could use that.
func (w *work) growPartition(ctx context.Context, dir string, b block, can bool) error {
	part := b
	for len(part.below) > 0 { // LVM, RAID, encryption
		part = part.below[0]
	}
	if part.partition == 0 {
		return nil
	}
	free, last, err := part.behind()
	if err != nil || free < leastRoom {
		return err
	}
	unused := func(why, hint string) error {
		w.Say("%s of the disk %s are used by no partition, and are left so: %s\n      hint: %s", mebibytes(free), part.disk.dev, why, hint)
		return nil
	}
	table, err := w.Runner.Output(ctx, run.Command("blkid", "--probe", "--match-tag", "PTTYPE", "--output", "value", part.disk.dev))
	if err != nil {
		return err
	}
	switch kind := strings.TrimSpace(string(table)); {
	case len(b.below) > 0:
		return unused(fmt.Sprintf("%s lies on %s, which lies on %s", dir, b.dev, part.dev),
			"grow what is between them by its own tools, as LVM by growpart, pvresize and lvextend; then: pgha apply")
	case !can:
		return unused("the file system of "+dir+" is neither ext4 nor xfs", "grow it by its own tools")
	case !last:
		return unused("another partition lies behind "+part.dev, "remove or move that one by hand; then: pgha apply")
	case kind != "gpt" && kind != "dos":
		return unused("a partition table of the kind "+kind+" is not changed", "grow the partition "+part.dev+" by hand; then: pgha apply")
	case kind == "dos" && part.partition > 4:
		return unused(part.dev+" is a logical partition", "grow the extended one and then it by hand; then: pgha apply")
	case kind == "dos" && part.end() >= mbrEnd-leastRoom:
		return unused("a partition table of MBR's kind ends there", "use a GPT disk")
	}
	w.Say("grow the partition %s", part.dev)
	// As growpart does it: the start, the type and the identity stay, and a GPT's second copy moves to the new end.
	number := fmt.Sprint(part.partition)
	write := run.Command("sfdisk", "--quiet", "--lock=yes", "--no-reread", "--no-tell-kernel", "--force", "--partno", number, part.disk.dev)
	write.Stdin = strings.NewReader(", +\n")
	if err := w.Runner.Run(ctx, write); err != nil {
		return fmt.Errorf("%w\n      hint: see the partitions: sfdisk --verify %s", err, part.disk.dev)
	}
	return w.Runner.Run(ctx, run.Command("partx", "--update", "--nr", number, part.disk.dev))
}

// mebibytes is a size for people.
func mebibytes(n uint64) string { return fmt.Sprintf("%d MiB", n>>20) }

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
	b := block{path: path, dev: "/dev/" + filepath.Base(path)}
	if exists(filepath.Join(path, "partition")) {
		whole := block{path: filepath.Dir(path), dev: "/dev/" + filepath.Base(filepath.Dir(path))}
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
