package disk

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/images"
)

// An ext4 file system, written from a tree in one pass: https://docs.kernel.org/filesystems/ext4/.
//
// Why not mke2fs -d: Debian 12's copies the host's inode times, every version takes the directories in the host's own
// order (an ext4 host hashes names with its own seed), and its layout changes from version to version. Here the same
// tree gives the same bytes wherever pgbake runs. e2fsck is the judge, in the test.
const (
	blockSize      = 4096
	groupBlocks    = 8 * blockSize // one block of bitmap
	groupInodes    = 8192          // one for 16 KiB, mke2fs's ratio
	inodeSize      = 256
	tableBlocks    = groupInodes * inodeSize / blockSize
	descSize       = 64
	flexGroups     = 16  // their bitmaps and inode tables lie together
	reservedGDT    = 256 // so that it can grow online to 2 TiB: 8 GiB each
	journalBlocks  = 16384
	groupBytes     = groupBlocks * blockSize
	rootInode      = 2
	resizeInode    = 7
	journalInode   = 8
	firstFreeInode = 11
)

// alignment, in blocks, is where a layer's bodies begin, and go on behind what lies between them: the chunks of a
// compressed disk then hold the same bytes wherever the layer lies.
const alignment = chunk / blockSize

type extent struct{ logical, physical, blocks uint32 }

// ext4 is a file system in the making.
type ext4 struct {
	ctx      context.Context
	w        io.WriterAt // its first byte is the file system's
	behind   *behind
	id, hash images.UUID
	label    string
	at       int64
	seed     uint32 // of all checksums

	groups  uint32
	gdt     uint32   // blocks
	used    []byte   // bitmap of all blocks
	spare   []extent // blocks that are taken while the others get their places, and then free
	next    uint32   // where to look for a free block
	inodes  []byte   // all inode tables up to the last inode in use
	dirs    []uint32
	nodes   []*node
	lastIno uint32
}

// writeExt4 writes a file system of size bytes, whole groups of 128 MiB; the bodies of files last, as b is told.
func writeExt4(ctx context.Context, w io.WriterAt, size int64, t *tree, id, hash images.UUID, label string, at time.Time, b *behind) error {
	f := &ext4{
		ctx: ctx, w: w, behind: b, id: id, hash: hash, label: label, at: at.Unix(), seed: crc32c(^uint32(0), id[:]),
		groups: uint32(size / groupBytes), lastIno: firstFreeInode, //nolint:gosec // below 2^32 blocks: checked by Write
	}
	if err := f.write(t); err != nil {
		return fmt.Errorf("write ext4: %w", err)
	}
	return nil
}

func (f *ext4) write(t *tree) error {
	f.layout()
	f.number(t.root)
	if max := f.groups * groupInodes; f.lastIno > max {
		return fmt.Errorf("%d files, but only %d fit\n      hint: make the disk larger", f.lastIno, max)
	}
	f.inodes = make([]byte, (int(f.lastIno)+15)/16*blockSize)
	f.dirs = make([]uint32, f.groups)
	if err := f.resize(); err != nil {
		return err
	}
	if err := f.journal(); err != nil {
		return err
	}
	for _, bodies := range t.bodies {
		if err := f.layer(bodies); err != nil {
			return err
		}
	}
	if err := f.directory(t.root, t.root.ino); err != nil {
		return err
	}
	if err := f.files(); err != nil {
		return err
	}
	for _, e := range f.spare {
		f.free(e)
	}
	if err := f.metadata(); err != nil {
		return err
	}
	return f.copyBodies()
}

// layer gives bodies their places, one behind the other. Those that a layer above hides have theirs too, but nothing
// is written there.
func (f *ext4) layer(bodies []*node) error {
	f.next = (f.next + alignment - 1) / alignment * alignment
	for _, n := range bodies {
		var err error
		if n.extents, err = f.allocate(n.bodyBlocks()); err != nil {
			return err
		}
		if n.links == 0 {
			f.spare = append(f.spare, n.extents...)
		}
	}
	return nil
}

// hasSuper tells whether a group has a copy of the superblock: sparse_super, 0, 1 and the powers of 3, 5 and 7.
func hasSuper(g uint32) bool {
	for _, p := range []uint32{3, 5, 7} {
		n := p
		for n < g {
			n *= p
		}
		if n == g {
			return true
		}
	}
	return g <= 1
}

// layout marks the blocks of everything whose place is given. What lies between bodies takes whole alignments, and the
// tables of all groups that a flexible group can have: their places then do not depend on the disk's size.
func (f *ext4) layout() {
	f.gdt = (f.groups*descSize + blockSize - 1) / blockSize
	f.used = make([]byte, f.groups*blockSize)
	supers := 1 + f.gdt + reservedGDT
	for g := range f.groups {
		if hasSuper(g) {
			f.mark(g*groupBlocks, supers)
		}
		f.mark(f.blockBitmap(g), 1)
		f.mark(f.inodeBitmap(g), 1)
		f.mark(f.inodeTable(g), tableBlocks)
	}
	for g := range f.groups {
		if hasSuper(g) {
			f.keep(g*groupBlocks, g*groupBlocks+supers)
		}
		if g%flexGroups == 0 {
			f.keep(f.flexStart(g), f.flexStart(g)+flexGroups*(2+tableBlocks))
		}
	}
}

// flexStart is the first block of what the groups of a flexible group share.
func (f *ext4) flexStart(g uint32) uint32 {
	first := g / flexGroups * flexGroups
	start := first * groupBlocks
	if hasSuper(first) {
		start += 1 + f.gdt + reservedGDT
	}
	return start
}

func (f *ext4) blockBitmap(g uint32) uint32 { return f.flexStart(g) + g%flexGroups }
func (f *ext4) inodeBitmap(g uint32) uint32 { return f.flexStart(g) + flexGroups + g%flexGroups }
func (f *ext4) inodeTable(g uint32) uint32 {
	return f.flexStart(g) + 2*flexGroups + g%flexGroups*tableBlocks
}

func (f *ext4) mark(block, n uint32) {
	for b := block; b < block+n; b++ {
		f.used[b/8] |= 1 << (b % 8)
	}
}

// keep takes what is free from one block up to the whole alignment behind another; for now.
func (f *ext4) keep(from, to uint32) {
	for b := from; b < (to+alignment-1)/alignment*alignment; b++ {
		if f.isFree(b) {
			f.mark(b, 1)
			f.spare = append(f.spare, extent{physical: b, blocks: 1})
		}
	}
}

func (f *ext4) isFree(block uint32) bool { return f.used[block/8]&(1<<(block%8)) == 0 }

func (f *ext4) free(e extent) {
	for b := e.physical; b < e.physical+e.blocks; b++ {
		f.used[b/8] &^= 1 << (b % 8)
	}
}

// allocate takes the next free blocks, in as few runs as there are.
func (f *ext4) allocate(n uint32) ([]extent, error) {
	var all []extent
	for logical := uint32(0); logical < n; {
		if f.next >= f.groups*groupBlocks {
			return nil, fmt.Errorf("it is full at %d MiB\n      hint: make the disk larger", int64(f.groups)*groupBytes>>20)
		}
		b := f.next
		f.next++
		if !f.isFree(b) {
			continue
		}
		f.mark(b, 1)
		// An initialized extent has at most 32768 blocks.
		if k := len(all) - 1; k >= 0 && all[k].physical+all[k].blocks == b && all[k].blocks < 32768 {
			all[k].blocks++
		} else {
			all = append(all, extent{logical, b, 1})
		}
		logical++
	}
	return all, nil
}

// number gives every node its inode: all directories' entries in order of their names, a directory's own first, so
// that what lies together is read together.
func (f *ext4) number(root *node) {
	root.ino = rootInode
	f.nodes = []*node{root}
	lost := &node{mode: unix.S_IFDIR | 0o700, mtime: f.at, links: 2, ino: firstFreeInode}
	if root.child("lost+found") == nil {
		root.links++
	}
	root.put("lost+found", lost) // e2fsck wants it there, with room in it
	f.nodes = append(f.nodes, lost)
	var each func(*node)
	each = func(dir *node) {
		for _, e := range dir.entries {
			if e.ino == 0 {
				f.lastIno++
				e.ino = f.lastIno
				f.nodes = append(f.nodes, e.node)
			}
		}
		for _, e := range dir.entries {
			if e.is(unix.S_IFDIR) {
				each(e.node)
			}
		}
	}
	each(root)
}

// put writes one or more blocks.
func (f *ext4) put(block uint32, b []byte) error {
	if err := f.ctx.Err(); err != nil {
		return context.Cause(f.ctx)
	}
	_, err := f.w.WriteAt(b, int64(block)*blockSize)
	return err
}

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// crc32c is the kernel's: it starts from what it is given and is not inverted at the end.
func crc32c(crc uint32, b []byte) uint32 { return ^crc32.Update(^crc, castagnoli, b) }

func (f *ext4) inodeSeed(ino uint32) uint32 {
	// The second number is the inode's generation: ours are 0.
	return crc32c(crc32c(f.seed, le.AppendUint32(nil, ino)), make([]byte, 4))
}
