package image

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Packages are downloaded once for many runs, but those whose sum begins with 0: each run has something to fetch. pgbake looks
// at the sums of what is there.

// kept is the host's directory of them; empty where there is none.
func kept() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "pgbake", "test", "image", "debs")
}

// lend copies packages that another run has downloaded into a cache. pgbake notes the time of those that it uses.
func lend(cache string) error {
	long := time.Now().Add(-24 * time.Hour)
	return copyDebs(kept(), filepath.Join(cache, "debs"), time.Time{}, long)
}

// keep copies the packages of a cache that were used for other runs, and forgets those that none has used for a week.
func keep(cache string) error {
	dir, now := kept(), time.Now()
	if dir == "" {
		return nil
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), copyDebs(filepath.Join(cache, "debs"), dir, now.Add(-12*time.Hour), now)); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > 7*24*time.Hour {
			_ = os.Remove(filepath.Join(dir, e.Name())) // another run may have done it
		}
	}
	return err
}

// copyDebs copies those that were used after a time, whole under their names, and gives them the time at.
func copyDebs(from, to string, after, at time.Time) error {
	debs, err := filepath.Glob(filepath.Join(from, "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range debs {
		info, err := os.Stat(deb)
		if errors.Is(err, fs.ErrNotExist) {
			continue // forgotten by another run
		}
		if err != nil {
			return err
		}
		name := filepath.Join(to, filepath.Base(deb))
		if strings.HasPrefix(filepath.Base(deb), "0") || info.ModTime().Before(after) || os.Chtimes(name, at, at) == nil {
			continue
		}
		body, err := os.ReadFile(deb)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		f, err := os.CreateTemp(to, ".new-*")
		if err != nil {
			return err
		}
		_, err = f.Write(body)
		if err := errors.Join(err, f.Chmod(0o644), f.Close(), os.Chtimes(f.Name(), at, at), os.Rename(f.Name(), name)); err != nil {
			return err
		}
	}
	return nil
}
