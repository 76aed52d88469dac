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
)

// Config is what a data "pgbake-seed" says.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	// The specification (default "cluster.yaml").
	Specification string `mapstructure:"specification"`
	// The directory that `pgbake seed -o` wrote to (default "dist").
	Output string `mapstructure:"output"`
	// The machine's name in the specification.
	Machine string `mapstructure:"machine" required:"true"`

	ctx interpolate.Context
}

// Output is what templates get.
type Output struct {
	// cloud-init's user-data: it holds the machine's secrets.
	UserData string `mapstructure:"user_data"`
	// NoCloud's meta-data.
	MetaData string `mapstructure:"meta_data"`
	// NoCloud's network-config, version 2.
	NetworkConfig string `mapstructure:"network_config"`
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
	folder := filepath.Join(d.config.Output, "seeds", d.config.Machine)
	if _, err := os.Stat(folder); err != nil {
		return cty.NilVal, fmt.Errorf("read the seed of %s: %w\n      hint: pgbake -f %s -o %s seed", d.config.Machine, err, d.config.Specification, d.config.Output)
	}
	read := func(name string) (string, error) {
		body, err := os.ReadFile(filepath.Join(folder, name))
		return string(body), err
	}
	var o Output
	var errs [3]error
	o.UserData, errs[0] = read("user-data")
	o.MetaData, errs[1] = read("meta-data")
	o.NetworkConfig, errs[2] = read("network-config")
	if err := errors.Join(errs[:]...); err != nil {
		return cty.NilVal, fmt.Errorf("read the seed of %s: %w", d.config.Machine, err)
	}
	o.ISO = folder + ".iso"
	return hcl2helper.HCL2ValueFromConfig(o, d.OutputSpec()), nil
}
