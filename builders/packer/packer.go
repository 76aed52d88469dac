// Package packer writes templates for Packer: one for each target, from cluster.yaml.
//
// In come a specification and what Packer is to build on; out come files: HCL2 as `packer fmt` leaves it and, for a Packer
// without pgbake's plugin, the scripts that its own provisioners upload and run. It builds nothing, and runs no Packer.
package packer

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/pgbake/pgbake/builders/provision"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/hcltext"
	"github.com/pgbake/pgbake/internal/suggest"
	"github.com/pgbake/pgbake/rootfs"
)

// Target is one thing that Packer builds on.
type Target struct {
	// Name is the builder's, in its plugin's own words.
	Name string
	// For says who wants it.
	For string
	// plugin is where Packer finds the builder, version the versions of it that the template was written for.
	plugin, version string
	// archs are the architectures of machines that it was written for.
	archs []string
}

// Targets are all of them, in the order in which they are offered.
var Targets = []Target{
	// name, for, plugin, version, architectures
	{"pgbake-image", "pgbake's own builder: no machine, no cloud, no root", pluginSource, pluginVersion, both},
	{"amazon-ebs", "AWS: an AMI", "github.com/hashicorp/amazon", "~> 1.2, >= 1.2.2", both},
	{"azure-arm", "Azure: a managed image", "github.com/hashicorp/azure", "~> 2.0", both},
	{"googlecompute", "Google Cloud: an image", "github.com/hashicorp/googlecompute", "~> 1.1", both},
	{"proxmox-clone", "Proxmox VE: a template, from another one", "github.com/hashicorp/proxmox", "~> 1.2", amd64},
	{"qemu", "QEMU: a qcow2, from Debian's cloud image", "github.com/hashicorp/qemu", "~> 1.1", amd64},
	{"vsphere-clone", "VMware vCenter: a template, from another one", "github.com/hashicorp/vsphere", "~> 1.4", amd64},
}

var (
	amd64 = []string{"amd64"}
	both  = []string{"amd64", "arm64"}
)

const (
	native        = "pgbake-image"
	pluginSource  = "github.com/pgbake/pgbake"
	pluginVersion = ">= 0.1.0"
)

// TargetNamed returns the target of a name. The error says which one was probably meant.
func TargetNamed(name string) (Target, error) {
	var known []string
	for _, t := range Targets {
		if t.Name == name {
			return t, nil
		}
		known = append(known, t.Name)
	}
	return Target{}, fmt.Errorf("target %q is none\n      hint: %s", name, suggest.Hint(name, known))
}

// Native tells whether the target is pgbake's own builder, which is part of its plugin.
func (t Target) Native() bool { return t.Name == native }

// Options are what a template is written for.
type Options struct {
	// Roles are the images', each a build of its own: packer build -only='db.*'.
	Roles []images.Role
	// Arch is Debian's word: amd64 or arm64.
	Arch string
	// Specification and Out are paths as Packer is to find them from where it is started: cluster.yaml, and the folder
	// where `pgbake package` puts its packages.
	Specification, Out string
	// Plugin has pgbake's plugin do the work; else it is done by Packer's own provisioners.
	Plugin bool
	// BuildKey is the public key of those who may log in to a machine while it is being built, where the template gives
	// it one: authorized_keys' own form.
	BuildKey string
}

// A target's folder holds its template, and apart from it which plugins Packer needs: Packer reads both as one, and one
// from before it had plugins (1.6) takes the template alone.
const (
	Name        = "pgbake.pkr.hcl"
	PluginsName = "plugins.pkr.hcl"
)

// Uploads is what a template without the plugin uploads for a role, in the target's folder: the script, and beside it the
// role's packages, which are not among Files.
func Uploads(r images.Role) string { return path.Join("files", string(r)) }

// NeedsKey tells whether the template logs in by a key of its own: BuildKey in the target's folder, private.
func (t Target) NeedsKey() bool { return t.Name == "qemu" }

// BuildKey is the file of the private key whose public half is Options.BuildKey.
const BuildKey = "build.key"

// buildSeedDir is the folder with the seed of a machine that is being built.
const buildSeedDir = "build-seed"

// Check tells why there is no template for the target.
func (t Target) Check(o Options) error {
	if t.Native() && !o.Plugin {
		return fmt.Errorf("target %q is part of pgbake's plugin\n      hint: `pgbake image` bakes the same without Packer", t.Name)
	}
	if !slices.Contains(t.archs, o.Arch) {
		return fmt.Errorf("target %q has no machines of %s\n      hint: `pgbake image --arch %[2]s` bakes disks of it", t.Name, o.Arch)
	}
	return nil
}

// Files are the target's: paths begin with its name.
func Files(c *cluster.Cluster, t Target, o Options) ([]rootfs.File, error) {
	if err := t.Check(o); err != nil {
		return nil, err
	}
	if strings.ContainsFunc(o.Specification+o.Out, unicode.IsControl) {
		return nil, fmt.Errorf("write a template for %s: %q or %q is no path for a comment", t.Name, o.Specification, o.Out)
	}
	var files []rootfs.File
	for name, from := range map[string]string{Name: t.Name, PluginsName: "plugins"} {
		body, err := hcltext.Execute(templates, "target/*.tmpl", from+".pkr.hcl.tmpl", name, data{Options: o, c: c, Target: t})
		if err != nil {
			return nil, err
		}
		files = append(files, text(path.Join(t.Name, name), body))
	}
	if t.NeedsKey() {
		files = append(files, buildSeed(t, o.BuildKey)...)
	}
	if !o.Plugin {
		for _, r := range o.Roles {
			i, err := images.New(c, r, o.Arch)
			if err != nil {
				return nil, err
			}
			script, err := provision.Script(provision.Options{Cluster: c, Image: i})
			if err != nil {
				return nil, err
			}
			files = append(files, text(path.Join(t.Name, Uploads(r), provision.ScriptName), script))
		}
	}
	slices.SortFunc(files, func(a, b rootfs.File) int { return strings.Compare(a.Path, b.Path) })
	return files, nil
}

func text[T string | []byte](name string, body T) rootfs.File {
	return rootfs.File{Path: name, Mode: 0o644, Body: []byte(body)}
}

// buildSeed is what makes a machine of Debian's cloud image reachable while it is being built.
func buildSeed(t Target, key string) []rootfs.File {
	return []rootfs.File{
		text(path.Join(t.Name, buildSeedDir, "meta-data"), "instance-id: pgbake-build\nlocal-hostname: pgbake-build\n"),
		text(path.Join(t.Name, buildSeedDir, "user-data"), fmt.Sprintf(`#cloud-config
# Written by pgbake packer: for the machine that Packer builds on, not for one of the cluster.
users: [default]
ssh_authorized_keys:
  - %s
`, key)),
	}
}
