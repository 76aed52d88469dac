//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config

// Package provisioner is the provisioner pgbake: it makes an image of a role of whatever Debian machine a source has booted.
//
// In come a specification, a role and pgbake's own packages, or the address of their repository; the machine becomes
// the image by the script of package provision, through Packer's communicator. What it uploads it removes.
package provisioner

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/pgbake/pgbake/builders/packer-plugin-pgbake/option"
	"github.com/pgbake/pgbake/builders/provision"
)

// Config is what a provisioner "pgbake" says.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	// The specification (default "cluster.yaml").
	Specification string `mapstructure:"specification"`
	// db, proxy, or all: both in one image.
	Role string `mapstructure:"role" required:"true"`
	// The machine's: amd64 or arm64 (default: this host's).
	Arch string `mapstructure:"arch"`
	// The directory of pgbake's own packages, as `pgbake package` wrote them. Or:
	Packages string `mapstructure:"packages"`
	// the http address of their apt repository (default: packages.url of the specification), and
	Repository string `mapstructure:"repository"`
	// the text of its public key, pgbake.asc (default: packages.key of the specification).
	RepositoryKey string `mapstructure:"repository_key"`
	// Leave nothing on the machine that belongs to it alone (default true). The last provisioner does it.
	Clean config.Trilean `mapstructure:"clean"`
	// A directory of the machine, which must not be there yet (default "/tmp/pgbake-" and a random name).
	StagingDirectory string `mapstructure:"staging_directory"`

	ctx interpolate.Context
}

// Provisioner is Packer's.
type Provisioner struct {
	config Config
	work   work
}

var _ packer.Provisioner = &Provisioner{}

// ConfigSpec implements packer.HCL2Speccer.
func (p *Provisioner) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Prepare implements packer.Provisioner. All complaints come at once.
func (p *Provisioner) Prepare(raws ...any) error {
	p.config = Config{}
	c := &p.config
	if err := option.Decode(c, &c.ctx, option.Keys(p.ConfigSpec()), raws...); err != nil {
		return err
	}
	k, specErr := option.Specification(&c.Specification)
	i, imageErr := option.Image(k, c.Role, &c.Arch)
	var fromErr error
	switch {
	case c.Packages != "" && c.Repository != "":
		fromErr = errors.New("packages and repository: one of them, not both")
	case c.Packages == "" && c.Repository == "" && k != nil:
		c.Repository = k.Packages.URL
		if c.RepositoryKey == "" {
			c.RepositoryKey = k.Packages.Key
		}
		if c.Repository == "" {
			fromErr = errors.New("packages: neither packages nor repository is set\n      hint: packages = \"dist\", after: pgbake package")
		}
	case c.Packages != "" && c.RepositoryKey != "":
		fromErr = errors.New("repository_key: it is of no use without repository")
	}
	if err := errors.Join(specErr, imageErr, fromErr); err != nil {
		return err
	}
	p.work = work{dir: c.StagingDirectory}
	var err error
	if c.Packages != "" {
		if p.work.debs, err = provision.Debs(c.Packages, i); err != nil {
			return fmt.Errorf("packages: %w", err)
		}
	}
	p.work.script, err = provision.Script(provision.Options{
		Cluster: k, Image: i, Repository: c.Repository, Key: c.RepositoryKey, Unclean: c.Clean.False(),
	})
	return err
}

// Provision implements packer.Provisioner.
func (p *Provisioner) Provision(ctx context.Context, ui packer.Ui, comm packer.Communicator, _ map[string]any) error {
	ui.Sayf("Making this machine a %s image of %s", p.config.Role, p.config.Specification)
	return p.work.do(ctx, ui, comm)
}
