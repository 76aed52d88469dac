package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/pgbake/pgbake/rootfs"
)

// What belongs to PostgreSQL's user is under its hands: it may lay a link or a pipe wherever pgha, as root, reads or writes
// there. So PostgreSQL's user writes, and root reads nothing but files.

// theirSize is far more than any file there that pgha reads.
const theirSize = 64 << 20

// readTheirs reads a file below a directory of PostgreSQL's user: no link is followed and no pipe waited for. The errors are
// those of os.Open, and those that say that it is no such file.
func readTheirs(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("read %s: it is a link, which is not followed", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: it is no file", path)
	}
	body, err := io.ReadAll(io.LimitReader(f, theirSize+1))
	if err == nil && len(body) > theirSize {
		err = fmt.Errorf("read %s: it is larger than %d MiB", path, theirSize>>20)
	}
	return body, err
}

// layDown writes a file, for good, as PostgreSQL's user; in a directory where nobody but root may write, as a disk's own
// first directory may be, as root.
func (w *work) layDown(ctx context.Context, path, body string) error {
	if onlyRoots(filepath.Dir(path)) {
		return durable(path, []byte(body))
	}
	tmp := path + ".pgha"
	if err := w.write(ctx, tmp, []byte(body)); err != nil {
		return err
	}
	return errors.Join(os.Rename(tmp, path), syncDir(filepath.Dir(path)))
}

// makeDir makes a directory for PostgreSQL's user alone. An empty one of root's, as a new disk has, becomes its, too; a link
// is followed where nobody but root can have laid it.
func (w *work) makeDir(dir string) error {
	uid, gid, err := rootfs.LookupOwner(w.Root, "postgres:postgres")
	if err != nil {
		return err
	}
	if dir, err = w.followed(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // as others have it
		return err
	}
	err = os.Mkdir(dir, 0o700)
	made := err == nil
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	d, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only looked at
	if !made {
		info, err := d.Stat()
		if err != nil {
			return err
		}
		entries, err := d.ReadDir(2)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		empty := len(entries) == 0 || len(entries) == 1 && entries[0].Name() == "lost+found"
		if !empty || info.Sys().(*syscall.Stat_t).Uid != 0 {
			return nil
		}
	}
	return errors.Join(d.Chmod(0o700), d.Chown(uid, gid))
}

// followed is the path without links. One that others than root may have laid is an error.
func (w *work) followed(path string) (string, error) {
	for range maxLinks {
		link, to := "", "" // the first from above: below it all is where it leads
		for p := path; p != filepath.Dir(p); p = filepath.Dir(p) {
			if t, err := os.Readlink(p); err == nil {
				link, to = p, t
			}
		}
		switch {
		case link == "":
			return path, nil
		case !onlyRoots(filepath.Dir(link)):
			return "", fmt.Errorf("%s is a link, in a directory where others than root may lay one\n      hint: name the directory itself", w.inside(link))
		case !filepath.IsAbs(to):
			to = filepath.Join(filepath.Dir(link), to)
		}
		path = filepath.Join(to, strings.TrimPrefix(path, link))
	}
	return "", fmt.Errorf("%s: its links go round in a circle", w.inside(path))
}

// maxLinks is how many links are followed, one after the other: more are a circle.
const maxLinks = 8

// onlyRoots tells that nobody but root can make something in the directory.
func onlyRoots(dir string) bool {
	var s syscall.Stat_t
	return syscall.Stat(dir, &s) == nil && s.Uid == 0 && s.Mode&0o022 == 0
}
