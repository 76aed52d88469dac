package native

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/step"
	"github.com/pgbake/pgbake/rootfs"
)

// A root is four layers: Debian, the role's packages, pgbake's own packages, the image's files. Beside them lie the
// unpacked boot loaders. A change costs its own layer and those above.

// The recipes' names are inputs of their layers: raise them when what is below changes.
const (
	baseRecipe    = "base 1"
	roleRecipe    = "role 1"
	imageRecipe   = "image 1"
	loadersRecipe = "loaders 1"
)

// stack is the layers of a root, the lowest first; the last one's key is the tree's.
func (o Options) stack() ([]layer, error) {
	locked := func(name string) (Packages, []string, error) {
		p, ok := o.Lock.Layer(name)
		if !ok {
			return p, nil, fmt.Errorf("the lock has no packages for %q\n      hint: pgbake lock --init %s", name, cmp.Or(o.Image.Init, images.CloudInit))
		}
		var sums []string
		for _, one := range p.Packages {
			sums = append(sums, one.SHA256)
		}
		slices.Sort(sums)
		return p, sums, nil
	}
	if o.Lock.Release != o.Image.Release || o.Lock.Arch != o.Image.Arch {
		return nil, fmt.Errorf("the lock is for Debian %d %s, the image for Debian %d %s\n      hint: pgbake lock",
			o.Lock.Release, o.Lock.Arch, o.Image.Release, o.Image.Arch)
	}
	loaderPackages, loaderSums, err := locked(layerLoaders)
	if err != nil {
		return nil, err
	}
	below, role := o.Image.Layers()
	basePackages, baseSums, err := locked(below)
	if err != nil {
		return nil, err
	}
	rolePackages, roleSums, err := locked(role)
	if err != nil {
		return nil, err
	}
	own, err := o.ownDebs()
	if err != nil {
		return nil, err
	}
	var ownSums []string
	for _, f := range own {
		sum, err := sumFile(f)
		if err != nil {
			return nil, err
		}
		ownSums = append(ownSums, sum)
	}
	at := ""
	if !o.Time.IsZero() {
		at = o.Time.UTC().Format(time.RFC3339)
	}
	fetched := func(packages []Package, install func(*site, []string) error) func(context.Context, string, []string) (time.Time, error) {
		return func(ctx context.Context, dir string, lower []string) (time.Time, error) {
			s := store{run: o.Runner, dir: filepath.Join(o.Cache, "debs"), work: o.work}
			o.ahead.wait(aheadTars, true) // from here on both cores do it
			if err := s.fill(ctx, packages, o.Offline); err != nil {
				return time.Time{}, err
			}
			paths := make([]string, len(packages))
			for i, p := range packages {
				paths[i] = s.path(p)
			}
			return o.site(dir, lower).make(ctx, func(t *site) error { return install(t, paths) })
		}
	}
	prefix := o.Image.Release.Codename() + "-" + o.Image.Arch + "-"
	loaders := layer{
		Name: prefix + "loaders", Title: "boot loaders", Inputs: slices.Concat([]string{loadersRecipe}, loaderSums),
		Packages: len(loaderPackages.Packages), Aside: true,
		Fill: fetched(loaderPackages.Packages, (*site).unpackOnly),
	}
	base := layer{
		Name: prefix + below, Title: fmt.Sprintf("Debian %d", o.Image.Release), Inputs: slices.Concat([]string{baseRecipe, at}, baseSums), Packages: len(basePackages.Packages),
		Lasting: true, Fill: fetched(basePackages.Packages, func(s *site, debs []string) error {
			s.idle = func() {
				o.ahead.start(aheadTars, func(ctx context.Context) error { return o.decompress(ctx, rolePackages.Packages) })
			}
			return s.bootstrap(debs)
		}),
	}
	middle := layer{
		Name: prefix + role, Title: string(o.Image.Role) + " packages", Inputs: slices.Concat([]string{roleRecipe, base.Key()}, roleSums), Packages: len(rolePackages.Packages),
		Lasting: true, Fill: fetched(rolePackages.Packages, func(s *site, debs []string) error {
			s.idle = func() {
				o.ahead.start(aheadInitramfs, func(ctx context.Context) error { return o.initramfsAhead(ctx, s.over.Lower[0]) })
			}
			return s.install(debs)
		}),
	}
	ours := layer{
		Name: prefix + role + "-pgha", Title: "pgha", Inputs: slices.Concat([]string{roleRecipe, middle.Key()}, ownSums), Packages: len(own),
		Fill: fetched(nil, func(s *site, _ []string) error { return s.install(own) }),
	}
	image := layer{
		Name: prefix + role + "-image", Title: "settings, initramfs", Inputs: slices.Concat([]string{imageRecipe, ours.Key(), loaders.Key()}, o.imageInputs()),
		Fill: fetched(nil, func(s *site, _ []string) error { return s.finish() }),
	}
	return []layer{loaders, base, middle, ours, image}, nil
}

// ownDebs picks pgbake's packages of the role out of Debs, by their file names: NAME_VERSION_ARCH.deb.
func (o Options) ownDebs() ([]string, error) {
	var own []string
	for _, name := range o.Image.PGHA() {
		i := slices.IndexFunc(o.Debs, func(f string) bool {
			n, _, _ := strings.Cut(filepath.Base(f), "_")
			return n == name
		})
		if i < 0 {
			return nil, fmt.Errorf("package %s is not among the ones given", name)
		}
		own = append(own, o.Debs[i])
	}
	return own, nil
}

// site is a layer in the making.
type site struct {
	Options
	ctx    context.Context
	over   overlay
	root   string // where all of it is seen
	db     database
	log    *os.File
	newest int64
	// configures is how many packages are being configured; idle is called when that begins.
	configures int
	idle       func()
}

func (o Options) site(dir string, lower []string) *site {
	root := filepath.Join(dir, "root")
	return &site{
		Options: o, root: root, over: overlay{Lower: lower, Dir: dir, Root: root},
		db: database{filepath.Join(root, "var/lib/dpkg")},
	}
}

// make mounts the layer over those below, calls f, and leaves it clean: without what no image has, and with nothing in
// it that is newer than the time it returns.
func (s *site) make(ctx context.Context, f func(*site) error) (_ time.Time, err error) {
	s.ctx = ctx
	for _, d := range s.over.Lower { // what is above is never older than what is below
		if t, err := (layers{}).usable(filepath.Dir(d)); err == nil {
			s.newest = max(s.newest, t.Unix())
		}
	}
	logs := filepath.Join(s.Cache, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil { //nolint:gosec // no secrets
		return time.Time{}, err
	}
	if s.log, err = os.Create(filepath.Join(logs, filepath.Base(s.over.Dir)+".log")); err != nil {
		return time.Time{}, err
	}
	defer s.log.Close() //nolint:errcheck // for people
	unmount, err := s.over.mount()
	if err != nil {
		return time.Time{}, err
	}
	err = f(s)
	err = errors.Join(err, unmount())
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w\n      log: %s", err, s.log.Name())
	}
	if err != nil {
		return time.Time{}, err
	}
	t := s.time()
	return t, clean(filepath.Join(s.over.Dir, "fs"), t)
}

func (s *site) time() time.Time {
	if !s.Time.IsZero() {
		return s.Time.UTC().Truncate(time.Second)
	}
	return time.Unix(s.newest, 0).UTC()
}

// unpackOnly lays packages out and no more.
func (s *site) unpackOnly(paths []string) error {
	debs, err := readDebs(s.ctx, paths)
	if err != nil {
		return err
	}
	return s.unpack(debs, nil)
}

func (s *site) unpack(debs []*deb, diverted map[string]diversion, fresh ...string) error {
	newest, err := unpack(s.ctx, s.root, debs, diverted, fresh...)
	s.newest = max(s.newest, newest)
	return err
}

// mergedLinks are the links of Debian's merged /usr, which older base-files do not bring themselves.
var mergedLinks = map[string][]string{"amd64": {"bin", "sbin", "lib", "lib64"}, "arm64": {"bin", "sbin", "lib"}}

// bootstrap makes Debian out of nothing. All is unpacked before the first script runs, and no package is configured
// before all are unpacked: so there is no order to find, only dpkg's own.
func (s *site) bootstrap(paths []string) error {
	step.Note(s.ctx, "unpacks %d packages", len(paths))
	debs, err := readDebs(s.ctx, paths)
	if err != nil {
		return err
	}
	fresh := []string{"usr"}
	for _, d := range mergedLinks[s.Image.Arch] {
		if err := os.MkdirAll(filepath.Join(s.root, "usr", d), 0o755); err != nil { //nolint:gosec // as on every machine
			return err
		}
		if err := os.Symlink("usr/"+d, filepath.Join(s.root, d)); err != nil {
			return err
		}
		fresh = append(fresh, "usr/"+d)
	}
	if err := s.unpack(debs, nil, fresh...); err != nil {
		return err
	}
	if err := s.prepare(debs); err != nil {
		return err
	}
	before, err := s.db.diversions()
	if err != nil {
		return err
	}
	if err := s.preinsts(debs); err != nil {
		return err
	}
	if err := s.divert(debs, before); err != nil {
		return err
	}
	return s.configure(debs)
}

// install adds packages to a Debian that runs: their scripts go first, as dpkg has it.
func (s *site) install(paths []string) error {
	debs, err := readDebs(s.ctx, paths)
	if err != nil {
		return err
	}
	if err := s.prepare(debs); err != nil {
		return err
	}
	if err := s.preinsts(debs); err != nil {
		return err
	}
	diverted, err := s.db.diversions()
	if err != nil {
		return err
	}
	step.Note(s.ctx, "unpacks %d packages", len(paths))
	for _, d := range debs {
		d.tar = s.tar(d.path)
	}
	if err := s.unpack(debs, diverted); err != nil {
		return err
	}
	return s.configure(debs)
}

// duringInstall are files that are there only while packages are installed.
func duringInstall() []rootfs.File {
	files := images.Installing()
	// openssh-server's script makes keys that are not there, for a second of a CPU: no image has one.
	for _, key := range []string{"rsa", "ecdsa", "ed25519"} {
		files = append(files, rootfs.File{Path: "/etc/ssh/ssh_host_" + key + "_key", Mode: 0o600})
	}
	return files
}

func (s *site) prepare(debs []*deb) error {
	if err := s.db.prepare(); err != nil {
		return err
	}
	if err := s.db.addControl(debs); err != nil {
		return err
	}
	if err := mountSystem(s.root); err != nil {
		return err
	}
	for _, f := range duringInstall() {
		at := filepath.Join(s.root, f.Path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil { //nolint:gosec // as Debian has it
			return err
		}
		if err := os.WriteFile(at, f.Body, f.Mode); err != nil {
			return err
		}
	}
	return nil
}

// preinsts runs the scripts that come before unpacking.
func (s *site) preinsts(debs []*deb) error {
	for _, d := range debs {
		if _, ok := d.control["preinst"]; !ok {
			continue
		}
		err := s.chroot("env", "DPKG_MAINTSCRIPT_PACKAGE="+d.name, "DPKG_MAINTSCRIPT_ARCH="+d.arch, "DPKG_MAINTSCRIPT_NAME=preinst",
			"DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1", "DPKG_ADMINDIR=/var/lib/dpkg", "DPKG_ROOT=",
			"/var/lib/dpkg/info/"+d.info+".preinst", "install")
		if err != nil {
			return err
		}
	}
	return nil
}

// divert moves away what was unpacked before its diversion was known.
func (s *site) divert(debs []*deb, before map[string]diversion) error {
	now, err := s.db.diversions()
	if err != nil {
		return err
	}
	for from, d := range now {
		if _, known := before[from]; known {
			continue
		}
		var owners []string
		for _, p := range debs {
			if slices.Contains(p.files, from) {
				owners = append(owners, p.name)
			}
		}
		switch {
		case len(owners) == 0 || len(owners) == 1 && owners[0] == d.by:
		case len(owners) == 1:
			err := os.Rename(filepath.Join(s.root, from), filepath.Join(s.root, d.to))
			if err != nil && !errors.Is(err, os.ErrNotExist) { // dpkg-divert --rename did it
				return fmt.Errorf("divert /%s: %w", from, err)
			}
		default:
			return fmt.Errorf("divert /%s for %s: %s have it", from, d.by, strings.Join(owners, " and "))
		}
	}
	return nil
}

// configure has dpkg do the rest.
func (s *site) configure(debs []*deb) error {
	step.Note(s.ctx, "configures %d packages", len(debs))
	s.configures = len(debs)
	if err := s.db.addUnpacked(debs); err != nil {
		return err
	}
	if s.idle != nil {
		s.idle()
	}
	err := s.besideCompiling(func() error {
		return s.chroot("dpkg", "--force-unsafe-io", "--abort-after=1", "--configure", "--pending")
	})
	if err != nil {
		return err
	}
	bad, err := s.db.unconfigured()
	if err == nil && len(bad) > 0 {
		err = fmt.Errorf("configure packages: not installed: %s", strings.Join(bad, ", "))
	}
	for _, f := range duringInstall() {
		if rmErr := os.Remove(filepath.Join(s.root, f.Path)); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	return err
}
