package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pgbake/pgbake/images"
)

// step is one run of a builder.
type step struct {
	name string
	// clear empties its caches before it; change gives it new packages of pgha.
	clear, change bool
	role          images.Role
	format        string // pgbake's; the peers write raw disks
}

// The steps' names, as they stand in the table.
const (
	cold      = "cold"
	nothing   = "nothing changed"
	pgha      = "pgha changed"
	pghaQcow2 = "pgha changed, qcow2"
	qcow2     = "also as qcow2"
	proxy     = "proxy after db"
	coldProxy = "cold proxy"
	dbAfter   = "db after proxy"
)

// builder is pgbake or one of its peers.
type builder struct {
	name string
	// version asks the program which one it is.
	version []string
	// steps are those that are measured in each round, in this order.
	steps []step
	// inside tells that it runs in the toolbox.
	inside bool
	// otherwise says for steps that are not measured what the builder does instead.
	otherwise map[string]string
	// bootsBy is how its disk starts.
	bootsBy string
}

var builders = []builder{
	{
		name: "pgbake", bootsBy: "BIOS and UEFI",
		steps: []step{
			{name: cold, clear: true, role: images.DB, format: "raw"},
			{name: nothing, role: images.DB, format: "raw"},
			{name: pgha, change: true, role: images.DB, format: "raw"},
			{name: qcow2, role: images.DB, format: "qcow2"},
			{name: pghaQcow2, change: true, role: images.DB, format: "qcow2"},
			{name: proxy, role: images.Proxy, format: "raw"},
			{name: coldProxy, clear: true, role: images.Proxy, format: "raw"},
			{name: dbAfter, role: images.DB, format: "raw"},
		},
	},
	{
		name: "plain", inside: true, bootsBy: "BIOS", version: []string{"mmdebstrap", "--version"},
		steps:     []step{{name: cold, clear: true, role: images.DB}},
		otherwise: map[string]string{nothing: "as cold", pgha: "as cold", proxy: "as cold"},
	},
	{
		name: "mkosi", inside: true, bootsBy: "UEFI", version: []string{"mkosi", "--version"},
		steps: []step{
			{name: cold, clear: true, role: images.DB},
			{name: pgha, change: true, role: images.DB},
		},
		otherwise: map[string]string{nothing: "as changed", proxy: "as cold"},
	},
	{
		name: "debos", inside: true, bootsBy: "BIOS", version: []string{"dpkg-query", "--show", "debos"},
		steps: []step{
			{name: cold, clear: true, role: images.DB},
			{name: pgha, change: true, role: images.DB},
			{name: proxy, role: images.Proxy},
		},
		otherwise: map[string]string{nothing: "as changed"},
	},
	{
		name: "vmdb2", inside: true, bootsBy: "BIOS", version: []string{"vmdb2", "--version"},
		steps: []step{
			{name: cold, clear: true, role: images.DB},
			{name: pgha, change: true, role: images.DB},
		},
		otherwise: map[string]string{nothing: "as changed", proxy: "as cold"},
	},
}

// toolbox is the root that the peers run in: test/setup.sh makes it.
func toolbox() string {
	if dir := os.Getenv("PEER_TOOLBOX"); dir != "" {
		return dir
	}
	return "/var/cache/pgbake-peers"
}

// command is a program in the toolbox, in a directory of the work.
func (w *work) command(dir string, args ...string) []string {
	enter, err := filepath.Abs("enter.sh")
	if err != nil {
		panic(err)
	}
	return append([]string{enter, toolbox(), w.dir, "sh", "-c", `cd "$0" && exec "$@"`, filepath.Join("/w", dir)}, args...)
}

// run makes a step of a builder; version is the one of pgha's packages.
func (w *work) run(ctx context.Context, p builder, s step, version int) (figures, error) {
	dir := w.path(p.name)
	if s.clear {
		if err := os.RemoveAll(dir); err != nil {
			return figures{}, err
		}
		if p.inside {
			if err := os.CopyFS(dir, os.DirFS(p.name)); err != nil {
				return figures{}, err
			}
		} else if err := os.CopyFS(dir, os.DirFS(w.path("spec"))); err != nil {
			return figures{}, err
		}
	}
	if p.inside {
		if err := w.pgha(version); err != nil {
			return figures{}, err
		}
		before, err := loops()
		if err != nil {
			return figures{}, err
		}
		f, err := measure(ctx, dir, nil, w.command(p.name, "./build.sh", string(s.role))...)
		return f, errors.Join(err, detachLoops(before))
	}
	return measure(ctx, dir, []string{"PGBAKE_CACHE=" + filepath.Join(dir, "cache")}, w.programs[version],
		"-f", filepath.Join(dir, "cluster.yaml"), "-o", filepath.Join(dir, "dist"), "image", "--role", string(s.role), "--format", s.format)
}

// image is the file that a step has made.
func (w *work) image(p builder, s step) (string, error) {
	if p.inside {
		return w.path(p.name, "disk.raw"), nil
	}
	found, err := filepath.Glob(w.path(p.name, "dist", "images", "*", fmt.Sprintf("*-%s-*.%s", s.role, s.format)))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%d files for %s as %s, want one", len(found), s.role, s.format)
	}
	return strings.Join(found, ""), err
}

// about is a builder's name and version.
func (w *work) about(p builder) (string, error) {
	if len(p.version) == 0 {
		return p.name, nil
	}
	args := w.command("", p.version...)
	out, err := exec.CommandContext(context.Background(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", p.name, err, out)
	}
	f := strings.Fields(string(out))
	if p.name == "plain" {
		return "plain: mmdebstrap " + f[len(f)-1] + ", mke2fs", nil
	}
	return p.name + " " + f[len(f)-1], nil
}
