// Package terraform writes the machines of a cluster as a configuration for Terraform and OpenTofu.
//
// In come a specification and where the machines are to stand; out come files: HCL as `terraform fmt` leaves it, and how
// to use it. They upload images and seeds and make the machines. It runs nothing, and no secret is in what it writes.
package terraform

import (
	"embed"
	"fmt"
	"path"
	"slices"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/hcltext"
	"github.com/pgbake/pgbake/internal/suggest"
	"github.com/pgbake/pgbake/rootfs"
)

// Target is one thing that machines stand on.
type Target struct{ Name, For string }

// Targets are all of them, in the order in which they are offered.
var Targets = []Target{
	// name      for
	{"libvirt", "libvirt on one host, by dmacvicar/libvirt"},
	{"proxmox", "Proxmox VE, one host or several, by bpg/proxmox"},
}

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

//go:embed target
var templates embed.FS

// names are the files of every target.
var names = []string{"main.tf", "outputs.tf", "README.md", "variables.tf"}

// Files are the target's. Images and seeds are looked for in the folders that are two above theirs: below pgbake's -o.
func Files(c *cluster.Cluster, t Target) ([]rootfs.File, error) {
	d := data{c, t}
	if _, err := d.disks(); err != nil {
		return nil, err
	}
	var files []rootfs.File
	for _, name := range names {
		body, err := d.execute(name)
		if err != nil {
			return nil, err
		}
		files = append(files, rootfs.File{Path: name, Mode: 0o644, Body: body})
	}
	return files, nil
}

// data is what the templates see.
type data struct {
	*cluster.Cluster
	Target Target
}

// Arch is the machines' architecture: what both targets' own machines are.
func (data) Arch() string { return "amd64" }

// execute makes a file of the target's own template, else of the one for all.
func (d data) execute(name string) ([]byte, error) {
	from := path.Join("target", d.Target.Name, name+".tmpl")
	if _, err := templates.Open(from); err != nil {
		from = path.Join("target", name+".tmpl")
	}
	return hcltext.Execute(templates, from, path.Base(from), name, d)
}

// Image is the name of the image that a machine of the role boots from.
func (d data) Image(r cluster.Role) (string, error) {
	i, err := images.New(d.Cluster, images.Role(r), d.Arch())
	return i.Name(), err
}

// HasData tells whether databases have a disk of their own.
func (d data) HasData() bool { return d.Storage.DataDisk != "" }

// disks are a database machine's disks behind its root, which is /dev/vda, in the order of their names.
func (d data) disks() ([]string, error) {
	switch d.Storage.DataDisk {
	case "":
		return []string{"seed"}, nil
	case "/dev/vdb":
		return []string{"data", "seed"}, nil
	case "/dev/vdc", cluster.AnyDisk:
		return []string{"seed", "data"}, nil
	}
	return nil, fmt.Errorf("write machines for %s: storage.data_disk is %s\n      hint: auto; with virtio disks also /dev/vdb or /dev/vdc: behind the root, or behind the seed",
		d.Target.Name, d.Storage.DataDisk)
}

// Seed and Data are the places of a database machine's disks: 1 is behind the root.
func (d data) Seed() (int, error) { return d.place("seed") }
func (d data) Data() (int, error) { return d.place("data") }

func (d data) place(what string) (int, error) {
	disks, err := d.disks()
	return slices.Index(disks, what) + 1, err
}

// Entry are the addresses that applications connect to.
func (d data) Entry() []string {
	var all []string
	for _, e := range d.Entries() {
		all = append(all, e.String())
	}
	return all
}
