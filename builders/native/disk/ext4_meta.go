package disk

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"
)

// File types in directory entries.
var direntType = map[uint32]byte{
	unix.S_IFREG: 1, unix.S_IFDIR: 2, unix.S_IFCHR: 3, unix.S_IFBLK: 4, unix.S_IFIFO: 5, unix.S_IFSOCK: 6, unix.S_IFLNK: 7,
}

// directory writes dir and all below it. They lie together: looking a path up is what a boot does most.
func (f *ext4) directory(dir *node, parent uint32) error {
	least := 1
	if dir.ino == firstFreeInode {
		least = 4 // lost+found has room before it is needed
	}
	blocks := f.dirents(dir, parent, least)
	var err error
	if dir.extents, err = f.allocate(uint32(len(blocks))); err != nil { //nolint:gosec // it is full first
		return err
	}
	i := 0
	for _, e := range dir.extents {
		for b := range e.blocks {
			if err := f.put(e.physical+b, blocks[i]); err != nil {
				return err
			}
			i++
		}
	}
	dir.size = int64(len(blocks)) * blockSize
	f.dirs[(dir.ino-1)/groupInodes]++
	if err := f.mapped(dir); err != nil {
		return fmt.Errorf("%s: %w", dir.source, err)
	}
	for _, e := range dir.entries {
		if e.is(unix.S_IFDIR) {
			if err := f.directory(e.node, dir.ino); err != nil {
				return err
			}
		}
	}
	return nil
}

// dirents packs a directory's entries into blocks, each with the checksum at its end.
func (f *ext4) dirents(dir *node, parent uint32, least int) [][]byte {
	const room = blockSize - 12
	var blocks [][]byte
	var block []byte
	last := 0
	finish := func() {
		le.PutUint16(block[last+4:], uint16(room-last)) //nolint:gosec // the last entry reaches to the end
		block = append(block, make([]byte, blockSize-len(block))...)
		le.PutUint16(block[room+4:], 12)
		block[room+7] = 0xde
		le.PutUint32(block[room+8:], crc32c(f.inodeSeed(dir.ino), block[:room]))
		blocks = append(blocks, block)
		block, last = nil, 0
	}
	add := func(name string, ino, mode uint32) {
		size := 8 + (len(name)+3)&^3
		if len(block)+size > room {
			finish()
		}
		last = len(block)
		e := make([]byte, size)
		le.PutUint32(e, ino)
		le.PutUint16(e[4:], uint16(size)) //nolint:gosec // at most 264
		e[6], e[7] = byte(len(name)), direntType[mode&unix.S_IFMT]
		copy(e[8:], name)
		block = append(block, e...)
	}
	add(".", dir.ino, unix.S_IFDIR)
	add("..", parent, unix.S_IFDIR)
	for _, e := range dir.entries {
		add(e.name, e.ino, e.mode)
	}
	finish()
	for len(blocks) < least {
		block = make([]byte, 8) // an entry of no file
		finish()
	}
	return blocks
}

// resize writes the inode that owns the blocks kept free for more group descriptors: the primary ones are its
// indirect blocks, each lists its own copies in the other groups. Without it only an offline resize were possible,
// or meta_bg, which GRUB does not follow.
func (f *ext4) resize() error {
	at, err := f.allocate(1)
	if err != nil {
		return err
	}
	double := make([]byte, blockSize)
	count := uint32(1)
	for i := range uint32(reservedGDT) {
		primary := 1 + f.gdt + i
		le.PutUint32(double[(f.gdt+i)%1024*4:], primary)
		copies, k := make([]byte, blockSize), 0
		for g := uint32(1); g < f.groups; g++ {
			if hasSuper(g) {
				le.PutUint32(copies[k*4:], primary+g*groupBlocks)
				k++
				count++
			}
		}
		count++
		if err := f.put(primary, copies); err != nil {
			return err
		}
	}
	if err := f.put(at[0].physical, double); err != nil {
		return err
	}
	iblock := make([]byte, 60)
	le.PutUint32(iblock[13*4:], at[0].physical)
	n := &node{ino: resizeInode, mode: unix.S_IFREG | 0o600, mtime: f.at, links: 1, size: (1024*1024 + 1024 + 12) * blockSize}
	return f.inode(n, 0, iblock, count)
}

// journal makes an empty one: https://docs.kernel.org/filesystems/ext4/journal.html.
func (f *ext4) journal() error {
	at, err := f.allocate(journalBlocks)
	if err != nil {
		return err
	}
	be := binary.BigEndian
	b := make([]byte, blockSize)
	be.PutUint32(b[0:], 0xc03b3998)
	be.PutUint32(b[4:], 4) // a superblock of version 2
	be.PutUint32(b[12:], blockSize)
	be.PutUint32(b[16:], journalBlocks)
	be.PutUint32(b[20:], 1) // the first block of the log
	be.PutUint32(b[24:], 1) // the first transaction
	copy(b[48:], f.id[:])
	be.PutUint32(b[64:], 1) // users
	if err := f.put(at[0].physical, b); err != nil {
		return err
	}
	n := &node{ino: journalInode, mode: unix.S_IFREG | 0o600, mtime: f.at, links: 1, size: journalBlocks * blockSize, extents: at}
	return f.mapped(n)
}

// metadata writes bitmaps, inode tables, group descriptors and superblocks: everything that counts the rest.
func (f *ext4) metadata() error {
	table := make([]byte, f.gdt*blockSize)
	var freeBlocks, freeInodes uint32
	for g := range f.groups {
		d, blocks, inodes, err := f.group(g)
		if err != nil {
			return err
		}
		copy(table[g*descSize:], d)
		freeBlocks += blocks
		freeInodes += inodes
	}
	for g := range f.groups {
		if !hasSuper(g) {
			continue
		}
		super, at := f.super(g, freeBlocks, freeInodes), g*groupBlocks
		b := make([]byte, blockSize)
		if g == 0 {
			copy(b[1024:], super)
		} else {
			copy(b, super)
		}
		if err := f.put(at, b); err != nil {
			return err
		}
		if err := f.put(at+1, table); err != nil {
			return err
		}
	}
	return nil
}

// group writes a group's bitmaps and inodes and returns its descriptor, and what is free in it.
func (f *ext4) group(g uint32) (desc []byte, freeBlocks, freeInodes uint32, err error) {
	blocks := f.used[g*blockSize:][:blockSize]
	inodes := make([]byte, blockSize)
	usedInodes := min(max(f.lastIno, g*groupInodes)-g*groupInodes, groupInodes)
	for i := range usedInodes {
		inodes[i/8] |= 1 << (i % 8)
	}
	for i := groupInodes / 8; i < blockSize; i++ {
		inodes[i] = 0xff // no such inodes
	}
	freeBlocks = groupBlocks
	for _, b := range blocks {
		freeBlocks -= uint32(bits.OnesCount8(b)) //nolint:gosec // at most 8
	}
	freeInodes = groupInodes - usedInodes
	if err = f.put(f.blockBitmap(g), blocks); err != nil {
		return
	}
	if err = f.put(f.inodeBitmap(g), inodes); err != nil {
		return
	}
	if usedInodes > 0 {
		from := int(g) * tableBlocks * blockSize
		if err = f.put(f.inodeTable(g), f.inodes[from:min(from+tableBlocks*blockSize, len(f.inodes))]); err != nil {
			return
		}
	}
	d := make([]byte, descSize)
	le.PutUint32(d[0:], f.blockBitmap(g))
	le.PutUint32(d[4:], f.inodeBitmap(g))
	le.PutUint32(d[8:], f.inodeTable(g))
	le.PutUint16(d[12:], uint16(freeBlocks&0xffff)) //nolint:gosec // the low half
	le.PutUint16(d[44:], uint16(freeBlocks>>16))    //nolint:gosec // the high half
	le.PutUint16(d[14:], uint16(freeInodes))        //nolint:gosec // at most 8192
	le.PutUint16(d[16:], uint16(f.dirs[g]))         //nolint:gosec // the same
	le.PutUint16(d[18:], 4)                         // INODE_ZEROED: the rest of the table is a hole, the kernel need not clear it
	le.PutUint16(d[28:], uint16(freeInodes))        //nolint:gosec // as above: the unused ones are the last
	sum := crc32c(f.seed, blocks)
	le.PutUint16(d[24:], uint16(sum))     //nolint:gosec // the low half
	le.PutUint16(d[56:], uint16(sum>>16)) //nolint:gosec // 16 bits are left
	sum = crc32c(f.seed, inodes[:groupInodes/8])
	le.PutUint16(d[26:], uint16(sum))                        //nolint:gosec // the low half
	le.PutUint16(d[58:], uint16(sum>>16))                    //nolint:gosec // 16 bits are left
	sum = crc32c(crc32c(f.seed, le.AppendUint32(nil, g)), d) // its own field is zero
	le.PutUint16(d[30:], uint16(sum))                        //nolint:gosec // only this half is kept
	return d, freeBlocks, freeInodes, nil
}

// super is the superblock as it lies in a group.
func (f *ext4) super(group, freeBlocks, freeInodes uint32) []byte {
	b := make([]byte, 1024)
	blocks := f.groups * groupBlocks
	at := uint32(f.at) //nolint:gosec // until 2106
	for _, v := range []struct{ at, value uint32 }{
		{0, f.groups * groupInodes}, {4, blocks}, {8, blocks / 100}, {12, freeBlocks}, {16, freeInodes},
		{24, 2}, {28, 2}, {32, groupBlocks}, {36, groupBlocks}, {40, groupInodes}, // blocks of 1024 << 2
		{48, at}, {64, at}, {264, at}, // written, checked, made
		{76, 1},                                      // revision
		{84, firstFreeInode},                         // the first that is not reserved
		{92, 0x4 | 0x8 | 0x10 | 0x20},                // has_journal ext_attr resize_inode dir_index
		{96, 0x2 | 0x40 | 0x80 | 0x200},              // filetype extents 64bit flex_bg
		{100, 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400}, // sparse_super large_file huge_file dir_nlink extra_isize metadata_csum
		{224, journalInode}, {256, 0x0c}, {352, 1},   // mount options user_xattr and acl; hashes of signed characters
	} {
		le.PutUint32(b[v.at:], v.value)
	}
	le.PutUint16(b[54:], 0xffff) // mounts before a check: never
	le.PutUint16(b[56:], 0xef53)
	le.PutUint16(b[58:], 1) // clean
	le.PutUint16(b[60:], 2) // after an error read-only: a database must not go on
	le.PutUint16(b[88:], inodeSize)
	le.PutUint16(b[90:], uint16(group)) //nolint:gosec // only of the groups with copies
	copy(b[104:], f.id[:])
	copy(b[120:136], f.label)
	le.PutUint16(b[206:], reservedGDT)
	copy(b[236:], f.hash[:])
	b[252] = 1 // half MD4
	b[253] = 1 // the journal's inode is copied below
	le.PutUint16(b[254:], descSize)
	journal := f.inodes[(journalInode-1)*inodeSize:]
	copy(b[268:], journal[40:100])
	copy(b[328:], journal[108:112])
	copy(b[332:], journal[4:8])
	le.PutUint16(b[348:], 32)
	le.PutUint16(b[350:], 32)
	b[372] = 4 // flexGroups as a power of two
	b[373] = 1 // crc32c
	le.PutUint32(b[1020:], crc32c(^uint32(0), b[:1020]))
	return b
}
