// Package disk makes bootable disk images of a directory tree, and turns them into every format.
//
// In come a tree that is read only, a layout and the files of GRUB's and shim's packages; out comes one file. It
// mounts nothing, needs no loop device, no root and no program of the host, and reads no clock: the same tree and
// layout give the same bytes on every machine.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/rootfs"
)

// Version is that of the way from a tree to a disk's bytes, in any format. A test fails when they change without it.
const Version = "1"

// Layout is everything that a disk depends on.
type Layout struct {
	// Tree is what the root holds, the lowest layer first.
	Tree []Layer
	// Seed is the key of all inputs: every identifier on the disk is derived from it.
	Seed string
	// Time is on every file that is not older; whole seconds.
	Time time.Time
	// Arch is amd64 or arm64: the latter starts by UEFI only.
	Arch string
	// Size of the disk in bytes; the least that gives the root a quarter of free room when 0. It grows at first boot.
	Size int64
	// Files are laid over the tree.
	Files []rootfs.File
	// Loaders is a directory with the files of images.Image.Loaders unpacked: usr/lib/grub, usr/lib/shim.
	Loaders string
}

// Where things lie, in sectors. The root is the last partition, so that it can grow; it is number 1 as on Debian's
// own cloud images.
const (
	biosFirst = 34
	biosLast  = 2047
	espFirst  = 2048
	espSize   = 64 << 20 / sectorSize
	rootFirst = espFirst + espSize
)

// Write makes a raw, sparse disk image, and gives also its bytes, in their order, unless it is nil. Nothing is left under the
// name out unless all went well.
func Write(ctx context.Context, out string, l Layout, also io.Writer) error {
	if typeRoot[l.Arch] == (images.UUID{}) || l.Seed == "" || l.Time.IsZero() {
		return fmt.Errorf("write disk %s: architecture %q, seed %q or time %v is none", out, l.Arch, l.Seed, l.Time)
	}
	id := images.ID(l.Seed, "root file system")
	t, err := scan(ctx, l.Tree, slices.Concat(l.Files, bootFiles(id, l.Time)), images.Absent, l.Time)
	if err != nil {
		return fmt.Errorf("write disk %s: %w", out, err)
	}
	if err := kernel(t.root); err != nil {
		return fmt.Errorf("write disk %s: %w", out, err)
	}
	size, rootSize, err := l.sizes(t.root)
	if err != nil {
		return fmt.Errorf("write disk %s: %w", out, err)
	}
	return whole(out, func(f *os.File) error {
		if err := f.Truncate(size); err != nil {
			return err
		}
		var loaders sync.WaitGroup
		var loadersErr error
		loaders.Go(func() { loadersErr = l.start(f, size, rootSize, id) }) // a tenth of a second, for its LZMA
		at := offset{f, rootFirst * sectorSize}
		b := newBehind(also, f, at.by, loaders.Wait)
		err := writeExt4(ctx, at, rootSize, t, id, images.ID(l.Seed, "root hashes"), "root", l.Time, b)
		loaders.Wait()
		err = errors.Join(err, loadersErr)
		return errors.Join(err, b.finish(err == nil))
	})
}

// sizes are those of the disk and of the root file system in it.
func (l Layout) sizes(root *node) (disk, fs int64, err error) {
	// The copy of the partition table is at the end; disks are whole MiB for whoever counts in them.
	const around = rootFirst*sectorSize + 1<<20
	disk = l.Size
	if disk == 0 {
		need := int64(0)
		_ = walk(root, "/", func(_ string, n *node) error {
			need += (n.size/int64(max(n.links, 1)) + blockSize - 1) / blockSize * blockSize
			return nil
		})
		need += journalBlocks * blockSize
		disk = (need+need/4)/groupBytes*groupBytes + 2*groupBytes + around
	}
	fs = (disk - around) / groupBytes * groupBytes
	switch {
	case fs <= 0 || disk%(1<<20) != 0:
		return 0, 0, fmt.Errorf("size %d is less than 193 MiB, or no whole MiB", disk)
	case fs > 1<<40:
		return 0, 0, errors.New("size is more than 1 TiB: let it grow at first boot")
	}
	return disk, fs, nil
}

// start writes all that is before and behind the root: how the disk starts.
func (l Layout) start(f *os.File, size, rootSize int64, root images.UUID) error {
	lib := func(name ...string) string { return filepath.Join(append([]string{l.Loaders, "usr/lib"}, name...)...) }
	esp, err := espFiles(lib, l.Arch, root)
	if err != nil {
		return err
	}
	volume := images.ID(l.Seed, "ESP volume")
	if err := writeFAT(f, espFirst, espSize, le.Uint32(volume[:]), "ESP", esp, l.Time); err != nil {
		return err
	}
	parts := []partition{
		{15, typeESP, images.ID(l.Seed, "ESP partition"), espFirst, rootFirst - 1, "ESP"},
		{1, typeRoot[l.Arch], images.ID(l.Seed, "root partition"), rootFirst, rootFirst + rootSize/sectorSize - 1, "root"},
	}
	if l.Arch == "amd64" {
		if err := writeBIOS(f, lib("grub/i386-pc"), root); err != nil {
			return err
		}
		parts = append(parts, partition{14, typeBIOS, images.ID(l.Seed, "BIOS partition"), biosFirst, biosLast, "BIOS boot"})
	}
	return writeGPT(f, size, images.ID(l.Seed, "disk"), parts)
}

// writeBIOS writes GRUB where a BIOS finds it.
func writeBIOS(f *os.File, dir string, root images.UUID) error {
	boot, err := os.ReadFile(filepath.Join(dir, "boot.img"))
	if err != nil {
		return err
	}
	core, err := coreImage(dir, stub(root), "/boot/grub")
	if err != nil {
		return err
	}
	if len(core) > (biosLast-biosFirst+1)*sectorSize {
		return fmt.Errorf("write core.img: %d bytes do not fit before the first partition", len(core))
	}
	if err := embed(boot, core, biosFirst); err != nil {
		return err
	}
	// Behind 0x1b8 are the disk's number and the partition table.
	if _, err := f.WriteAt(boot[:0x1b8], 0); err != nil {
		return err
	}
	_, err = f.WriteAt(core, biosFirst*sectorSize)
	return err
}

// offset writes into a part of a file.
type offset struct {
	f  *os.File
	by int64
}

func (o offset) WriteAt(b []byte, at int64) (int, error) { return o.f.WriteAt(b, at+o.by) }
