package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/builders/native"
	"github.com/pgbake/pgbake/cloudinit"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/suggest"
	"github.com/pgbake/pgbake/packages"
	"github.com/pgbake/pgbake/render"
)

// imageFlags are those of pgbake image.
type imageFlags struct {
	roles, formats  []string
	arch, lock, key string
	init            string
	butane          []string
	locked, offline bool
	force, test     bool
	testTime        time.Duration
}

func (a *app) image() *cobra.Command {
	var f imageFlags
	var formats strings.Builder
	for _, one := range images.Formats {
		fmt.Fprintf(&formats, "  %-10s  %s\n", one.Name, one.For)
	}
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Bake disk images that boot on any hypervisor and become a machine of the cluster by their seeds",
		Long: `Bake disk images of Debian with everything that a machine of the cluster needs. Each boots by BIOS and by UEFI, and
becomes the machine that its seed (pgbake seed) says. No password, no key and no address is in it.

It needs neither root nor loop devices nor KVM: an ordinary user needs user namespaces, subuids and newuidmap.
The same inputs give the same bytes, whoever bakes, where and when.

pgbake.lock, beside the specification, names every package with its version and hash. The first bake writes it: commit
it, and everybody bakes the same. It is used until "pgbake lock" renews it; updates come in then and only then.

--init ignition puts Debian's ignition into the image in place of cloud-init, for seeds of "pgbake seed --format ignition".
--butane then bakes files of your own in: Ignition merges each machine's seed over them. They may not claim what pgbake
writes. The lock must have been made for it: pgbake lock --init ignition.

Formats:
` + formats.String() + `
Every image gets a folder below -o: its files, manifest.json (what went in), NAME.cdx.json (bill of materials,
CycloneDX), SHA256SUMS, signed when there is a key, and BOOT.txt (how to boot it).`,
		Example: `  pgbake image                                   # one qcow2 for each role that the cluster has
  pgbake image --role db --format raw,vmdk
  pgbake image --init ignition --butane site.bu
  pgbake image --locked --offline                # exactly the lock, out of the cache, no network`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			baked, err := a.bakeImages(cmd.Context(), f)
			if err != nil {
				return err
			}
			for _, b := range baked {
				for _, file := range b.Manifest.Files {
					fmt.Fprintln(cmd.OutOrStdout(), filepath.Join(b.Dir, file.File))
				}
			}
			if f.test {
				if err := a.bootImages(cmd, baked, f.testTime); err != nil {
					return err
				}
			}
			a.ui.Next(a.self() + " seed, then boot as " + filepath.Join(baked[0].Dir, images.BootName) + " says")
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&f.roles, "role", nil, `db, proxy, or all: both in one image (default: each that the cluster has)`)
	cmd.Flags().StringSliceVar(&f.formats, "format", []string{"qcow2"}, "what the files are, see above")
	cmd.Flags().StringVar(&f.init, "init", string(images.CloudInit), "what applies the seed: cloud-init or ignition")
	cmd.Flags().StringArrayVar(&f.butane, "butane", nil, "file of Butane to bake into an ignition image; may be repeated")
	cmd.Flags().StringVar(&f.arch, "arch", runtime.GOARCH, "architecture: amd64 or arm64")
	cmd.Flags().StringVar(&f.lock, "lock", "", `the lock (default "pgbake.lock" beside the specification)`)
	cmd.Flags().StringVar(&f.key, "sign-key", "", `private OpenPGP key, armored, that signs SHA256SUMS (default: "repository.key" in the secrets, when it is there)`)
	cmd.Flags().BoolVar(&f.locked, "locked", false, "refuse to bake without a lock")
	cmd.Flags().BoolVar(&f.offline, "offline", false, "no network at all: what is not in the cache is an error")
	cmd.Flags().BoolVar(&f.test, "test", false, "then boot each image in QEMU, by BIOS and by UEFI, as a lone machine, and look at its services")
	cmd.Flags().DurationVar(&f.testTime, "test-timeout", 10*time.Minute, "how long one of these boots may take")
	cmd.Flags().BoolVar(&f.force, "force", false, "bake again what is there")
	return cmd
}

// bakeImages bakes what the flags say, or finds it baked. The work is done by this program once more, in namespaces of
// its own; outside its exit code is returned as an error.
func (a *app) bakeImages(ctx context.Context, f imageFlags) ([]native.Baked, error) {
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	if len(f.roles) == 0 {
		f.roles = rolesOf(c)
	}
	formats, err := formatsNamed(f.formats)
	if err != nil {
		return nil, specError{err}
	}
	all, err := a.imagesOf(c, f, formats)
	if err != nil {
		return nil, err
	}
	if err := native.CanBake(f.arch); err != nil {
		return nil, err
	}
	cache, err := native.Cache()
	if err != nil {
		return nil, err
	}
	release, err := native.Use(ctx, cache)
	if err != nil {
		return nil, err
	}
	defer release()
	o, err := a.bakeOptions(ctx, c, all, f, cache)
	if err != nil {
		return nil, err
	}
	o.Formats = formats
	each := make([]native.BakeOptions, len(all))
	for i := range all {
		each[i] = o
		each[i].Image = all[i]
	}
	if !native.Inside() {
		if baked, err := current(each); err != nil || baked != nil {
			return baked, err
		}
	}
	inside, code, err := native.Enter()
	if err != nil {
		return nil, err
	}
	if !inside {
		return nil, exitError(code)
	}
	var baked []native.Baked
	for _, o := range each {
		b, err := native.Bake(ctx, o)
		if err != nil {
			return nil, err
		}
		a.ui.Say("%s: %s", o.Image.Name(), b.Sizes())
		baked = append(baked, b)
	}
	return baked, nil
}

// imagesOf are what the flags ask for.
func (a *app) imagesOf(c *cluster.Cluster, f imageFlags, formats []images.Format) ([]images.Image, error) {
	init, err := images.InitNamed(f.init)
	if err != nil {
		return nil, specError{err}
	}
	var all []images.Image
	for _, r := range f.roles {
		i, err := images.New(c, images.Role(r), f.arch)
		if err == nil {
			i, err = i.With(init, nil) // its own files are what no Butane may claim
		}
		if err != nil {
			return nil, specError{err}
		}
		configs, err := baseConfigs(c, i, f.butane)
		if err != nil {
			return nil, err
		}
		if i, err = i.With(init, configs); err != nil {
			return nil, specError{err}
		}
		for _, f := range formats {
			if err := i.Takes(f); err != nil {
				return nil, specError{err}
			}
		}
		all = append(all, i)
	}
	return all, nil
}

// baseConfigs are the operator's own, as Ignition reads them: they may claim nothing of what the image or a machine of
// its role has from us.
func baseConfigs(c *cluster.Cluster, i images.Image, files []string) ([][]byte, error) {
	if len(files) == 0 {
		return nil, nil
	}
	taken, err := render.Paths(c, i.Machines(c))
	if err != nil {
		return nil, err
	}
	snippets, err := cloudinit.ReadSnippets(files, slices.Concat(i.Paths(), taken))
	if err != nil {
		return nil, err
	}
	return snippets.Configs()
}

// rolesOf are those that the cluster has machines of.
func rolesOf(c *cluster.Cluster) []string {
	roles := []string{string(images.DB)}
	if len(c.Proxies) > 0 {
		roles = append(roles, string(images.Proxy))
	}
	return roles
}

func formatsNamed(names []string) ([]images.Format, error) {
	var formats []images.Format
	var known []string
	for _, f := range images.Formats {
		known = append(known, f.Name)
	}
	for _, name := range names {
		f, ok := images.FormatNamed(name)
		if !ok {
			return nil, fmt.Errorf("format %q is none\n      hint: %s", name, suggest.Hint(name, known))
		}
		formats = append(formats, f)
	}
	return formats, nil
}

// bakeOptions are what all the images have in common.
func (a *app) bakeOptions(ctx context.Context, c *cluster.Cluster, all []images.Image, f imageFlags, cache string) (o native.BakeOptions, err error) {
	o.Runner, o.UI, o.Out, o.Version, o.Force, o.Offline = a.runner(), a.ui, filepath.Join(a.out, "images"), version, f.force, f.offline
	o.Cache = cache
	if o.Lock, err = a.lockFor(ctx, c, all, f, o.Cache); err != nil {
		return o, err
	}
	if o.Debs, err = a.keptDebs(ctx, f.arch, o.Cache); err != nil {
		return o, err
	}
	key := f.key
	if key == "" {
		key = filepath.Join(a.secretsDir(), "repository.key")
		if _, err := os.Stat(key); os.IsNotExist(err) {
			return o, nil
		}
	}
	k, err := packages.ReadKey(key)
	if err != nil {
		return o, err
	}
	o.Sign = k.Detached
	return o, nil
}

// current are the images when all of them are there as they should be, else nil.
func current(each []native.BakeOptions) ([]native.Baked, error) {
	var baked []native.Baked
	for _, o := range each {
		b, ok, err := native.Current(o)
		if err != nil || !ok {
			return nil, err
		}
		baked = append(baked, b)
	}
	for i, o := range each {
		o.UI.Say("%s: nothing has changed since it was baked, %s", o.Image.Name(), baked[i].Sizes())
	}
	return baked, nil
}
