package packer

import (
	"embed"
	"path"
	"strings"

	"github.com/pgbake/pgbake/builders/provision"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/run"
)

//go:embed target/*.tmpl
var templates embed.FS

// data is what the templates see.
type data struct {
	Options
	Target Target
	c      *cluster.Cluster
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

// Folder is the target's as a shell wants it, Packages the folder of pgbake's packages.
func (d data) Folder() string   { return run.Line([]string{path.Join(d.Out, "packer", d.Target.Name)}) }
func (d data) Packages() string { return run.Line([]string{d.Out}) }

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

// onMachine is where a machine that is being built gets what is uploaded.
const onMachine = "/tmp/pgbake"

// OnMachine is that folder, Provision the command that works there.
func (data) OnMachine() string { return onMachine }
func (data) Provision() string { return provision.Command(onMachine) }

// Uploads is the folder of what is uploaded for a role.
func (data) Uploads(r images.Role) string { return Uploads(r) }

// For is what the template of one role's build sees.
func (d data) For(r images.Role) any {
	return struct {
		Data data
		Role images.Role
	}{d, r}
}

// RoleNames are the roles as a list for people.
func (d data) RoleNames() string {
	var names []string
	for _, r := range d.Roles {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}
