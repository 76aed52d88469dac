// Package native makes the root of an image on this machine: the packages that the lock names, unpacked and
// configured as dpkg would, in layers that are made once and stacked by overlayfs.
//
// In come an image, a lock of packages and pgbake's own .debs; out comes one directory with the whole tree, seen only
// inside the namespaces of the build (Enter), so that whatever ends the build leaves no mount and no process behind.
// The same inputs give the same tree. It never touches the host's packages, and asks the network only to resolve and
// to fill its store of .debs.
package native

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/pgbake/pgbake/builders/native/disk"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/ui"
)

// Options are what a root depends on, and where it is made.
type Options struct {
	Runner run.Runner
	UI     *ui.UI
	// Cache is the directory that keeps .debs, package lists and layers. Its file system must be able to carry an
	// overlay: ext4, xfs, btrfs and tmpfs do, another overlay does not.
	Cache string
	// Image says which packages, files and units.
	Image images.Image
	// Lock is what exactly those packages are.
	Lock *Lock
	// Debs are the files of pgbake's own packages, at least those of Image.PGHA.
	Debs []string
	// Offline forbids every download.
	Offline bool
	// Time is the time on everything that the build writes; that of the newest packaged file when zero.
	Time time.Time

	work  string // a directory of the build's own, below Cache
	ahead *ahead // what is done on the other core
}

// Tree is a finished root.
type Tree struct {
	// Dir is where it is seen: read-only, and only inside the build's namespaces.
	Dir string
	// Key is the hash of everything that decides its content, in hexadecimal.
	Key string
	// Time is on all that the build wrote: nothing in the tree is newer.
	Time time.Time
	// Loaders is a directory with the files of Image.Loaders, unpacked.
	Loaders string
	// Work is a directory that goes with the tree.
	Work string
	// Packages is how many are installed.
	Packages int
	// Stack is what Dir shows, the lowest layer first.
	Stack []disk.Layer
	// Layers are the tree's and the loaders', in the order of their making; Made are those that were not in the cache.
	Layers []images.Input
	Made   []string
}

// Key is the Tree's, without making one: whether an image must be baked is a matter of a few hashes.
func Key(o Options) (string, error) {
	stack, err := o.stack()
	if err != nil {
		return "", err
	}
	return stack[len(stack)-1].Key(), nil
}

// Root makes the layers that are missing and calls use with the tree. Call it inside of Enter.
func Root(ctx context.Context, o Options, use func(context.Context, Tree) error) (err error) {
	if !Inside() {
		return errors.New("make root: not in a namespace of its own (a mistake of pgbake's)")
	}
	work, remove, err := Work(o.Cache)
	if err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	defer func() {
		// Whoever was stopped does not want to wait until 800 MB are removed: the next build does it.
		if ctx.Err() == nil {
			err = errors.Join(err, remove())
		}
	}()
	o.work, o.ahead = work, &ahead{ctx: ctx, all: map[string]*job{}}
	defer o.ahead.close()
	stack, err := o.stack()
	if err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	t := Tree{Key: stack[len(stack)-1].Key(), Work: work, Dir: filepath.Join(work, "root")}
	cache := layers{dir: filepath.Join(o.Cache, "layers"), work: work}
	var dirs []string
	for _, l := range stack {
		made, err := cache.build(ctx, o.UI, l, dirs)
		if err != nil {
			return fmt.Errorf("make %s: %w", l.Title, err)
		}
		defer made.Release()
		t.Layers = append(t.Layers, images.Input{Name: l.Name, Key: l.Key()})
		if made.New {
			t.Made = append(t.Made, l.Name)
		}
		if l.Aside {
			t.Loaders = made.Dir
			continue
		}
		dirs = append([]string{made.Dir}, dirs...)
		t.Stack = append(t.Stack, disk.Layer{Dir: made.Dir, Cache: l.packed(made)})
		t.Time, t.Packages = made.Time, t.Packages+l.Packages
	}
	if err := os.Mkdir(t.Dir, 0o700); err != nil {
		return err
	}
	unmount, err := overlay{Lower: dirs, Root: t.Dir}.mount()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	return use(ctx, t)
}

// hash is the key of some inputs; none can be read as two, or two as one.
func hash(inputs ...string) string {
	h := sha256.New()
	for _, in := range inputs {
		fmt.Fprintf(h, "%d:%s\n", len(in), in)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sumFile is a file's sha256 in hexadecimal.
func sumFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("hash %s: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
