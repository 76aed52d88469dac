package disk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Inode flags.
const flagExtents = 0x80000

// inode writes a node into its place in the table. blocks are those that it uses, extent blocks included.
func (f *ext4) inode(n *node, flags uint32, iblock []byte, blocks uint32) error {
	b := f.inodes[(n.ino-1)*inodeSize:][:inodeSize]
	le.PutUint16(b[0:], uint16(n.mode))   //nolint:gosec // 16 bits of it are used
	le.PutUint16(b[2:], uint16(n.uid))    //nolint:gosec // the high half is below
	le.PutUint32(b[4:], uint32(n.size))   //nolint:gosec // the same
	le.PutUint32(b[8:], uint32(f.at))     //nolint:gosec // until 2106
	le.PutUint32(b[12:], uint32(f.at))    //nolint:gosec // the same
	le.PutUint32(b[16:], uint32(n.mtime)) //nolint:gosec // the same
	le.PutUint16(b[24:], uint16(n.gid))   //nolint:gosec // the high half is below
	links := n.links
	if n.is(unix.S_IFDIR) && links > 65000 {
		links = 1 // dir_nlink
	}
	le.PutUint16(b[26:], uint16(links))          //nolint:gosec // checked by nobody: 65000 names of one file
	le.PutUint32(b[28:], blocks*(blockSize/512)) // huge_file is not needed below 2 TiB
	le.PutUint32(b[32:], flags)
	copy(b[40:100], iblock)
	le.PutUint32(b[108:], uint32(n.size>>32)) //nolint:gosec // of a positive number
	le.PutUint16(b[120:], uint16(n.uid>>16))  //nolint:gosec // 16 bits are left
	le.PutUint16(b[122:], uint16(n.gid>>16))  //nolint:gosec // the same
	le.PutUint16(b[128:], 32)                 // the fields up to here beyond the old 128 bytes
	le.PutUint32(b[144:], uint32(f.at))       //nolint:gosec // when it was made
	if err := putXattrs(b[160:], n.xattrs); err != nil {
		return err
	}
	sum := crc32c(f.inodeSeed(n.ino), b)
	le.PutUint16(b[124:], uint16(sum))     //nolint:gosec // the low half
	le.PutUint16(b[130:], uint16(sum>>16)) //nolint:gosec // 16 bits are left
	return nil
}

// xattrIndex are the prefixes that ext4 stores as numbers.
var xattrIndex = map[string]struct {
	index byte
	name  string
}{
	"security.capability":      {6, "capability"},
	"system.posix_acl_access":  {2, ""},
	"system.posix_acl_default": {3, ""},
}

// putXattrs writes extended attributes behind the inode's fields: entries from the front, values from the end.
func putXattrs(b []byte, all []xattr) error {
	if len(all) == 0 {
		return nil
	}
	le.PutUint32(b, 0xea020000)
	b = b[4:]
	at, end := 0, len(b)
	for _, x := range all {
		kind, value := xattrIndex[x.name], x.value
		if kind.index != 6 {
			value = aclOnDisk(value)
		}
		end -= (len(value) + 3) &^ 3
		size := 16 + (len(kind.name)+3)&^3
		if at+size+4 > end { // four zero bytes end the entries
			return fmt.Errorf("extended attributes do not fit: %s has %d bytes", x.name, len(value))
		}
		e := b[at:]
		e[0], e[1] = byte(len(kind.name)), kind.index
		le.PutUint16(e[2:], uint16(end))        //nolint:gosec // at most 92
		le.PutUint32(e[8:], uint32(len(value))) //nolint:gosec // the same
		copy(e[16:], kind.name)
		copy(b[end:], value)
		// The kernel's ext4_xattr_hash_entry: the name, then the value's words.
		var h uint32
		for _, c := range []byte(kind.name) {
			h = h<<5 ^ h>>27 ^ uint32(c)
		}
		for v := b[end : end+(len(value)+3)&^3]; len(v) > 0; v = v[4:] {
			h = h<<16 ^ h>>16 ^ le.Uint32(v)
		}
		le.PutUint32(e[12:], h)
		at += size
	}
	return nil
}

// aclOnDisk is an access control list as ext4 stores it: version 1, and ids only where an entry has one.
func aclOnDisk(v []byte) []byte {
	const user, group = 2, 8
	out := le.AppendUint32(nil, 1)
	for v = v[4:]; len(v) >= 8; v = v[8:] {
		out = append(out, v[:4]...)
		if tag := le.Uint16(v); tag == user || tag == group {
			out = append(out, v[4:8]...)
		}
	}
	return out
}

// mapped writes the inode of a node whose body lies in extents; up to four are in the inode, more in a block of their own.
func (f *ext4) mapped(n *node) error {
	var blocks uint32
	for _, e := range n.extents {
		blocks += e.blocks
	}
	root := extentNode(n.extents, 4, 0)
	if len(n.extents) > 4 {
		const most = (blockSize - 12 - 4) / 12
		if len(n.extents) > most {
			return fmt.Errorf("a file lies in %d pieces", len(n.extents))
		}
		at, err := f.allocate(1)
		if err != nil {
			return err
		}
		leaf := append(extentNode(n.extents, most, 0), make([]byte, 4)...)
		le.PutUint32(leaf[blockSize-4:], crc32c(f.inodeSeed(n.ino), leaf[:blockSize-4]))
		if err := f.put(at[0].physical, leaf); err != nil {
			return err
		}
		root = extentNode(nil, 4, 1)
		le.PutUint16(root[2:], 1)
		le.PutUint32(root[16:], at[0].physical)
		blocks++
	}
	return f.inode(n, flagExtents, root, blocks)
}

// extentNode is a node of an extent tree with room for most entries.
func extentNode(extents []extent, most int, depth uint16) []byte {
	b := make([]byte, 12+12*most)
	le.PutUint16(b[0:], 0xf30a)
	le.PutUint16(b[2:], uint16(min(len(extents), most))) //nolint:gosec // at most 340
	le.PutUint16(b[4:], uint16(most))                    //nolint:gosec // the same
	le.PutUint16(b[6:], depth)
	for i, e := range extents[:min(len(extents), most)] {
		le.PutUint32(b[12+12*i:], e.logical)
		le.PutUint16(b[16+12*i:], uint16(e.blocks)) //nolint:gosec // at most 32768
		le.PutUint32(b[20+12*i:], e.physical)
	}
	return b
}

// files gives inodes, and blocks where they have none yet, to everything that is no directory.
func (f *ext4) files() error {
	for _, n := range f.nodes {
		if n.is(unix.S_IFDIR) {
			continue
		}
		if err := f.place(n); err != nil {
			return fmt.Errorf("%s: %w", n.source, err)
		}
	}
	return nil
}

// place writes a file's inode, and gives it blocks when it is in no layer.
func (f *ext4) place(n *node) (err error) {
	switch {
	case n.is(unix.S_IFIFO):
		return f.inode(n, 0, nil, 0)
	case n.is(unix.S_IFCHR), n.is(unix.S_IFBLK):
		iblock := make([]byte, 60)
		major, minor := unix.Major(n.rdev), unix.Minor(n.rdev)
		if major < 256 && minor < 256 {
			le.PutUint32(iblock, major<<8|minor)
		} else {
			le.PutUint32(iblock[4:], minor&0xff|major<<8|minor&^0xff<<12)
		}
		return f.inode(n, 0, iblock, 0)
	case n.is(unix.S_IFLNK) && len(n.target) < 60:
		return f.inode(n, 0, []byte(n.target), 0)
	case n.is(unix.S_IFLNK):
		n.source, n.body = "", []byte(n.target)
	}
	if n.extents == nil {
		if n.extents, err = f.allocate(n.bodyBlocks()); err != nil {
			return err
		}
	}
	return f.mapped(n)
}
