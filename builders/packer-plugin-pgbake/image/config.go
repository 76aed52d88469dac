//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config

package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/pgbake/pgbake/builders/native"
	"github.com/pgbake/pgbake/builders/packer-plugin-pgbake/option"
	"github.com/pgbake/pgbake/builders/provision"
	"github.com/pgbake/pgbake/cloudinit"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/render"
)

// Config is what a source "pgbake-image" says. The words are those of the flags of `pgbake image`.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	// The specification (default "cluster.yaml").
	Specification string `mapstructure:"specification"`
	// db, proxy, or all: both in one image.
	Role string `mapstructure:"role" required:"true"`
	// What the files are: see images.Formats (default qcow2).
	Formats []string `mapstructure:"formats"`
	// amd64 or arm64 (default: this host's).
	Arch string `mapstructure:"arch"`
	// The directory of pgbake's own packages, as `pgbake package` wrote them (default: "dist" beside the specification).
	Packages string `mapstructure:"packages"`
	// Gets a directory of the image's name (default "dist/images").
	OutputDirectory string `mapstructure:"output_directory"`
	// The lock (default "pgbake.lock" beside the specification).
	LockFile string `mapstructure:"lock_file"`
	// Refuse to bake without a lock.
	Locked bool `mapstructure:"locked"`
	// No network at all: what is not in the cache is an error.
	Offline bool `mapstructure:"offline"`
	// What applies the seed: cloud-init (default) or ignition.
	Init string `mapstructure:"init"`
	// Files of Butane to bake into an ignition image.
	Butane []string `mapstructure:"butane"`

	ctx interpolate.Context
}

// ConfigSpec implements packer.HCL2Speccer.
func (b *Builder) ConfigSpec() hcldec.ObjectSpec { return b.config.FlatMapstructure().HCL2Spec() }

// inputs is what a configuration comes to.
type inputs struct {
	cluster *cluster.Cluster
	image   images.Image
	formats []images.Format
	debs    []string
}

// check fills in defaults and reads everything that the configuration names. All complaints come at once.
func (c *Config) check() (in inputs, err error) {
	var problems []error
	add := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	in.cluster, err = option.Specification(&c.Specification)
	add(err)
	in.image, err = option.Image(in.cluster, c.Role, &c.Arch)
	add(err)
	if len(c.Formats) == 0 {
		c.Formats = []string{"qcow2"}
	}
	in.formats, err = option.Formats(c.Formats)
	add(err)
	if c.Init == "" {
		c.Init = string(images.CloudInit)
	}
	init, err := images.InitNamed(c.Init)
	add(err)
	beside := filepath.Dir(c.Specification)
	if c.Packages == "" {
		c.Packages = filepath.Join(beside, "dist")
	}
	if c.OutputDirectory == "" {
		c.OutputDirectory = filepath.Join("dist", "images")
	}
	if c.LockFile == "" {
		c.LockFile = filepath.Join(beside, native.LockName)
	}
	if c.Locked || c.Offline {
		if _, err := os.Stat(c.LockFile); err != nil {
			add(fmt.Errorf("lock_file: %w\n      hint: locked and offline forbid to make one: pgbake lock", err))
		}
	}
	if len(problems) == 0 {
		in.image, err = in.with(init, c.Butane)
		add(err)
		if in.debs, err = provision.Debs(c.Packages, in.image); err != nil {
			add(fmt.Errorf("packages: %w", err))
		}
	}
	return in, errors.Join(problems...)
}

// with is the image with its init, and with what the operator's Butane adds to it.
func (in inputs) with(init images.Init, files []string) (images.Image, error) {
	i, err := in.image.With(init, nil)
	if err != nil {
		return i, err
	}
	taken, err := render.Paths(in.cluster, i.Machines(in.cluster))
	if err != nil {
		return i, err
	}
	snippets, err := cloudinit.ReadSnippets(files, slices.Concat(i.Paths(), taken))
	if err != nil {
		return i, fmt.Errorf("butane:\n%w", err)
	}
	configs, err := snippets.Configs()
	if err != nil {
		return i, err
	}
	for _, f := range in.formats {
		if err := i.Takes(f); err != nil {
			return i, err
		}
	}
	return i.With(init, configs)
}
