package native

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pgbake/pgbake/rootfs"
)

// Packages are configured one after the other, by dpkg. On the core that is idle meanwhile, ahead does what comes next.
// It tells no failure: whatever went wrong is done again in its own step, which says so.
type ahead struct {
	ctx context.Context
	mu  sync.Mutex
	all map[string]*job
}

type job struct {
	stop context.CancelFunc
	done chan struct{}
}

// start does f in the background, once for each name.
func (a *ahead) start(name string, f func(context.Context) error) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all[name] != nil {
		return
	}
	ctx, stop := context.WithCancel(a.ctx)
	j := &job{stop, make(chan struct{})}
	a.all[name] = j
	go func() {
		defer close(j.done)
		_ = f(ctx) // see above
	}()
}

// wait returns when what was started is done; stop does not let it begin anything more.
func (a *ahead) wait(name string, stop bool) {
	if a == nil {
		return
	}
	a.mu.Lock()
	j := a.all[name]
	a.mu.Unlock()
	if j == nil {
		return
	}
	if stop {
		j.stop()
	}
	<-j.done
}

// close ends it all.
func (a *ahead) close() {
	for name := range a.all {
		a.wait(name, true)
	}
}

// What is done ahead.
const (
	aheadTars      = "tars"
	aheadInitramfs = "initramfs"
)

// tar is where a package lies decompressed, if it does.
func (o Options) tar(deb string) string {
	return filepath.Join(o.work, aheadTars, strings.TrimSuffix(filepath.Base(deb), ".deb")+".tar")
}

// decompress fetches packages, and decompresses them, the largest first. When it is to stop, what it has begun is
// finished first.
func (o Options) decompress(stop context.Context, packages []Package) error {
	ctx := o.ahead.ctx
	s := store{run: o.Runner, dir: filepath.Join(o.Cache, "debs"), work: o.work}
	if err := s.fill(ctx, packages, o.Offline); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(o.work, aheadTars), 0o700); err != nil {
		return err
	}
	packages = slices.Clone(packages)
	sortBy(packages, func(a, b Package) bool { return a.Size > b.Size })
	for i := 0; i < len(packages) && stop.Err() == nil; i++ {
		if err := decompress(ctx, s.path(packages[i]), o.tar(s.path(packages[i]))); err != nil {
			return err
		}
	}
	return nil
}

// decompress makes a file of a package's tar; it has its name when it is whole.
func decompress(ctx context.Context, deb, tar string) error {
	f, err := os.Create(tar + newMark)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	cmd.Stdout = f
	if err := errors.Join(cmd.Run(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), tar)
}

// initramfsAhead makes the initramfs of the base with the image's settings, which is most often that of the image.
func (o Options) initramfsAhead(ctx context.Context, base string) error {
	dir := filepath.Join(o.work, aheadInitramfs)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	_, err := o.site(dir, []string{base}).make(ctx, func(s *site) error {
		kernel, err := s.settings()
		if err != nil {
			return err
		}
		return s.initramfs(kernel)
	})
	return err
}

// settings writes the image's own files and returns the kernel's version.
func (s *site) settings() (kernel string, err error) {
	if err := mountSystem(s.root); err != nil {
		return "", err
	}
	if _, err := rootfs.Write(s.root, s.files()); err != nil {
		return "", err
	}
	return s.kernel()
}
