package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/internal/step"
	"github.com/pgbake/pgbake/internal/ui"
)

// layer is one directory of a root, made once and read by every build after that.
type layer struct {
	// Name is that of its directory, and Title what a person calls it.
	Name, Title string
	// Inputs decide its content. The key of the layer below is among them.
	Inputs []string
	// Packages is how many it installs.
	Packages int
	// Lasting says that many images will stand on it.
	Lasting bool
	// Aside says that it is no part of the root.
	Aside bool
	// Fill makes it: what it leaves in dir/fs is the layer. It returns the time that nothing in it may be newer than.
	Fill func(ctx context.Context, dir string, lower []string) (time.Time, error)
}

// Key is the hash of all that decides its content.
func (l layer) Key() string { return hash(append([]string{l.Name}, l.Inputs...)...) }

// packed is where a lasting layer, once made, keeps itself in compressed disks' form: it goes with the layer.
func (l layer) packed(m made) string {
	if !l.Lasting {
		return ""
	}
	return filepath.Join(filepath.Dir(m.Dir), "packed")
}

// layers keeps them, each in NAME-KEY/ with fs/ and time, and NAME-KEY.lock beside it: its users hold the lock, and its
// time tells when it was last used.
// Work is a directory of the build's own on the same file system.
type layers struct{ dir, work string }

// made is a layer that is there, until Release.
type made struct {
	Dir     string
	Time    time.Time
	New     bool
	Release func()
}

// build returns the layer and makes it when it is not there. A directory under the final name is always whole: it is
// made under another one and renamed. Two builders of one layer take turns.
func (c layers) build(ctx context.Context, u *ui.UI, l layer, lower []string) (made, error) {
	final := filepath.Join(c.dir, l.Name+"-"+l.Key()[:16])
	if err := os.MkdirAll(c.dir, 0o755); err != nil { //nolint:gosec // holds no secrets
		return made{}, err
	}
	m, err := c.use(ctx, final)
	if err == nil {
		u.Done(l.Title, "from the cache")
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	err = step.Run(ctx, u, step.Step{Name: l.Title, Run: func(ctx context.Context) error {
		lock, err := flock(ctx, final+".lock", unix.LOCK_EX)
		if err != nil {
			return err
		}
		defer lock.Close() //nolint:errcheck // closing is unlocking
		if _, err := c.usable(final); !errors.Is(err, fs.ErrNotExist) {
			return err // somebody else made it while we waited
		}
		m.New = true
		if l.Packages > 0 {
			step.Result(ctx, "%d packages", l.Packages)
		}
		return c.make(ctx, l, final, lower)
	}})
	if err != nil {
		return made{}, err
	}
	isNew := m.New
	if m, err = c.use(ctx, final); err != nil {
		return made{}, err
	}
	m.New = isNew
	now := time.Now()
	return m, errors.Join(c.forget(now.Add(-unusedTime)), forgetAged(filepath.Dir(c.dir), now.Add(-agedTime)))
}

// use returns a layer that is there, with a lock that others may share but that keeps it from being removed.
func (c layers) use(ctx context.Context, final string) (made, error) {
	lock, err := flock(ctx, final+".lock", unix.LOCK_SH)
	if err != nil {
		return made{}, err
	}
	m := made{Dir: filepath.Join(final, "fs"), Release: func() { lock.Close() }} //nolint:errcheck // closing is unlocking
	now := time.Now()
	if err = os.Chtimes(final+".lock", now, now); err == nil {
		m.Time, err = c.usable(final)
	}
	if err != nil {
		lock.Close() //nolint:errcheck // as above
		return made{}, err
	}
	return m, nil
}

func (c layers) make(ctx context.Context, l layer, final string, lower []string) error {
	if err := c.discard(final); err != nil { // the power failed before it lay on the disk
		return err
	}
	dir := filepath.Join(c.work, filepath.Base(final))
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // programs in the root run as other users
		return err
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // as above
		return err
	}
	t, err := l.Fill(ctx, dir, lower)
	if err != nil {
		return err
	}
	for _, d := range []string{"work", "none", "root"} {
		if err := os.RemoveAll(filepath.Join(dir, d)); err != nil {
			return err
		}
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "time"), []byte(strconv.FormatInt(t.Unix(), 10)+"\n"), 0o644); err != nil { //nolint:gosec // no secret
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, unsyncedName), []byte(boot), 0o644); err != nil { //nolint:gosec // no secret
		return err
	}
	return os.Rename(dir, final)
}

// discard removes a layer whose lock we hold. Under another name first: half a layer must never be taken for a whole one.
func (c layers) discard(final string) error {
	trash := filepath.Join(c.work, "old-"+filepath.Base(final))
	err := os.Rename(final, trash)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err = errors.Join(err, os.RemoveAll(trash)); err != nil {
		return fmt.Errorf("remove layer %s: %w", final, err)
	}
	return nil
}

// A layer is 800 MB: to wait until it lies on the disk takes as long as a good part of its making. So it is only
// remembered in which run of the kernel it was written. In a later run, after a power cut perhaps, it does not count;
// and once it has been there for longer than the kernel keeps data back (30 s), a sync costs nothing and settles it.
const (
	unsyncedName = "unsynced"
	syncAfter    = 2 * time.Minute
)

// usable returns the time of a layer that is whole; fs.ErrNotExist when it is to be made.
func (c layers) usable(final string) (time.Time, error) {
	body, err := os.ReadFile(filepath.Join(final, "time"))
	if err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(body)), 10, 64)
	if err != nil {
		return time.Time{}, fs.ErrNotExist // cut short by the file system
	}
	mark := filepath.Join(final, unsyncedName)
	info, err := os.Stat(mark)
	if err == nil {
		written, err := os.ReadFile(mark)
		boot, bootErr := bootID()
		if err := errors.Join(err, bootErr); err != nil {
			return time.Time{}, err
		}
		if string(written) != boot {
			return time.Time{}, fs.ErrNotExist
		}
		if time.Since(info.ModTime()) > syncAfter {
			if err := syncFS(final); err != nil {
				return time.Time{}, err
			}
			if err := os.Remove(mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return time.Time{}, err
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, err
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// bootID is the kernel's name for its present run.
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(id), err
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

// unusedTime is how long a layer is kept that nobody uses.
const unusedTime = 30 * 24 * time.Hour

// forget removes layers that were last used before a time and that no build holds.
func (c layers) forget(before time.Time) error {
	locks, _ := filepath.Glob(filepath.Join(c.dir, "*.lock"))
	for _, name := range locks {
		info, err := os.Stat(name)
		if err != nil || !info.ModTime().Before(before) {
			continue
		}
		f, err := lockFile(name, unix.LOCK_EX)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return err
		}
		if err = c.discard(strings.TrimSuffix(name, ".lock")); err == nil {
			err = os.Remove(name)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// flock takes the lock of a file, shared or not, waiting for others. The lock goes with the file that it returns, or
// with the process.
func flock(ctx context.Context, name string, how int) (*os.File, error) {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		f, err := lockFile(name, how)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		step.Note(ctx, "waits for another pgbake that holds %s", strings.TrimSuffix(filepath.Base(name), ".lock"))
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w", name, context.Cause(ctx))
		case <-t.C:
		}
	}
}

// lockFile returns the file of that name, locked: not one that another process has removed meanwhile.
func lockFile(name string, how int) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
			f.Close() //nolint:errcheck // nothing was written
			return nil, err
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close() //nolint:errcheck // as above
			return nil, err
		}
		if now, err := os.Stat(name); err == nil && os.SameFile(mine, now) {
			return f, nil
		}
		f.Close() //nolint:errcheck // as above
	}
}
