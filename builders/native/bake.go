package native

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/builders/native/disk"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/step"
)

// BakeOptions are what an image depends on, and where it goes.
type BakeOptions struct {
	Options
	// Formats are the files wanted.
	Formats []images.Format
	// Out gets a directory of the image's name with all that belongs to it.
	Out string
	// Version is pgbake's, for the manifest.
	Version string
	// Sign makes the detached signature of SHA256SUMS; nobody signs when nil. The same body and time give the same bytes.
	Sign func(body []byte, at time.Time) ([]byte, error)
	// Force makes files anew that are there.
	Force bool
}

// Baked is an image that is there.
type Baked struct {
	Dir      string
	Manifest images.Manifest
}

// Sizes are what a person wants to know of an image in one line.
func (b Baked) Sizes() string {
	var parts []string
	for _, f := range b.Manifest.Files {
		parts = append(parts, fmt.Sprintf("%s %d MB", f.Format, f.Bytes/1_000_000))
	}
	return fmt.Sprintf("%d packages, %s", len(b.Manifest.Packages), strings.Join(parts, ", "))
}

// bakeRecipe is an input of every image: raise it when the way from a tree to its files changes.
const bakeRecipe = "bake 1"

// key is the hash of everything that decides an image's bytes.
func (o BakeOptions) key() (string, error) {
	tree, err := Key(o.Options)
	return hash(bakeRecipe, disk.Version, tree), err
}

func (o BakeOptions) dir() string { return filepath.Join(o.Out, o.Image.Name()) }

func (o BakeOptions) file(f images.Format) string { return o.Image.Name() + f.Ext }

// Current tells whether the image is there already: its files were made of the same inputs and nobody has touched them.
// It needs no namespaces. What lies beside them is put right.
func Current(o BakeOptions) (Baked, bool, error) {
	p, err := o.plan()
	if err != nil || len(p.todo) > 0 {
		return Baked{}, false, err
	}
	return Baked{Dir: o.dir(), Manifest: p.manifest}, true, o.beside(p.manifest)
}

// Bake makes the image. Each file gets its name when it is whole, the manifest last: where there is one, it tells the
// truth. Call it inside of Enter.
func Bake(ctx context.Context, o BakeOptions) (b Baked, err error) {
	unlock, err := o.open(ctx)
	if err != nil {
		return b, fmt.Errorf("bake %s: %w", o.Image.Name(), err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	p, err := o.plan()
	if err != nil {
		return b, fmt.Errorf("bake %s: %w", o.Image.Name(), err)
	}
	b = Baked{Dir: o.dir(), Manifest: p.manifest}
	o.UI.Head(o.Image.Name())
	if len(p.todo) > 0 {
		err = Root(ctx, o.Options, func(ctx context.Context, t Tree) error {
			b.Manifest, err = o.write(ctx, t, p)
			return err
		})
	}
	if err == nil {
		err = o.beside(b.Manifest)
	}
	if err != nil {
		return Baked{}, fmt.Errorf("bake %s: %w", o.Image.Name(), err)
	}
	return b, nil
}

// open makes the image's directory ours alone, and takes away what a killed build left in it.
func (o BakeOptions) open(ctx context.Context) (unlock func() error, err error) {
	if err := os.MkdirAll(o.dir(), 0o755); err != nil { //nolint:gosec // images are for everybody
		return nil, err
	}
	lock := filepath.Join(o.dir(), ".lock")
	f, err := flock(ctx, lock, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	stale, _ := filepath.Glob(filepath.Join(o.dir(), ".*"+newMark+"*"))
	for _, s := range stale {
		err = errors.Join(err, os.Remove(s))
	}
	unlock = func() error { return errors.Join(os.Remove(lock), f.Close()) }
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return unlock, nil
}

// plan is what there is and what is to be done.
type plan struct {
	key string
	// manifest has the files that are as they should be, todo the formats that are missing.
	manifest images.Manifest
	todo     []images.Format
	// old are files of other inputs that nobody asks for.
	old []string
}

func (o BakeOptions) plan() (p plan, err error) {
	if p.key, err = o.key(); err != nil {
		return p, err
	}
	body, err := os.ReadFile(filepath.Join(o.dir(), images.ManifestName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return p, err
	}
	var m images.Manifest
	if json.Unmarshal(body, &m) != nil {
		m = images.Manifest{} // none, or none of ours
	}
	var files []images.Output
	for _, f := range m.Files {
		wanted := slices.ContainsFunc(o.Formats, func(w images.Format) bool { return w.Name == f.Format })
		switch {
		case m.Key == p.key && (!o.Force || !wanted) && intact(filepath.Join(o.dir(), f.File), f, m.Created):
			files = append(files, f)
		case !wanted:
			p.old = append(p.old, f.File)
		}
	}
	p.manifest = m
	p.manifest.Files = files
	for _, f := range o.Formats {
		if !slices.ContainsFunc(files, func(there images.Output) bool { return there.Format == f.Name }) {
			p.todo = append(p.todo, f)
		}
	}
	return p, nil
}

// intact tells whether a file is the one that was written: whoever changes it changes its time.
func intact(name string, f images.Output, at time.Time) bool {
	info, err := os.Lstat(name)
	return err == nil && info.Mode().IsRegular() && info.Size() == f.Bytes && info.ModTime().Equal(at)
}

// write makes the files that are missing of a tree.
func (o BakeOptions) write(ctx context.Context, t Tree, p plan) (m images.Manifest, err error) {
	if m, err = o.manifest(t, p); err != nil {
		return m, err
	}
	// Until all of it is there, nothing vouches for any of it.
	for _, f := range p.old {
		o.UI.Say("removes %s: it is of an older image", f)
	}
	for _, name := range append([]string{images.ManifestName, images.SumsName, images.SignatureName}, p.old...) {
		if err := os.Remove(filepath.Join(o.dir(), name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return m, err
		}
	}
	l := disk.Layout{Tree: t.Stack, Seed: p.key, Time: t.Time, Arch: o.Image.Arch, Loaders: t.Loaders}
	sum := sha256.New()
	raw, err := o.raw(ctx, t, p, l, sum)
	if err != nil {
		return m, err
	}
	made := make([]images.Output, len(p.todo))
	for i, f := range p.todo {
		out := filepath.Join(o.dir(), o.file(f))
		err := step.Run(ctx, o.UI, step.Step{Name: f.Name, Run: func(ctx context.Context) error {
			size := int64(0)
			if f.Name != "tar" {
				info, err := os.Stat(raw)
				if err != nil {
					return err
				}
				size = info.Size()
			}
			var err error
			switch f.Name {
			case "raw": // there
				made[i] = images.Output{File: o.file(f), Format: f.Name, Bytes: size, Disk: size, SHA256: hex.EncodeToString(sum.Sum(nil))}
			case "tar":
				err = disk.Tar(ctx, out, l)
			default:
				err = disk.Convert(ctx, f.Name, raw, out, l)
			}
			if err != nil {
				return err
			}
			if f.Name != "raw" {
				step.Note(ctx, "hashes it")
				made[i], err = images.Measure(out, f.Name, size)
			}
			step.Result(ctx, "%d MB", made[i].Bytes/1_000_000)
			return errors.Join(err, os.Chtimes(out, t.Time, t.Time))
		}})
		if err != nil {
			return m, err
		}
	}
	m.Files = append(m.Files, made...)
	return m, nil
}

// raw is the path of the raw disk: the one that is wanted, which also gets, or was there, else one that goes with the build; ""
// when none of the formats is made of it.
func (o BakeOptions) raw(ctx context.Context, t Tree, p plan, l disk.Layout, also io.Writer) (string, error) {
	if !slices.ContainsFunc(p.todo, func(f images.Format) bool { return f.Name != "tar" }) {
		return "", nil
	}
	name := o.Image.Name() + ".raw"
	if slices.ContainsFunc(p.manifest.Files, func(f images.Output) bool { return f.File == name }) {
		return filepath.Join(o.dir(), name), nil
	}
	dir := o.dir()
	if !slices.ContainsFunc(p.todo, func(f images.Format) bool { return f.Name == "raw" }) {
		dir, also = t.Work, nil
	}
	name = filepath.Join(dir, name)
	return name, step.Run(ctx, o.UI, step.Step{Name: "disk", Run: func(ctx context.Context) error {
		step.Note(ctx, "writes the file systems")
		return disk.Write(ctx, name, l, also)
	}})
}
