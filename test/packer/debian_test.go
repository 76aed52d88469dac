package packer

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

	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/test/debian"
)

// stock are the packages of the machine that Packer gets: what a small image of Debian has.
var stock = []string{"systemd-sysv", "dbus", "udev", "iproute2", "ifupdown", "openssh-server", "sudo", "ca-certificates"}

// stockDebian returns a directory with root/, a Debian with a user "debian" who may sudo, and archive/, an apt archive of all
// packages that the image wants: machines have no way out. It is made again when the
// archives or a dependency have changed.
func stockDebian(t *testing.T, i images.Image, debs []string) string {
	t.Helper()
	wanted := slices.Concat(slices.DeleteFunc(i.Base(), func(p string) bool { return slices.Contains(i.Kernel(), p) }), i.Packages(), debian.Dependencies(t, debs))
	sources := debian.Archives(t, i.Release.Codename())
	sum := sha256.Sum256([]byte(strings.Join(slices.Concat([]string{"3", runtime.GOARCH}, stock, wanted, sources, debian.Heads(t, sources)), "\n")))
	final := filepath.Join(cache(t), fmt.Sprintf("%s-%x", i.Release.Codename(), sum[:6]))
	// What the archives had before.
	if err := debian.RemoveUnused(filepath.Join(cache(t), i.Release.Codename()+"-*"), final); err != nil {
		t.Fatal(err)
	}
	return debian.Made(t, final, func(unfinished string) { makeStock(t, i, unfinished, sources, wanted) })
}

func makeStock(t *testing.T, i images.Image, unfinished string, sources, wanted []string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(unfinished, "archive"), 0o755); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(t.TempDir(), "sources.list")
	if err := os.WriteFile(list, []byte(strings.Join(sources, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := debian.Alone(
		"mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", "--quiet", "--include="+strings.Join(stock, ","),
		`--aptopt=Acquire::Languages "none"`, `--aptopt=Acquire::Retries "3"`, "--dpkgopt=force-unsafe-io",
		// By the apt outside: the root's own has no resolver.
		`--customize-hook=APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get satisfy --yes --download-only --no-install-recommends "`+strings.Join(wanted, ", ")+`"`,
		"--customize-hook=copy-out /var/cache/apt/archives "+unfinished,
		`--customize-hook=chroot "$1" useradd --create-home --shell /bin/bash debian`,
		`--customize-hook=echo 'debian ALL=(ALL) NOPASSWD: ALL' >"$1/etc/sudoers.d/debian"`,
		`--customize-hook=rm -f "$1/etc/resolv.conf" "$1"/etc/ssh/ssh_host_* "$1"/etc/apt/sources.list.d/*`,
		i.Release.Codename(), filepath.Join(unfinished, "root"),
	)
	if len(sources) > 0 {
		args = append(args, list)
	}
	out, err := debian.Output(exec.CommandContext(t.Context(), args[0], args[1:]...))
	if err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out)
	}
	archive := filepath.Join(unfinished, "archive")
	out, err = exec.CommandContext(t.Context(), "sh", "-euc", `mv "$1"/archives/*.deb "$2"; rm -r "$1/archives"; cd "$2"; apt-ftparchive packages . >Packages`,
		"sh", unfinished, archive).CombinedOutput()
	if err != nil {
		t.Fatalf("make the archive: %v\n%s", err, out)
	}
}
