package debs

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

	"github.com/pgbake/pgbake/test/debian"
)

// basePackages are a small Debian that boots, and libraries of our dependencies that take long to install and start nothing.
var basePackages = []string{
	"systemd-sysv", "dbus", "udev", "iproute2",
	"locales", "openssl", "perl", "python3-click", "python3-dateutil", "python3-dnspython", "python3-prettytable",
	"python3-psutil", "python3-psycopg2", "python3-urllib3", "python3-yaml", "ssl-cert", "tzdata", "ucf",
}

// root returns the directory of a clean Debian with the packages ours depend on downloaded and not installed: machines
// have no network. It is made once, and again when a dependency changes.
func root(t *testing.T, release string, debs []string) string {
	t.Helper()
	cache := os.Getenv("PGBAKE_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(dir, "pgbake", "test")
	}
	depends, sources := append(debian.Dependencies(t, debs), upgraders...), debian.Archives(t, release)
	sum := sha256.Sum256([]byte(strings.Join(slices.Concat([]string{"1", runtime.GOARCH}, basePackages, depends, sources), "\n")))
	final := filepath.Join(cache, "debs", fmt.Sprintf("%s-%x", release, sum[:6]))
	return debian.Made(t, final, func(dir string) {
		args := debian.Alone(
			"mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", "--quiet", "--include="+strings.Join(basePackages, ","),
			`--aptopt=Acquire::Languages "none"`, `--aptopt=Acquire::Retries "3"`, "--dpkgopt=force-unsafe-io",
			"--skip=cleanup/apt,cleanup/machine-id",
			// By the apt outside: the root's own has no resolver.
			`--customize-hook=APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get satisfy --yes --download-only --no-install-recommends "`+strings.Join(depends, ", ")+`"`,
			`--customize-hook=rm -f "$1/etc/resolv.conf"`,
			release, dir,
		)
		list := filepath.Join(t.TempDir(), "sources.list")
		if len(sources) > 0 {
			if err := os.WriteFile(list, []byte(strings.Join(sources, "\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			args = append(args, list)
		}
		if out, err := debian.Output(exec.CommandContext(t.Context(), args[0], args[1:]...)); err != nil {
			t.Fatalf("mmdebstrap: %v\n%s", err, out)
		}
	})
}
