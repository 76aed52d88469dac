package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/pgbake/pgbake/internal/run"
)

// The recipes' names are inputs of their layers: raise them when what is below changes.
const (
	baseRecipe  = "base 4"
	roleRecipe  = "role 2"
	stockRecipe = "stock 2"
)

const cloudConfigFile = "etc/cloud/cloud.cfg.d/95_pgbake.cfg"

// cloudConfig is what an appliance needs of cloud-init: each module that is left out saves its share of a slow start.
const cloudConfig = `# The seed is the only source of this machine's identity.
datasource_list: [NoCloud, None]
cloud_init_modules: [bootcmd, write-files, growpart, resizefs, set_hostname, users-groups, ssh]
cloud_config_modules: [set-passwords, runcmd]
cloud_final_modules: [scripts-user, final-message]
`

// stockConfig leaves cloud-init as Debian has it, but for the sources: the lab has no way to others than the root has.
const stockConfig = `apt: {preserve_sources_list: true}
`

// finishBase makes of a fresh Debian what an image of it is: nothing that only one machine may have,
// nothing at boot that only costs time.
func finishBase(ctx context.Context, r run.Runner, root string) error {
	keys, _ := filepath.Glob(filepath.Join(root, "etc/ssh/ssh_host_*"))
	for _, f := range append(keys, filepath.Join(root, "etc/resolv.conf"), filepath.Join(root, "etc/hostname")) {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(root, "var/cache/apt")); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(root, "var/cache/apt/archives/partial"), 0o755); err != nil { //nolint:gosec // as Debian has it
		return err
	}
	files := map[string]string{
		"etc/machine-id": "", // systemd makes one at first boot
		cloudConfigFile:  cloudConfig,
	}
	for name, body := range files {
		if err := write(filepath.Join(root, name), body, 0o644); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		// It keeps the console open: systemd-nspawn spins on one that nobody holds.
		{"enable", "systemd-networkd.service", "console-getty.service"},
		// With it every boot waits 14 s for IPv6 routers that never answer: networkd calls a link configured
		// only then. The addresses are static, and pgha waits for its own.
		{"disable", "systemd-networkd-wait-online.service"},
		// Maintenance of a long-lived machine, which a lab is not: apt's runs would hit the disk at random.
		{"mask", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer"},
	} {
		if err := chroot(ctx, r, root, slices.Concat([]string{"systemctl", "--quiet"}, args)...); err != nil {
			return err
		}
	}
	return nil
}

// site is a root in the making, mounted: where packages are installed.
type site struct {
	overlay
	run run.Runner
	// debs keeps what is downloaded.
	debs string
}

// install adds Debian packages to the root; what the archive is, the machines need not know later.
func (o site) install(ctx context.Context, a archive, packages []string) error {
	if err := o.prepare(); err != nil {
		return err
	}
	if err := o.addArchive(ctx, a); err != nil {
		return err
	}
	// The package would make a cluster of its own, which nobody wants and Patroni stumbles over (D5).
	noCluster := filepath.Join(o.root(), "etc/postgresql-common/createcluster.d/pgbake.conf")
	if err := write(noCluster, "create_main_cluster = false\n", 0o644); err != nil {
		return err
	}
	if err := o.apt(ctx, slices.Concat([]string{"install"}, packages)...); err != nil {
		return err
	}
	if a.Path != "" {
		if err := os.Remove(filepath.Join(o.root(), mirrorSource)); err != nil {
			return err
		}
	}
	return o.cleanUp(ctx, noCluster)
}

// download leaves packages, and all that they need, in the root where apt keeps what it has fetched: a stock machine
// installs them itself, and has no network to fetch them by.
func (o site) download(ctx context.Context, a archive, packages []string) error {
	if err := o.prepare(); err != nil {
		return err
	}
	if err := o.addArchive(ctx, a); err != nil {
		return err
	}
	if err := o.apt(ctx, slices.Concat([]string{"install", "--download-only"}, packages)...); err != nil {
		return err
	}
	if err := write(filepath.Join(o.root(), cloudConfigFile), stockConfig, 0o644); err != nil {
		return err
	}
	// mmdebstrap leaves our options to it behind.
	if err := os.Remove(filepath.Join(o.root(), "etc/apt/apt.conf.d/99mmdebstrap")); err != nil {
		return err
	}
	if err := o.cleanUp(ctx); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(o.debs, "*.deb"))
	if err != nil {
		return err
	}
	kept := filepath.Join(o.upper(), "var/cache/apt/archives")
	if err := os.MkdirAll(kept, 0o755); err != nil { //nolint:gosec // as Debian has it
		return err
	}
	for _, deb := range debs {
		// Both are in the cache: no copy.
		if err := os.Link(deb, filepath.Join(kept, filepath.Base(deb))); err != nil {
			return err
		}
	}
	return nil
}

// addArchive makes the root's apt know the archive, and what every archive has.
func (o site) addArchive(ctx context.Context, a archive) error {
	switch {
	case a.URL != "":
		if err := o.addMirror(a); err != nil {
			return err
		}
	case a.Suite != "":
		for _, args := range [][]string{{"update"}, {"install", "postgresql-common"}} {
			if err := o.apt(ctx, args...); err != nil {
				return err
			}
		}
		if err := chroot(ctx, o.run, o.root(), pgdgScript, "-y"); err != nil {
			return err
		}
	}
	return o.apt(ctx, "update")
}

// addMirror writes the apt source of a mirror.
func (o site) addMirror(a archive) error {
	const key = "/etc/apt/keyrings/pgbake.asc"
	if err := write(filepath.Join(o.root(), key), a.Key, 0o644); err != nil {
		return err
	}
	uri := a.URL
	if a.Path != "" {
		uri = "file:" + mirrorInside
		if err := bind(a.Path, filepath.Join(o.root(), mirrorInside), true); err != nil {
			return err
		}
	}
	deb822 := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n", uri, a.Suite, key)
	return write(filepath.Join(o.root(), mirrorSource), deb822, 0o644)
}

// mirrorSource is the apt source of a mirror.
const mirrorSource = "etc/apt/sources.list.d/pgbake.sources"

// mirrorInside is where the directory of a file: mirror is seen inside the root while packages are installed.
const mirrorInside = "/run/pgbake/mirror"

// installFiles adds packages that lie in files.
func (o site) installFiles(ctx context.Context, debs []string) error {
	if err := o.prepare(); err != nil {
		return err
	}
	args := []string{"install"}
	for _, deb := range debs {
		body, err := os.ReadFile(deb)
		if err != nil {
			return err
		}
		inside := filepath.Join("/run/pgbake", filepath.Base(deb))
		if err := write(filepath.Join(o.root(), inside), string(body), 0o644); err != nil {
			return err
		}
		args = append(args, inside)
	}
	if err := o.apt(ctx, args...); err != nil {
		return err
	}
	return o.cleanUp(ctx)
}

// prepare mounts the root and what installing needs in it.
func (o site) prepare() error {
	if err := o.mount(); err != nil {
		return err
	}
	if err := bind(o.debs, filepath.Join(o.root(), "var/cache/apt/archives"), false); err != nil {
		return err
	}
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := write(filepath.Join(o.root(), "etc/resolv.conf"), string(resolv), 0o644); err != nil {
		return err
	}
	// No service starts while it is installed: https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
	return write(filepath.Join(o.root(), "usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n", 0o755)
}

func (o site) cleanUp(ctx context.Context, more ...string) error {
	// Else the first boot of a Debian 13 rebuilds ldconfig's and the journal's caches, which are there.
	const updateDone = "/usr/lib/systemd/systemd-update-done"
	if _, err := os.Stat(filepath.Join(o.root(), updateDone)); err == nil {
		if err := chroot(ctx, o.run, o.root(), updateDone); err != nil {
			return err
		}
	}
	for _, f := range append(more, filepath.Join(o.root(), "etc/resolv.conf"), filepath.Join(o.root(), "usr/sbin/policy-rc.d")) {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	// By way of upper/: nothing is mounted there, so nothing of the host's can be removed.
	for _, d := range []string{"run", "tmp", "var/cache/apt"} {
		if err := os.RemoveAll(filepath.Join(o.upper(), d)); err != nil {
			return err
		}
	}
	return nil
}

func (o site) apt(ctx context.Context, args ...string) error {
	return chroot(ctx, o.run, o.root(), slices.Concat([]string{
		"apt-get", "--yes", "--quiet", "--no-install-recommends", "-o=Dpkg::Use-Pty=0", "-o=Acquire::Retries=3",
		"-o=Acquire::Languages=none", "-o=APT::Sandbox::User=root",
	}, args)...)
}

// chroot runs a program in a root, with a /proc of its own; whatever it leaves running ends with it.
func chroot(ctx context.Context, r run.Runner, root string, args ...string) error {
	c := run.Command(slices.Concat([]string{
		"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--root=" + root, "--wd=/",
		"env", "--ignore-environment", "PATH=" + insidePath, "HOME=/root", "LC_ALL=C.UTF-8", dpkgForce, "DEBIAN_FRONTEND=noninteractive",
	}, args)...)
	c.Disposable = true // the root is
	return r.Run(ctx, c)
}

// dpkgForce has dpkg leave out the fsync of each file: a layer is synced as a whole before it counts. It is in the environment
// (dpkg(1)), so that the machines' own dpkg does not learn of it.
const dpkgForce = "DPKG_FORCE=unsafe-io"

// insidePath is root's PATH on a Debian machine.
const insidePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func write(name, body string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // directories of a machine's root
		return err
	}
	return os.WriteFile(name, []byte(body), mode)
}
