// Package packer writes templates for Packer: one for each target, from cluster.yaml.
//
// In come a specification and what Packer is to build on; out come files: HCL2 as `packer fmt` leaves it and, for a Packer
// without pgbake's plugin, the scripts that its own provisioners upload and run. It builds nothing, and runs no Packer.
package packer

import (
	"bytes"
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"text/template"

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
}

// Targets are all of them, in the order in which they are offered.
var Targets = []Target{
	// name          for                                                       plugin                              version
	{"pgbake-image", "pgbake's own builder: no machine, no cloud, no root", "github.com/pgbake/pgbake", pluginVersion},
	{"amazon-ebs", "AWS: an AMI", "github.com/hashicorp/amazon", "~> 1.2"},
	{"azure-arm", "Azure: a managed image", "github.com/hashicorp/azure", "~> 2.0"},
	{"googlecompute", "Google Cloud: an image", "github.com/hashicorp/googlecompute", "~> 1.1"},
	{"proxmox-clone", "Proxmox VE: a template, from another one", "github.com/hashicorp/proxmox", "~> 1.2"},
	{"qemu", "QEMU: a qcow2, from Debian's cloud image", "github.com/hashicorp/qemu", "~> 1.1"},
	{"vsphere-clone", "VMware vCenter: a template, from another one", "github.com/hashicorp/vsphere", "~> 1.4"},
}

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
	hint := "one of " + strings.Join(known, ", ")
	if near := suggest.Nearest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return Target{}, fmt.Errorf("target %q is none\n      hint: %s", name, hint)
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

// Name is the template's in a target's folder. Packer reads all templates of a folder as one.
const Name = "pgbake.pkr.hcl"

// Uploads is the folder in a target's folder that a template without the plugin uploads. The packages belong there, too.
const Uploads = "files"

// BuildSeed is the folder with the seed of a machine that is being built, and BuildKey the file of its private key.
const (
	BuildSeed = "build-seed"
	BuildKey  = "build.key"
)

//go:embed target/*.tmpl
var templates embed.FS

// Files are the target's: paths begin with its name.
func Files(c *cluster.Cluster, t Target, o Options) ([]rootfs.File, error) {
	if t.Native() && !o.Plugin {
		return nil, fmt.Errorf("target %q is a part of pgbake's plugin\n      hint: `pgbake image` bakes the same without Packer", t.Name)
	}
	d := data{Options: o, c: c, Target: t}
	body, err := d.execute(t.Name + ".pkr.hcl")
	if err != nil {
		return nil, err
	}
	files := []rootfs.File{text(path.Join(t.Name, Name), string(body))}
	if t.Name == "qemu" {
		files = append(files, buildSeed(o.BuildKey)...)
	}
	if !o.Plugin {
		scripts, err := uploads(c, t, o)
		if err != nil {
			return nil, err
		}
		files = append(files, scripts...)
	}
	return files, nil
}

func text(name, body string) rootfs.File {
	return rootfs.File{Path: name, Mode: 0o644, Body: []byte(body)}
}

// buildSeed is what makes a machine of Debian's cloud image reachable while it is being built.
func buildSeed(key string) []rootfs.File {
	return []rootfs.File{
		text(path.Join("qemu", BuildSeed, "meta-data"), "instance-id: pgbake-build\nlocal-hostname: pgbake-build\n"),
		text(path.Join("qemu", BuildSeed, "user-data"), fmt.Sprintf(`#cloud-config
# Written by pgbake packer: for the machine that Packer builds on, not for one of the cluster.
users: [default]
ssh_authorized_keys:
  - %s
`, key)),
	}
}

// data is what the templates see.
type data struct {
	Options
	Target Target
	c      *cluster.Cluster
}

func (d data) execute(name string) ([]byte, error) {
	t, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{"quote": hcltext.Quote}).ParseFS(templates, "target/*.tmpl")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name+".tmpl", d); err != nil {
		return nil, err
	}
	return hcltext.Format(Name, b.Bytes())
}

// Debian is the release's number, Codename its name.
func (d data) Debian() int      { return int(d.c.Debian) }
func (d data) Codename() string { return d.c.Debian.Codename() }

// Source and Version are the plugin's that has the builder; empty where it is pgbake's.
func (d data) Source() string  { return d.Target.plugin }
func (d data) Version() string { return d.Target.version }

// PluginName is the builder's plugin by its last name.
func (d data) PluginName() string { return path.Base(d.Target.plugin) }

// PluginSource and PluginVersion are pgbake's plugin.
func (data) PluginSource() string  { return pluginSource }
func (data) PluginVersion() string { return pluginVersion }

// Native tells that pgbake's builder is the target: there is no machine to provision.
func (d data) Native() bool { return d.Target.Native() }

// ARM tells machines of arm64 from those of amd64, where clouds have other names for them.
func (d data) ARM() bool { return d.Arch == "arm64" }

// Image is the name of a role's image.
func (d data) Image(r images.Role) string {
	return images.Image{Role: r, Release: d.c.Debian, Arch: d.Arch}.Name()
}

// First is a role as an example.
func (d data) First() images.Role { return d.Roles[0] }

// Label is the cluster's name as clouds allow one in a label: small letters, digits and "-".
func (d data) Label() string {
	label := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(d.c.Scope))
	return label[:min(len(label), 63)]
}

// RoleNames are the roles as a list for people.
func (d data) RoleNames() string {
	var names []string
	for _, r := range slices.Sorted(slices.Values(d.Roles)) {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}
