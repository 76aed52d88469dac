package cloudinit

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_3/types"
	vpath "github.com/coreos/vcontext/path"

	"github.com/pgbake/pgbake/cluster"
)

// ours are directories below which no snippet may have anything: what the agent, the seed and the image keep there.
var ours = []string{cluster.SeedDir, "/var/lib/pgha", "/usr/lib/pgha", "/usr/local/lib/pgbake", "/var/lib/pgbake"}

// ourFiles are paths that seeds, images and packages have for themselves.
var ourFiles = []string{
	hostnamePath, networkPath, sudoersPath, sshPath, pgbakeSources, pgbakeKey, postgresSources, postgresKey,
	"/etc/.ignition-result.json", "/etc/selinux/config", "/etc/machine-id",
	"/etc/apt/apt.conf.d/52pgbake", "/etc/needrestart/conf.d/50-pgbake.conf",
}

// ourUnits are those that pgha starts and stops; a drop-in to them is the administrator's right.
var ourUnits = []string{"patroni.service", "etcd.service", "haproxy.service", "keepalived.service"}

// refused are the snippet's claims to what is not its own, and what a machine of ours cannot do for it. owners are paths
// with whoever has them: pgbake, or a snippet's place, from which on the snippet's own are among them.
func (s Snippet) refused(owners map[string]string) cluster.Problems {
	var all cluster.Problems
	refuse := func(message string, at ...any) { all = append(all, s.at(message, at...)) }
	c := s.config
	if len(c.KernelArguments.ShouldExist)+len(c.KernelArguments.ShouldNotExist) > 0 {
		refuse("a pgbake image does not let Ignition change the kernel's arguments", "kernel_arguments")
	}
	if c.Ignition.Config.Replace.Source != nil {
		refuse("it would replace the whole seed", "ignition", "config", "replace")
	}
	for _, r := range remotes(c) {
		refuse("a machine has no network yet when Ignition runs: contents: {local: FILE} or inline takes it along", r...)
	}
	for _, n := range nodesOf(c) {
		at := []any{"storage", n.kind, n.index, "path"}
		if owner := ownerOf(owners, n.path, n.kind != "directories"); owner != "" {
			message := owner + " writes " + n.path
			if owner != "pgbake" {
				message = n.path + " is also in " + owner
			}
			refuse(message, at...)
			continue
		}
		p := s.at("", at...)
		owners[n.path] = fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
	for i, u := range c.Systemd.Units {
		if (slices.Contains(ourUnits, u.Name) || strings.HasPrefix(u.Name, "pgha-") || strings.HasPrefix(u.Name, "pgbake-")) &&
			(u.Contents != nil || u.Enabled != nil || u.Mask != nil) {
			refuse(u.Name+" is pgbake's: only dropins may be added", "systemd", "units", i, "name")
		}
	}
	for i, u := range c.Passwd.Users {
		if u.Name == admin.Name && !onlyAdds(u) {
			refuse("the user "+u.Name+" is pgbake's: only ssh_authorized_keys and groups may be added", "passwd", "users", i, "name")
		}
	}
	return all
}

// at is a complaint at a place: that of the innermost key of the path that is there.
func (s Snippet) at(message string, place ...any) cluster.Problem {
	p := cluster.Problem{File: s.Name, Path: yamlPath(place), Message: message}
	r := report{}
	r.AddOnError(vpath.New("yaml", place...), fmt.Errorf("%s", message))
	r.Correlate(s.places)
	if start := r.Entries[0].Marker.StartP; start != nil {
		p.Line, p.Column = int(start.Line), int(start.Column)
	}
	return p
}

// node is a path that a snippet claims. index is its place in the source, too: what Butane makes of trees comes after.
type node struct {
	kind  string
	index int
	path  string
}

func nodesOf(c types.Config) []node {
	var all []node
	for i, f := range c.Storage.Files {
		all = append(all, node{"files", i, f.Path})
	}
	for i, l := range c.Storage.Links {
		all = append(all, node{"links", i, l.Path})
	}
	for i, d := range c.Storage.Directories {
		all = append(all, node{"directories", i, d.Path})
	}
	return all
}

// ownerOf is who has a path, or what lies below it where that would be in the way; "" when nobody does.
func ownerOf(owners map[string]string, p string, inTheWay bool) string {
	p = path.Clean(p)
	below := func(child, parent string) bool { return strings.HasPrefix(child, parent+"/") }
	for _, dir := range ours {
		if p == dir || below(p, dir) || inTheWay && below(dir, p) {
			return "pgbake"
		}
	}
	if owner := owners[p]; owner != "" {
		return owner
	}
	for _, file := range ourFiles {
		if p == file || inTheWay && below(file, p) {
			return "pgbake"
		}
	}
	if inTheWay {
		for other, owner := range owners {
			if owner == "pgbake" && below(other, p) {
				return owner
			}
		}
	}
	return ""
}

// onlyAdds tells whether a user's entry has but keys and groups beside its name.
func onlyAdds(u types.PasswdUser) bool {
	return u.Gecos == nil && u.HomeDir == nil && u.NoCreateHome == nil && u.NoLogInit == nil && u.NoUserGroup == nil &&
		u.PasswordHash == nil && u.PrimaryGroup == nil && u.ShouldExist == nil && u.Shell == nil && u.System == nil && u.UID == nil
}

// remotes are the places of what would be fetched over a network.
func remotes(c types.Config) [][]any {
	var all [][]any
	check := func(r types.Resource, at ...any) {
		if r.Source != nil && *r.Source != "" && !strings.HasPrefix(*r.Source, "data:") {
			all = append(all, append(at, "source"))
		}
	}
	for i, r := range c.Ignition.Config.Merge {
		check(r, "ignition", "config", "merge", i)
	}
	for i, r := range c.Ignition.Security.TLS.CertificateAuthorities {
		check(r, "ignition", "security", "tls", "certificate_authorities", i)
	}
	for i, f := range c.Storage.Files {
		check(f.Contents, "storage", "files", i, "contents")
		for j, r := range f.Append {
			check(r, "storage", "files", i, "append", j)
		}
	}
	for i, l := range c.Storage.Luks {
		check(l.KeyFile, "storage", "luks", i, "key_file")
	}
	return all
}
