package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is one kind of thing that the cache keeps, in a directory of its own below it.
type Kind struct {
	Name, Dir string
	// Each says that its things are told one by one.
	Each bool
	// Ages says that what nobody has used for long goes by itself; layers see to that themselves.
	Ages bool
	// For says what they are.
	For string
}

// Kinds are all of them. Nothing is lost with any: it is fetched or made again.
var Kinds = []Kind{
	// name       dir          each   ages   for
	{"packages", "debs", false, true, "Debian's packages, as downloaded"},
	{"lists", "apt", false, false, "what the archives have, for pgbake lock"},
	{"layers", "layers", true, false, "packages unpacked and configured, for every image on top of them"},
	{"initramfs", "initramfs", false, true, "initial file systems of kernels"},
	{"pgha", "pgha", false, true, "pgbake's own packages"},
	{"logs", "logs", false, true, "what was said while layers were made"},
	{"work", "work", false, false, "what a running build needs, or a killed one left"},
}

// Kept is something in the cache.
type Kept struct {
	Kind  string    `json:"kind"`
	Name  string    `json:"name"`
	Bytes int64     `json:"bytes"` // on the disk
	Used  time.Time `json:"used"`
}

// Keeps tells what a cache has, by kind.
func Keeps(cache string) ([]Kept, error) {
	var all []Kept
	for _, k := range Kinds {
		entries, err := os.ReadDir(filepath.Join(cache, k.Dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		one := Kept{Kind: k.Name}
		n := 0
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".lock") {
				continue
			}
			path := filepath.Join(cache, k.Dir, e.Name())
			bytes, _ := Usage(path)
			used := lastUsed(path)
			if k.Each {
				all = append(all, Kept{k.Name, e.Name(), bytes, used})
				continue
			}
			n++
			one.Bytes += bytes
			if used.After(one.Used) {
				one.Used = used
			}
		}
		if n > 0 {
			one.Name = fmt.Sprintf("%d in all", n)
			all = append(all, one)
		}
	}
	return all, nil
}

// lastUsed is the time of a thing's lock, which its users touch, else its own.
func lastUsed(path string) time.Time {
	for _, p := range []string{path + ".lock", path} {
		if info, err := os.Stat(p); err == nil {
			return info.ModTime()
		}
	}
	return time.Time{}
}

// Usage is what a file or a directory takes on the disk, and how many files that is; what has several names counts
// once, and what may not be read, or goes while we look, does not count.
func Usage(path string) (bytes int64, files int) {
	seen := map[uint64]bool{}
	_ = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // said above
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // the same
		}
		st := info.Sys().(*syscall.Stat_t) // builds run on Linux
		if st.Nlink > 1 && !e.IsDir() {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		bytes += st.Blocks * 512
		files++
		return nil
	})
	return bytes, files
}

// agedTime is how long what Ages is kept that nobody uses: a lock of last quarter still finds its packages.
const agedTime = 90 * 24 * time.Hour

// touch notes that something is used. Who may not write it does not keep it either.
func touch(path string) {
	now := time.Now()
	_ = os.Chtimes(path, now, now)
}

// forgetAged removes what was last used before a time. What a build reads it has touched.
func forgetAged(cache string, before time.Time) error {
	for _, k := range Kinds {
		if !k.Ages {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(cache, k.Dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err == nil && info.ModTime().Before(before) {
				err = os.RemoveAll(filepath.Join(cache, k.Dir, e.Name()))
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove what nobody uses: %w", err)
			}
		}
	}
	return nil
}

// inUseName is a lock that everybody shares who reads what the cache has.
const inUseName = "in-use.lock"

// Use keeps the cache from being cleared until release.
func Use(ctx context.Context, cache string) (release func(), err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // holds no secrets
		return nil, err
	}
	f, err := flock(ctx, filepath.Join(cache, inUseName), unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil //nolint:errcheck // closing is unlocking
}

// ErrInUse is a cache that a build is using.
var ErrInUse = errors.New("a build is using it\n      hint: again when it has ended")

// Clear removes what the cache has of some kinds.
func Clear(cache string, kinds []Kind) error {
	f, err := lockFile(filepath.Join(cache, inUseName), unix.LOCK_EX)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return fmt.Errorf("clear the cache %s: %w", cache, err)
	}
	defer f.Close() //nolint:errcheck // closing is unlocking
	work, remove, err := Work(cache)
	if err != nil {
		return err
	}
	for _, k := range kinds {
		if k.Dir == "work" {
			continue // Work did it
		}
		// Away at once: half of it must never be taken for the whole.
		old := filepath.Join(work, k.Dir)
		if err = os.Rename(filepath.Join(cache, k.Dir), old); errors.Is(err, fs.ErrNotExist) {
			err = nil
			continue
		}
		if err != nil {
			break
		}
	}
	return errors.Join(err, remove())
}
