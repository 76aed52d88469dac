package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/internal/step"
)

// layer is one directory of a root, made once and read by every machine after that.
type layer struct {
	// Name is what a person calls it: "bookworm", "bookworm-db".
	Name string
	// Inputs decide its content. The layers below are among them.
	Inputs []string
	// Fill makes it, below the directory given: what it leaves in upper/ is the layer.
	Fill func(ctx context.Context, dir string) error
}

// key is the layer's name with the hash of all that decides its content.
func (l layer) key() string {
	h := sha256.New()
	for _, in := range l.Inputs {
		fmt.Fprintf(h, "%d:%s\n", len(in), in)
	}
	return l.Name + "-" + hex.EncodeToString(h.Sum(nil))[:12]
}

// build returns the directory of the layer and makes it when it is not there. A directory under the final name
// is always whole: it is made under another one and renamed. Two builders of one layer take turns.
func (l layer) build(ctx context.Context, cache string) (string, error) {
	final := filepath.Join(cache, "roots", l.key())
	now := time.Now()
	// The lock's time tells when the layer was last used; without a lock it is not there yet.
	if err := os.Chtimes(final+".lock", now, now); err == nil {
		if _, err := os.Stat(final); err == nil {
			return final, nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil { //nolint:gosec // holds no secrets
		return "", err
	}
	unlock, err := lock(ctx, final+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	// Whoever left these was killed: we hold the lock.
	stale, _ := filepath.Glob(final + ".new-*")
	for _, d := range stale {
		if err := os.RemoveAll(d); err != nil {
			return "", fmt.Errorf("remove unfinished root: %w", err)
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(final), filepath.Base(final)+".new-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)                      //nolint:errcheck // the next build removes it
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // programs in the root run as other users
		return "", err
	}
	if err := ownMounts(func() error { return l.Fill(ctx, dir) }); err != nil {
		return "", err
	}
	upper := filepath.Join(dir, "upper")
	if err := syncFS(upper); err != nil {
		return "", err
	}
	if err := os.Rename(upper, final); err != nil {
		return "", err
	}
	return final, errors.Join(syncFS(filepath.Dir(final)), forget(filepath.Dir(final), now.Add(-unusedTime)))
}

// unusedTime is how long a layer is kept that nobody uses.
const unusedTime = 7 * 24 * time.Hour

// forget removes layers that were last used before a time and that no running machine stands on.
func forget(roots string, before time.Time) error {
	locks, _ := filepath.Glob(filepath.Join(roots, "*.lock"))
	for _, name := range locks {
		info, err := os.Stat(name)
		if err != nil || info.ModTime().After(before) {
			continue
		}
		dir := strings.TrimSuffix(name, ".lock")
		if len(processes(mounted(dir))) > 0 {
			continue
		}
		// Under another name first: half a layer must never be taken for a whole one.
		trash := dir + ".new-old"
		if err := os.Rename(dir, trash); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := errors.Join(os.RemoveAll(trash), os.Remove(name)); err != nil {
			return fmt.Errorf("remove unused root: %w", err)
		}
	}
	return nil
}

// mounted matches processes that see an overlay with the layer in it.
func mounted(layer string) func(pid int) bool {
	return func(pid int) bool {
		mounts, err := os.ReadFile(procPath(pid, "mountinfo"))
		return err == nil && bytes.Contains(mounts, []byte(layer))
	}
}

// lock takes the lock of a file, waiting for another process that has it. The lock goes with the process.
func lock(ctx context.Context, name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil && errors.Is(err, unix.EISDIR) {
		f, err = os.Open(name)
	}
	if err != nil {
		return nil, err
	}
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil //nolint:errcheck // closing is unlocking
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close() //nolint:errcheck // nothing was written
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		step.Note(ctx, "waits for another pgbake that holds %s", strings.TrimSuffix(filepath.Base(name), ".lock"))
		select {
		case <-ctx.Done():
			f.Close() //nolint:errcheck // as above
			return nil, fmt.Errorf("lock %s: %w", name, context.Cause(ctx))
		case <-t.C:
		}
	}
}

func syncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
