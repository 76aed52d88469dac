package native

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Work makes a directory below the cache for what is needed only while this process runs. What others left there that
// were killed goes first; remove takes away ours.
func Work(cache string) (dir string, remove func() error, err error) {
	all := filepath.Join(cache, "work")
	if err := os.MkdirAll(all, 0o755); err != nil { //nolint:gosec // holds no secrets
		return "", nil, err
	}
	others, err := os.ReadDir(all)
	if err != nil {
		return "", nil, err
	}
	for _, other := range others {
		if err := removeUnheld(filepath.Join(all, other.Name())); err != nil {
			return "", nil, fmt.Errorf("remove what a killed build left: %w", err)
		}
	}
	for {
		if dir, err = os.MkdirTemp(all, ""); err != nil {
			return "", nil, err
		}
		held, err := hold(dir)
		if err == nil {
			return dir, func() error { return errors.Join(os.RemoveAll(dir), held.Close()) }, nil
		}
		// Somebody who tidies up was faster.
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, os.ErrNotExist) {
			return "", nil, err
		}
	}
}

// hold locks a directory that is there, for as long as the file returned is open.
func hold(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		_, err = os.Stat(dir)
	}
	if err != nil {
		f.Close() //nolint:errcheck // only a lock
		return nil, err
	}
	return f, nil
}

func removeUnheld(dir string) error {
	f, err := hold(dir)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(dir), f.Close())
}
