package provision

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/deb822"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/rootfs"
)

// main is the part of the script that is the same for everybody.
//
//go:embed main.sh
var mainScript string

// end is the word that ends a here-document: no line of a body is it.
const end = "END-OF-FILE"

// Script is the script's text. The same options give the same bytes.
func Script(o Options) ([]byte, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("provision a %s machine: %w", o.Image.Role, err)
	}
	i := o.Image
	var b strings.Builder
	fmt.Fprintf(&b, `#!/bin/sh
# Written by pgbake. Makes this machine, a Debian %d for %s, the image of role %s. Run it as root, in a directory that
# also holds pgbake's packages unless they come from a repository.
set -eu

`, i.Release, i.Arch, i.Role)
	for _, v := range [][2]string{
		{"release", fmt.Sprint(int(i.Release))}, {"codename", i.Release.Codename()}, {"arch", i.Arch}, {"role", string(i.Role)},
		{"packages", strings.Join(wanted(i), " ")}, {"own", strings.Join(i.PGHA(), " ")}, {"repository", o.Repository},
		{"pgdg", yes(fromPGDG(o))}, {"cleans", yes(!o.Unclean)},
	} {
		fmt.Fprintf(&b, "%s=%s\n", v[0], run.Line([]string{v[1]}))
	}
	function(&b, "sources", "apt's sources that the machine has not, and keeps", puts("put", sources(o)))
	function(&b, "installing", "what is there while packages are installed", puts("hold", images.Installing()))
	function(&b, "settings", "files of every machine", puts("put", images.Everywhere()))
	function(&b, "networkd", "the network where nothing else configures it", systemctl(images.Networkd))
	function(&b, "quiet", "what runs by itself and should not", systemctl(images.Quiet))
	function(&b, "left", "what no image has", "\tcat <<'"+end+"'\n"+leavings()+end+"\n")
	b.WriteString(mainScript)
	return []byte(b.String()), nil
}

// wanted are Debian's packages: an image's, without the kernel, which a machine that runs has.
func wanted(i images.Image) []string {
	all := slices.DeleteFunc(i.Base(), func(p string) bool { return slices.Contains(i.Kernel(), p) })
	return append(all, i.Packages()...)
}

// fromPGDG tells whether PostgreSQL comes from PGDG itself, whose address and key Debian's postgresql-common has.
func fromPGDG(o Options) bool {
	p := o.Cluster.Postgres
	return o.Image.Role != images.Proxy && p.Source == cluster.SourcePGDG && p.Mirror.URL == ""
}

// sources are apt's, with their keys, under the names that a seed for stock machines gives them.
func sources(o Options) []rootfs.File {
	var files []rootfs.File
	add := func(name, uri, suite, key string) {
		keyPath := "/etc/apt/keyrings/" + name + ".asc"
		files = append(files,
			rootfs.File{Path: keyPath, Mode: 0o644, Body: []byte(strings.TrimRight(key, "\n") + "\n")},
			rootfs.File{Path: "/etc/apt/sources.list.d/" + name + ".sources", Mode: 0o644,
				Body: []byte("# Written by pgbake into the image.\n" + deb822.Source(uri, suite, keyPath))})
	}
	if o.Repository != "" {
		add("pgbake", o.Repository, "stable", o.Key)
	}
	if p := o.Cluster.Postgres; p.Mirror.URL != "" && o.Image.Role != images.Proxy {
		add("pgbake-postgres", p.Mirror.URL, o.Cluster.PostgresSuite(), p.Mirror.Key)
	}
	return files
}

func leavings() string {
	var b strings.Builder
	for _, l := range images.Left() {
		kind, path := "path", l.Path
		switch {
		case l.Directories:
			kind = "files"
		case strings.HasSuffix(path, "/"):
			kind = "below"
		}
		fmt.Fprintf(&b, "%s %s\n", kind, path)
	}
	return b.String()
}

// puts lays files by the script's function how.
func puts(how string, files []rootfs.File) string {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "\t%s %s %o <<'%s'\n%s%s\n", how, f.Path, f.Mode.Perm(), end, f.Body, end)
	}
	return b.String()
}

func systemctl(units [][]string) string {
	var b strings.Builder
	for _, u := range units {
		fmt.Fprintf(&b, "\tsystemctl --quiet %s\n", strings.Join(u, " "))
	}
	return b.String()
}

// function writes one of the script's; an empty body is none to sh.
func function(b *strings.Builder, name, what, body string) {
	if body == "" {
		body = "\t:\n"
	}
	fmt.Fprintf(b, "\n# %s\n%s() {\n%s}\n", what, name, body)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
