package debian

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Root is a Debian that machines boot, or that programs are tried in: made once, and only read after that.
type Root struct {
	// Name says whose it is, Release is Debian's codename.
	Name, Release string
	// Before and After are scripts of the root's own shell: before the packages are installed, without what they only
	// recommend, and after that.
	Before   string
	Packages []string
	After    string
}

// base is a small Debian that boots.
var base = []string{"systemd-sysv", "dbus", "udev", "iproute2", "procps"}

// Made returns the root's directory. What one Debian has in all roots is made once for all of them.
func (r Root) Made(t testing.TB) string {
	t.Helper()
	sources := Archives(t, r.Release)
	bottom := slices.Concat([]string{"1", runtime.GOARCH, r.Release}, base, sources)
	recipe := slices.Concat(bottom, []string{r.Before, r.After}, r.Packages)
	return Made(t, cached(t, r.Name+"-"+r.Release, recipe), func(dir string) {
		from := Made(t, cached(t, "base-"+r.Release, bottom), func(dir string) { bootstrap(t, dir, r.Release, sources) })
		args := Alone("sh", "-euc", fillRoot, "sh", from, dir, r.Before, strings.Join(r.Packages, " "), r.After)
		if out, err := Output(exec.CommandContext(t.Context(), args[0], args[1:]...)); err != nil {
			t.Fatalf("make the root %s: %v\n%s", dir, err, out)
		}
	})
}

// cached is the place of what is made by a recipe.
func cached(t testing.TB, name string, recipe []string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(strings.Join(recipe, "\n")))
	return filepath.Join(Cache(t, "roots"), fmt.Sprintf("%s-%x", name, sum[:6]))
}

// Cache is a directory where tests keep what costs time and no test changes.
func Cache(t testing.TB, name string) string {
	t.Helper()
	cache := os.Getenv("PGBAKE_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(dir, "pgbake")
	}
	cache = filepath.Join(cache, "test", name)
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // holds no secrets
		t.Fatal(err)
	}
	return cache
}

// bootstrap makes the base, with apt's lists for what is to come.
func bootstrap(t testing.TB, dir, release string, sources []string) {
	t.Helper()
	args := Alone("env", "DPKG_FORCE=unsafe-io", "mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", "--quiet",
		"--include="+strings.Join(base, ","), `--aptopt=Acquire::Languages "none"`, `--aptopt=Acquire::Retries "3"`,
		"--skip=cleanup/apt", `--customize-hook=rm -f "$1/etc/resolv.conf"`, release, dir)
	args = append(args, sources...)
	if out, err := Output(exec.CommandContext(t.Context(), args[0], args[1:]...)); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out)
	}
}

// fillRoot makes a root of the base: from, the root's directory, a script, packages, a script. No service starts meanwhile:
// https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
const fillRoot = `
from=$1 root=$2 before=$3 packages=$4 after=$5
cp -a "$from/." "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp /etc/resolv.conf "$root/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
inside() {
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive DPKG_FORCE=unsafe-io \
		${http_proxy:+http_proxy="$http_proxy"} chroot "$root" sh -euc "$1"
}
inside "$before"
# The lists are the base's, which may be weeks old: what they name may be gone.
[ -z "$(find "$root/var/lib/apt/lists" -maxdepth 0 -mmin +360)" ] || inside "apt-get -qq -o APT::Sandbox::User=root update"
inside "apt-get -qq --no-install-recommends -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 install $packages"
inside "apt-get clean"
inside "$after"
rm -f "$root/usr/sbin/policy-rc.d" "$root"/etc/ssh/ssh_host_*
[ -L "$root/etc/resolv.conf" ] || rm -f "$root/etc/resolv.conf"
`
