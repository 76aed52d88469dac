package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// Write makes the files lie below root as they say, and returns those that had to change.
//
// A file whose body is equal keeps its inode; its mode and owner are put right all the same. Missing directories are
// made, 0755. A symbolic link at the path itself is replaced; one on the way that leads out of root is an error.
// After an error the files before it are written and returned.
func Write(root string, files []File) ([]File, error) {
	var changed []File
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open the root: %w", err)
	}
	defer r.Close() //nolint:errcheck // only a directory handle
	owners, err := readOwners(r)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		did, err := write(r, owners, f)
		if did {
			changed = append(changed, f)
		}
		if err != nil {
			return changed, fmt.Errorf("write %s: %w", f.Path, err)
		}
	}
	return changed, nil
}

func write(r *os.Root, owners owners, f File) (bool, error) {
	rel := strings.TrimPrefix(path.Clean(f.Path), "/")
	uid, gid, err := owners.lookup(f.Owner)
	if err != nil {
		return false, err
	}
	now, err := read(r, rel)
	if err != nil {
		return false, err
	}
	if now.regular && bytes.Equal(now.body, f.Body) {
		did := false
		if now.uid != uid || now.gid != gid {
			// Before the mode: a change of owner may take bits away.
			if err := r.Lchown(rel, uid, gid); err != nil {
				return false, err
			}
			did = true
		}
		if now.mode != f.Mode.Perm() {
			if err := r.Chmod(rel, f.Mode.Perm()); err != nil {
				return did, err
			}
			did = true
		}
		return did, nil
	}
	dir := path.Dir(rel)
	if err := r.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	return replace(r, dir, rel, uid, gid, f)
}

// replace writes a temporary file beside the real one and renames it: a reader, or a power cut, sees the old
// file or the new one. The temporary name is always the same, so that a killed run leaves at most one behind, which the
// next one takes over.
func replace(r *os.Root, dir, rel string, uid, gid int, f File) (bool, error) {
	tmp := path.Join(dir, "."+path.Base(rel)+".pgbake-new")
	if err := r.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	w, err := r.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, err
	}
	err = fill(w, uid, gid, f)
	if err == nil {
		err = r.Rename(tmp, rel)
	}
	if err != nil {
		_ = r.Remove(tmp)
		return false, err
	}
	return true, syncDir(r, dir)
}

// fill gives the file its owner and mode before its body, which may be a secret.
func fill(w *os.File, uid, gid int, f File) (err error) {
	defer func() { err = errors.Join(err, w.Close()) }()
	if info, err := w.Stat(); err != nil {
		return err
	} else if u, g := ids(info); u != uid || g != gid {
		if err := w.Chown(uid, gid); err != nil {
			return err
		}
	}
	if err := w.Chmod(f.Mode.Perm()); err != nil {
		return err
	}
	if _, err := w.Write(f.Body); err != nil {
		return err
	}
	return w.Sync()
}

func syncDir(r *os.Root, dir string) error {
	d, err := r.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// state is a file as it lies now; the zero state is no file.
type state struct {
	exists, regular bool
	mode            fs.FileMode
	uid, gid        int
	body            []byte
}

// read never follows a link at the path itself: what it points to is not the file that a rename would replace.
func read(r *os.Root, rel string) (state, error) {
	info, err := r.Lstat(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err != nil {
		return state{}, err
	}
	s := state{exists: true, regular: info.Mode().IsRegular(), mode: info.Mode().Perm()}
	s.uid, s.gid = ids(info)
	if info.IsDir() {
		return state{}, errors.New("a directory is in its place")
	}
	if !s.regular {
		return s, nil
	}
	f, err := r.Open(rel)
	if err != nil {
		return state{}, err
	}
	s.body, err = io.ReadAll(f)
	return s, errors.Join(err, f.Close())
}

func ids(info fs.FileInfo) (uid, gid int) {
	st := info.Sys().(*syscall.Stat_t) // machines are Linux
	return int(st.Uid), int(st.Gid)
}
