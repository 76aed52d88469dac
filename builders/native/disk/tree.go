package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/rootfs"
)

// Layer is a directory whose files lie over those of the layers below it. It is what overlayfs makes of an upper
// directory: whiteouts and opaque directories hide what is below.
type Layer struct {
	Dir string
	// Cache is a directory where something may be kept that makes the next image of this layer faster: of a layer that
	// never changes, and removed with it. It need not exist; nothing is kept when it is empty.
	Cache string
}

// tree is all that an image will hold.
type tree struct {
	root *node
	// bodies are the files of each layer, those that others hide too: a layer's place on a disk depends on nothing above it.
	bodies [][]*node
}

// scan reads the layers, the lowest first, without what absent names, and lays files over them. No time in it is later
// than at, and directories are of that time: when theirs last changed is the build's business.
func scan(ctx context.Context, layers []Layer, files []rootfs.File, absent func(string, bool) bool, at time.Time) (*tree, error) {
	t := &tree{bodies: make([][]*node, len(layers))}
	roots, errs := make([]*node, len(layers)), make([]error, len(layers))
	var wg sync.WaitGroup
	for i, l := range layers {
		wg.Go(func() { roots[i], t.bodies[i], errs[i] = scanLayer(ctx, l, absent, at) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, root := range roots {
		t.root = merge(t.root, root)
	}
	for _, f := range files {
		if err := t.add(f, at.Unix()); err != nil {
			return nil, fmt.Errorf("add %s: %w", f.Path, err)
		}
	}
	count(t.root)
	return t, nil
}

// scanLayer reads one layer; bodies are its files that have one, in the order of their names.
func scanLayer(ctx context.Context, l Layer, absent func(string, bool) bool, at time.Time) (root *node, bodies []*node, err error) {
	s := scanner{absent: absent, at: at.Unix(), links: map[[2]uint64]*node{}}
	if root, err = s.read(ctx, l.Dir, "/"); err != nil {
		return nil, nil, fmt.Errorf("read tree %s: %w", l.Dir, err)
	}
	if !root.is(unix.S_IFDIR) {
		return nil, nil, fmt.Errorf("read tree %s: it is no directory", l.Dir)
	}
	return root, s.bodies, nil
}

// scanner reads a directory and all below it.
type scanner struct {
	absent func(name string, dir bool) bool
	at     int64
	links  map[[2]uint64]*node // by device and inode
	bodies []*node
}

// read makes the node of what lies at a path of the host, which is name in the image.
func (s *scanner) read(ctx context.Context, at, name string) (*node, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	var st syscall.Stat_t
	if err := syscall.Lstat(at, &st); err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: at, Err: err}
	}
	n := &node{mode: st.Mode, uid: st.Uid, gid: st.Gid, mtime: min(max(st.Mtim.Sec, 0), s.at), source: at}
	if st.Nlink > 1 && !n.is(unix.S_IFDIR) {
		key := [2]uint64{st.Dev, st.Ino}
		if first := s.links[key]; first != nil {
			return first, nil
		}
		s.links[key] = n
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		n.size = st.Size
		if n.size > 0 {
			s.bodies = append(s.bodies, n)
		}
		err = n.readXattrs(at)
	case unix.S_IFLNK:
		n.target, err = os.Readlink(at)
		n.size = int64(len(n.target))
	case unix.S_IFCHR, unix.S_IFBLK:
		n.rdev = st.Rdev
	case unix.S_IFDIR:
		n.mtime = s.at
		if err = n.readXattrs(at); err == nil {
			n.entries, err = s.entries(ctx, at, name)
		}
	}
	return n, err
}

func (s *scanner) entries(ctx context.Context, at, name string) ([]entry, error) {
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
		n, err := s.read(ctx, at+"/"+d.Name(), inside)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{d.Name(), n})
	}
	return entries, nil
}

// add lays one file over the tree; directories on its way are made.
func (t *tree) add(f rootfs.File, at int64) error {
	if f.Owner != "" {
		return fmt.Errorf("it is %s's: only root's files are laid over a tree", f.Owner)
	}
	dir := t.root
	parent, base := path.Split(path.Clean(f.Path))
	for part := range strings.SplitSeq(strings.Trim(parent, "/"), "/") {
		if part == "" {
			continue
		}
		next := dir.child(part)
		if next == nil {
			next = &node{mode: unix.S_IFDIR | 0o755, mtime: at}
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
		mode: unix.S_IFREG | uint32(f.Mode.Perm()), mtime: at, size: int64(len(f.Body)), body: f.Body,
	})
	return nil
}
