package disk

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/images"
)

// Tar writes the tree as a root for containers, compressed with zstd: what Write puts on a disk less what starts one.
func Tar(ctx context.Context, out string, l Layout) error {
	tree, err := scan(ctx, l.Tree, l.Files, images.Absent, l.Time)
	if err != nil {
		return fmt.Errorf("write tar %s: %w", out, err)
	}
	return whole(out, func(f *os.File) error {
		z, err := zstd.NewWriter(f, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		t := tar.NewWriter(z)
		first := map[*node]string{}
		err = walk(tree.root, "/", func(name string, n *node) error {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			return tarEntry(t, first, "."+name, n)
		})
		if err != nil {
			return err
		}
		if err := t.Close(); err != nil {
			return err
		}
		return z.Close()
	})
}

func tarEntry(t *tar.Writer, first map[*node]string, name string, n *node) error {
	h := &tar.Header{
		Name: name, Mode: int64(n.mode & 0o7777), Uid: int(n.uid), Gid: int(n.gid), ModTime: time.Unix(n.mtime, 0),
		Format: tar.FormatPAX, PAXRecords: map[string]string{},
	}
	for _, x := range n.xattrs {
		h.PAXRecords["SCHILY.xattr."+x.name] = string(x.value)
	}
	switch n.mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(name, "/")+"/"
	case unix.S_IFLNK:
		h.Typeflag, h.Linkname = tar.TypeSymlink, n.target
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if n.is(unix.S_IFBLK) {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(n.rdev)), int64(unix.Minor(n.rdev))
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, n.size
		if before, ok := first[n]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, before, 0
			return t.WriteHeader(h)
		}
		if n.links > 1 {
			first[n] = name
		}
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	if n.source == "" {
		_, err := t.Write(n.body)
		return err
	}
	r, err := os.Open(n.source)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only read
	_, err = io.CopyN(t, r, n.size)
	return err
}
