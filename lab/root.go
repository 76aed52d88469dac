package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/step"
	"github.com/pgbake/pgbake/internal/ui"
)

// Machines of one role share a root of three layers: Debian, the role's packages, pgbake's own packages.
// Only the last is made anew when pgbake changes, in a second or two. Stock machines have two layers: Debian, and the
// role's packages as apt has downloaded them.

// roots makes layers and keeps them in a directory.
type roots struct {
	run   run.Runner
	ui    *ui.UI
	cache string
}

// basePackages are Debian without a kernel, as far as every machine of a cluster has it.
var basePackages = []string{
	"ca-certificates", "chrony", "cloud-init", "dbus", "iproute2", "iputils-ping", "less", "libpam-systemd",
	"netbase", "nftables", "openssh-server", "procps", "sudo", "systemd-sysv", "tzdata", "udev",
}

// pgdgScript adds PGDG's archive, and its key, to the sources: Debian's postgresql-common brings it, and knows where
// the archive is.
const pgdgScript = "/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh"

// lower returns the layers of each role, the topmost first, and makes those that are missing.
func (r roots) lower(ctx context.Context, c *cluster.Cluster, debs map[cluster.Role][]string) (map[cluster.Role][]string, error) {
	base := r.base(debianSources(ctx, r.run, c.Debian), c.Debian)
	var bottom string
	err := step.Run(ctx, r.ui, step.Step{Name: fmt.Sprintf("Debian %d root", c.Debian), Run: func(ctx context.Context) (err error) {
		bottom, err = base.build(ctx, r.cache)
		return err
	}})
	if err != nil {
		return nil, err
	}
	roles := []cluster.Role{cluster.DB}
	if len(c.Proxies) > 0 {
		roles = append(roles, cluster.Proxy)
	}
	built := make([][]string, len(roles))
	steps := make([]step.Step, len(roles))
	for i, role := range roles {
		steps[i] = step.Step{Name: fmt.Sprintf("%s root", role), Run: func(ctx context.Context) (err error) {
			built[i], err = r.role(ctx, c, role, bottom, debs[role])
			return err
		}}
	}
	if err := step.Run(ctx, r.ui, step.Together("roots by role", r.ui, steps...)); err != nil {
		return nil, err
	}
	lower := map[cluster.Role][]string{}
	for i, role := range roles {
		lower[role] = built[i]
	}
	return lower, nil
}

// base is Debian itself.
func (r roots) base(sources []string, release cluster.Release) layer {
	name := release.Codename()
	return layer{
		Name:   name,
		Inputs: slices.Concat([]string{baseRecipe, runtime.GOARCH}, basePackages, sources),
		Fill: func(ctx context.Context, dir string) error {
			debs, unlock, err := r.archives(ctx, name)
			if err != nil {
				return err
			}
			defer unlock()
			list := filepath.Join(dir, "sources.list")
			if err := os.WriteFile(list, []byte(strings.Join(sources, "\n")+"\n"), 0o644); err != nil { //nolint:gosec // apt reads it
				return err
			}
			root := filepath.Join(dir, "upper")
			args := []string{
				// With processes of its own, which all end when pgbake does.
				"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
				"env", dpkgForce, "mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", "--quiet",
				"--include=" + strings.Join(basePackages, ","),
				`--aptopt=Acquire::Languages "none"`, `--aptopt=Acquire::Retries "3"`,
				"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/info/*",
				"--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
				"--dpkgopt=path-include=/usr/share/doc/*/copyright",
				// mmdebstrap's own way to keep the downloads: its manual, under "--skip".
				"--skip=essential/unlink,download/empty,cleanup/apt",
				`--setup-hook=mkdir -p "$1/var/cache/apt/archives"`,
				"--setup-hook=sync-in " + debs + " /var/cache/apt/archives",
				"--customize-hook=sync-out /var/cache/apt/archives " + debs,
				name, root,
			}
			if len(sources) > 0 {
				args = append(args, list)
			}
			if err := r.run.Run(ctx, run.Cmd{Args: args, Disposable: true}); err != nil {
				return err
			}
			return finishBase(ctx, r.run, root)
		},
	}
}

// role is the role's packages over the base, and pgbake's over them; without pgbake's it is a stock machine's root.
func (r roots) role(ctx context.Context, c *cluster.Cluster, role cluster.Role, base string, debs []string) ([]string, error) {
	arch, err := postgresArchive(c)
	if err != nil {
		return nil, err
	}
	name, packages := fmt.Sprintf("%s-%s", c.Debian.Codename(), role), c.PackagesFor(role)
	if len(debs) == 0 {
		return r.stock(ctx, name, base, arch, packages)
	}
	l := layer{
		Name:   name,
		Inputs: slices.Concat([]string{roleRecipe, base}, packages, arch.inputs()),
		Fill: func(ctx context.Context, dir string) error {
			return r.at(ctx, name, dir, []string{base}, func(s site) error { return s.install(ctx, arch, packages) })
		},
	}
	middle, err := l.build(ctx, r.cache)
	if err != nil {
		return nil, err
	}
	sums, err := sha256sums(debs)
	if err != nil {
		return nil, err
	}
	top := layer{
		Name:   name + "-pgha",
		Inputs: slices.Concat([]string{middle}, sums),
		Fill: func(ctx context.Context, dir string) error {
			return r.at(ctx, name+"-pgha", dir, []string{middle, base}, func(s site) error { return s.installFiles(ctx, debs) })
		},
	}
	upper, err := top.build(ctx, r.cache)
	return []string{upper, middle, base}, err
}

// stock is Debian with the role's packages downloaded, so that a machine without a way out can install them.
func (r roots) stock(ctx context.Context, name, base string, arch archive, packages []string) ([]string, error) {
	if arch.Path != "" {
		return nil, errors.New("make a stock machine: postgres.mirror.url is a directory of this host, which the machines do not see\n      hint: serve it by http")
	}
	l := layer{
		Name:   name + "-stock",
		Inputs: slices.Concat([]string{stockRecipe, base}, packages, arch.inputs()),
		Fill: func(ctx context.Context, dir string) error {
			return r.at(ctx, name, dir, []string{base}, func(s site) error { return s.download(ctx, arch, packages) })
		},
	}
	stock, err := l.build(ctx, r.cache)
	return []string{stock, base}, err
}

// archive is where the role's packages come from besides Debian: a mirror or, without a URL, PGDG itself.
// The zero value is nowhere else.
type archive struct {
	URL, Suite, Key, Hash string
	// Path is the directory behind a file: URL.
	Path string
}

func (a archive) inputs() []string { return []string{a.URL, a.Suite, a.Key, a.Hash} }

// postgresArchive returns PGDG's archive or the mirror that stands for it; the zero archive when Debian's own is enough.
func postgresArchive(c *cluster.Cluster) (archive, error) {
	a := archive{URL: c.Postgres.Mirror.URL, Key: c.Postgres.Mirror.Key, Suite: c.PostgresSuite()}
	if c.Postgres.Source != cluster.SourcePGDG && a.URL == "" {
		return archive{}, nil
	}
	u, err := url.Parse(a.URL)
	if err != nil {
		return archive{}, fmt.Errorf("parse postgres.mirror.url: %w", err)
	}
	if u.Scheme != "file" { // empty for PGDG itself
		return a, nil // asked anew only when the specification changes: a lab also starts without a network
	}
	a.Path = u.Path
	sums, err := sha256sums([]string{filepath.Join(a.Path, "dists", a.Suite, "Release")})
	if err != nil {
		return archive{}, fmt.Errorf("read postgres.mirror: %w", err)
	}
	a.Hash = sums[0]
	return a, nil
}

// at calls f with the place to make a layer in.
func (r roots) at(ctx context.Context, name, dir string, lower []string, f func(site) error) error {
	debs, unlock, err := r.archives(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	return f(site{overlay{Lower: lower, Dir: dir, Volatile: true}, r.run, debs})
}

// archives is the directory that keeps the packages downloaded for layers of a name, for one builder at a time:
// apt refuses to share it.
func (r roots) archives(ctx context.Context, name string) (dir string, unlock func(), err error) {
	dir = filepath.Join(r.cache, "archives", name)
	if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o755); err != nil { //nolint:gosec // apt's own user writes there
		return "", nil, err
	}
	unlock, err = lock(ctx, dir+".lock")
	return dir, unlock, err
}

func sha256sums(files []string) ([]string, error) {
	sums := make([]string, len(files))
	for i, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		sums[i] = filepath.Base(name) + " " + hex.EncodeToString(sum[:])
	}
	return sums, nil
}

// bind shows a directory of the host inside a root.
func bind(source, target string, readOnly bool) error {
	if err := os.MkdirAll(target, 0o755); err != nil { //nolint:gosec // a mount point
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	if !readOnly {
		return nil
	}
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", target, err)
	}
	return nil
}
