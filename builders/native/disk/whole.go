package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// whole lets f write a file beside name and gives it that name when it is all there. Its writer holds the file's lock;
// files that nobody holds are of those who were killed, and go.
func whole(name string, f func(*os.File) error) (err error) {
	dir, prefix := filepath.Dir(name), "."+filepath.Base(name)+".new-"
	if err := removeStale(dir, prefix); err != nil {
		return fmt.Errorf("write %s: remove what a killed build left: %w", name, err)
	}
	w, err := createHeld(dir, prefix)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	err = f(w)
	if err == nil {
		err = w.Chmod(0o644)
	}
	if err == nil {
		err = os.Rename(w.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(w.Name()))
	}
	err = errors.Join(err, w.Close())
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("write %s: %w\n      hint: make room in %s, or write to another place", name, err, dir)
	case err != nil:
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func createHeld(dir, prefix string) (*os.File, error) {
	for {
		w, err := os.CreateTemp(dir, prefix+"*")
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(w.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			if _, err = os.Lstat(w.Name()); err == nil {
				return w, nil
			}
		}
		w.Close() //nolint:errcheck // nothing is in it
		// Somebody took it for a stale one before it was locked.
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
}

func removeStale(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		name := filepath.Join(dir, e.Name())
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			err = os.Remove(name)
		}
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
			err = nil // somebody is at it
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
