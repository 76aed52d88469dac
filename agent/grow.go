package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
