package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/rootfs"
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
	links    int     // names, or for a directory what "." and ".." make of it
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

type xattr struct {
	name  string
	value []byte
}

// carried are the extended attributes that an image keeps. Others belong to the host (security.selinux) or to
// the layers (overlay).
var carried = []string{"security.capability", "system.posix_acl_access", "system.posix_acl_default"}

func (n *node) is(kind uint32) bool { return n.mode&unix.S_IFMT == kind }

// open returns the body of a regular file.
func (n *node) open() (io.ReadCloser, error) {
	if n.source == "" {
		return io.NopCloser(bytes.NewReader(n.body)), nil
	}
	return os.Open(n.source)
}

// scanner reads a tree.
type scanner struct {
	absent func(name string, dir bool) bool
	at     int64
	links  map[[2]uint64]*node // by device and inode
}

// scan reads the tree below dir, without what absent names, and lays files over it. No time in it is later than at,
// and directories are of that time: when theirs last changed is the build's business.
func scan(ctx context.Context, dir string, files []rootfs.File, absent func(string, bool) bool, at time.Time) (*node, error) {
	s := scanner{absent: absent, at: at.Unix(), links: map[[2]uint64]*node{}}
	root, err := s.read(ctx, dir, "/")
	if err != nil {
		return nil, fmt.Errorf("read tree %s: %w", dir, err)
	}
	for _, f := range files {
		uid, gid, err := rootfs.LookupOwner(dir, f.Owner)
		if err != nil {
			return nil, fmt.Errorf("add %s: %w", f.Path, err)
		}
		if err := s.add(root, f, uint32(uid), uint32(gid)); err != nil { //nolint:gosec // ids of a passwd
			return nil, fmt.Errorf("add %s: %w", f.Path, err)
		}
	}
	count(root)
	return root, nil
}

// read makes the node of what lies at a path of the host, which is name in the image.
func (s scanner) read(ctx context.Context, at, name string) (*node, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	info, err := os.Lstat(at)
	if err != nil {
		return nil, err
	}
	st := info.Sys().(*syscall.Stat_t) // builds run on Linux
	key := [2]uint64{st.Dev, st.Ino}
	if n := s.links[key]; n != nil && !info.IsDir() {
		return n, nil
	}
	n := &node{
		mode: st.Mode, uid: st.Uid, gid: st.Gid, mtime: min(max(st.Mtim.Sec, 0), s.at), source: at,
	}
	if n.xattrs, err = xattrs(at); err != nil {
		return nil, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		n.size = st.Size
	case unix.S_IFLNK:
		if n.target, err = os.Readlink(at); err != nil {
			return nil, err
		}
		n.size = int64(len(n.target))
	case unix.S_IFCHR, unix.S_IFBLK:
		n.rdev = st.Rdev
	case unix.S_IFDIR:
		n.mtime = s.at
		if n.entries, err = s.entries(ctx, at, name); err != nil {
			return nil, err
		}
	}
	if st.Nlink > 1 && !info.IsDir() {
		s.links[key] = n
	}
	return n, nil
}

func (s scanner) entries(ctx context.Context, at, name string) ([]entry, error) {
	list, err := os.ReadDir(at) // sorted
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(list))
	for _, d := range list {
		inside := path.Join(name, d.Name())
		// A socket is nothing without the program that made it.
		if d.Type()&fs.ModeSocket != 0 || s.absent(inside, d.IsDir()) {
			continue
		}
		n, err := s.read(ctx, path.Join(at, d.Name()), inside)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{d.Name(), n})
	}
	return entries, nil
}

// add lays one file over the tree; directories on its way are made.
func (s scanner) add(root *node, f rootfs.File, uid, gid uint32) error {
	dir := root
	parent, base := path.Split(path.Clean(f.Path))
	for part := range strings.SplitSeq(strings.Trim(parent, "/"), "/") {
		if part == "" {
			continue
		}
		next := dir.child(part)
		if next == nil {
			next = &node{mode: unix.S_IFDIR | 0o755, mtime: s.at}
			dir.put(part, next)
		}
		if !next.is(unix.S_IFDIR) {
			return fmt.Errorf("%s is no directory", part)
		}
		dir = next
	}
	if now := dir.child(base); now != nil && now.is(unix.S_IFDIR) {
		return errors.New("a directory is in its place")
	}
	dir.put(base, &node{
		mode: unix.S_IFREG | uint32(f.Mode.Perm()), uid: uid, gid: gid, mtime: s.at, size: int64(len(f.Body)), body: f.Body,
	})
	return nil
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

func xattrs(at string) ([]xattr, error) {
	var names [4096]byte
	size, err := unix.Llistxattr(at, names[:])
	if errors.Is(err, unix.ENOTSUP) || size == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "listxattr", Path: at, Err: err}
	}
	var all []xattr
	for _, name := range carried { // in this order
		if !bytes.Contains(append([]byte{0}, names[:size]...), []byte("\x00"+name+"\x00")) {
			continue
		}
		var value [1024]byte
		n, err := unix.Lgetxattr(at, name, value[:])
		if err != nil {
			return nil, &fs.PathError{Op: "getxattr " + name, Path: at, Err: err}
		}
		v := slices.Clone(value[:n])
		if name == "security.capability" {
			v = capability(v)
		}
		all = append(all, xattr{name, v})
	}
	return all, nil
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
