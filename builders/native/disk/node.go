package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// node is one inode of the tree as an image will hold it: everything in it is the same on every host.
type node struct {
	mode     uint32 // type and permissions, as stat has them
	uid, gid uint32
	size     int64
	mtime    int64 // seconds
	rdev     uint64
	target   string // of a symbolic link
	xattrs   []xattr
	entries  []entry // of a directory, sorted by name
	opaque   bool    // a directory that hides what layers below have in its place
	links    int     // names, or for a directory what "." and ".." make of it; none for what a layer above hides
	source   string  // the file with the body; body when empty
	body     []byte

	// Where the file system has put it.
	ino     uint32
	extents []extent
}

// entry is a name in a directory.
type entry struct {
	name string
	*node
}

func (n *node) is(kind uint32) bool { return n.mode&unix.S_IFMT == kind }

// whiteout tells whether the node only says that what layers below have in its place is gone: overlayfs's sign of it.
func (n *node) whiteout() bool { return n.is(unix.S_IFCHR) && n.rdev == 0 }

// bodyBlocks is how many the body takes.
func (n *node) bodyBlocks() uint32 {
	return uint32((n.size + blockSize - 1) / blockSize) //nolint:gosec // the file system is full first
}

func (n *node) child(name string) *node {
	if i, ok := n.find(name); ok {
		return n.entries[i].node
	}
	return nil
}

func (n *node) put(name string, c *node) {
	i, ok := n.find(name)
	if ok {
		n.entries[i].node = c
		return
	}
	n.entries = slices.Insert(n.entries, i, entry{name, c})
}

func (n *node) find(name string) (int, bool) {
	return slices.BinarySearchFunc(n.entries, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
}

// merge is what is seen of two layers, one over the other, by overlayfs's rules.
func merge(below, above *node) *node {
	if !above.is(unix.S_IFDIR) {
		return above
	}
	var rest []entry // of the one below
	if below != nil && below.is(unix.S_IFDIR) && !above.opaque {
		rest = below.entries
	}
	all := make([]entry, 0, len(rest)+len(above.entries))
	for _, e := range above.entries {
		i, there := slices.BinarySearchFunc(rest, e.name, func(e entry, name string) int { return strings.Compare(e.name, name) })
		all = append(all, rest[:i]...)
		var hidden *node
		if there {
			hidden = rest[i].node
			i++
		}
		rest = rest[i:]
		if !e.whiteout() {
			all = append(all, entry{e.name, merge(hidden, e.node)})
		}
	}
	all = append(all, rest...)
	above.entries = all
	return above
}

// count sets links to what the image's own names make of it: the tree may have others elsewhere.
func count(dir *node) {
	dir.links = 2
	for _, e := range dir.entries {
		if e.is(unix.S_IFDIR) {
			dir.links++
			count(e.node)
		} else {
			e.links++
		}
	}
}

// walk calls f once for every name, a directory before what is in it.
func walk(n *node, name string, f func(name string, n *node) error) error {
	if err := f(name, n); err != nil {
		return err
	}
	for _, e := range n.entries {
		if err := walk(e.node, path.Join(name, e.name), f); err != nil {
			return err
		}
	}
	return nil
}

type xattr struct {
	name  string
	value []byte
}

// carried are the extended attributes that an image keeps. Others belong to the host (security.selinux) or to
// the layers (overlay).
var carried = []string{"security.capability", "system.posix_acl_access", "system.posix_acl_default"}

// opaqueNames are what overlayfs marks a directory with that hides the one below; the second in a user namespace.
var opaqueNames = []string{"trusted.overlay.opaque", "user.overlay.opaque"}

// readXattrs reads those of a file that count.
func (n *node) readXattrs(at string) error {
	var names [4096]byte
	size, err := unix.Llistxattr(at, names[:])
	if errors.Is(err, unix.ENOTSUP) || size == 0 && err == nil {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "listxattr", Path: at, Err: err}
	}
	list := strings.Split(string(names[:size]), "\x00")
	n.opaque = slices.ContainsFunc(opaqueNames, func(name string) bool { return slices.Contains(list, name) })
	for _, name := range carried { // in this order
		if !slices.Contains(list, name) {
			continue
		}
		var value [1024]byte
		size, err := unix.Lgetxattr(at, name, value[:])
		if err != nil {
			return &fs.PathError{Op: "getxattr " + name, Path: at, Err: err}
		}
		v := bytes.Clone(value[:size])
		if name == "security.capability" {
			v = capability(v)
		}
		n.xattrs = append(n.xattrs, xattr{name, v})
	}
	return nil
}

// capability is the value without the user namespace that a file was given its capabilities in: in the image root is
// root. See VFS_CAP_REVISION_3 in linux/capability.h.
func capability(v []byte) []byte {
	if len(v) != 24 {
		return v
	}
	v = slices.Clone(v[:20])
	binary.LittleEndian.PutUint32(v, binary.LittleEndian.Uint32(v)&0x00ffffff|0x02000000)
	return v
}
