//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,Output

// Package seed is the data source pgbake-seed: the seed of one machine, for sources that take user-data.
//
// It reads what `pgbake seed` wrote, and writes nothing: certificates and passwords are not made by `packer validate`.
// A seed is a secret; Packer's own log has none of its values.
package seed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/hcl2helper"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"
	"github.com/zclconf/go-cty/cty"

	"github.com/pgbake/pgbake/builders/packer-plugin-pgbake/option"
	"github.com/pgbake/pgbake/cloudinit"
	"github.com/pgbake/pgbake/images"
)

// Config is what a data "pgbake-seed" says.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	// The specification (default "cluster.yaml").
	Specification string `mapstructure:"specification"`
	// The directory that `pgbake seed -o` wrote to (default "dist").
	Output string `mapstructure:"output"`
	// Which of `pgbake seed --format`: cloud-init (default) or ignition.
	Format string `mapstructure:"format"`
	// The machine's name in the specification.
	Machine string `mapstructure:"machine" required:"true"`

	ctx interpolate.Context
}

// Output is what templates get. What is not of the format is empty.
type Output struct {
	// cloud-init's user-data, as text: it holds the machine's secrets.
	UserData string `mapstructure:"user_data"`
	// NoCloud's meta-data.
	MetaData string `mapstructure:"meta_data"`
	// NoCloud's network-config, version 2.
	NetworkConfig string `mapstructure:"network_config"`
	// Ignition's configuration, version 3.3.0: it holds the machine's secrets.
	Ignition string `mapstructure:"ignition"`
	// The path of the same as an ISO, to be attached as a disk.
	ISO string `mapstructure:"iso"`
}

// Datasource is Packer's.
type Datasource struct{ config Config }

// ConfigSpec implements packer.HCL2Speccer.
func (d *Datasource) ConfigSpec() hcldec.ObjectSpec { return d.config.FlatMapstructure().HCL2Spec() }

// OutputSpec implements packer.Datasource.
func (d *Datasource) OutputSpec() hcldec.ObjectSpec { return (&Output{}).FlatMapstructure().HCL2Spec() }

// Configure implements packer.Datasource.
func (d *Datasource) Configure(raws ...any) error {
	d.config = Config{}
	c := &d.config
	if err := option.Decode(c, &c.ctx, option.Keys(d.ConfigSpec()), raws...); err != nil {
		return err
	}
	if c.Output == "" {
		c.Output = "dist"
	}
	if c.Format == "" {
		c.Format = string(images.CloudInit)
	}
	if _, err := images.InitNamed(c.Format); err != nil {
		return fmt.Errorf("format: %w", err)
	}
	k, err := option.Specification(&c.Specification)
	if err != nil {
		return err
	}
	var names []string
	for _, m := range k.Machines() {
		if m.Name == c.Machine {
			return nil
		}
		names = append(names, m.Name)
	}
	return fmt.Errorf("machine: %q is none of %s%s", c.Machine, c.Specification, option.Hint(c.Machine, names))
}

// Execute implements packer.Datasource.
func (d *Datasource) Execute() (cty.Value, error) {
	at := filepath.Join(d.config.Output, "seeds", d.config.Machine)
	var o Output
	var err error
	read := func(into *string, path string) {
		body, readErr := os.ReadFile(path)
		if errors.Is(readErr, os.ErrNotExist) {
			readErr = fmt.Errorf("read the seed of %s: %w\n      hint: pgbake -f %s -o %s seed --format %s",
				d.config.Machine, readErr, d.config.Specification, d.config.Output, d.config.Format)
		}
		*into, err = string(body), errors.Join(err, readErr)
	}
	if d.config.Format == string(images.Ignition) {
		o.ISO = at + ".ign.iso"
		read(&o.Ignition, at+".ign")
	} else {
		o.ISO = at + ".iso"
		read(&o.UserData, filepath.Join(at, "user-data"))
		// A value of Packer's is text.
		text, textErr := cloudinit.Text([]byte(o.UserData))
		o.UserData, err = string(text), errors.Join(err, textErr)
		read(&o.MetaData, filepath.Join(at, "meta-data"))
		read(&o.NetworkConfig, filepath.Join(at, "network-config"))
	}
	if err != nil {
		return cty.NilVal, err
	}
	return hcl2helper.HCL2ValueFromConfig(o, d.OutputSpec()), nil
}
