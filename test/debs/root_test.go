package debs

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pgbake/pgbake/packages"
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
	depends, sources := dependencies(t, debs), archives(t, release)
	sum := sha256.Sum256([]byte(strings.Join(slices.Concat([]string{"1", runtime.GOARCH}, basePackages, depends, sources), "\n")))
	final := filepath.Join(cache, "debs", fmt.Sprintf("%s-%x", release, sum[:6]))
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		t.Fatal(err)
	}
	defer lock(t, final+".lock")()
	if _, err := os.Stat(final); err == nil {
		return final
	}
	// Whole under the final name: whoever was killed while making one left only this.
	unfinished := final + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--variant=minbase", "--mode=root", "--format=directory", "--quiet", "--include=" + strings.Join(basePackages, ","),
		`--aptopt=Acquire::Languages "none"`, `--aptopt=Acquire::Retries "3"`, "--dpkgopt=force-unsafe-io",
		"--skip=cleanup/apt,cleanup/machine-id",
		// By the apt outside: the root's own has no resolver.
		`--customize-hook=APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get satisfy --yes --download-only --no-install-recommends "` + strings.Join(depends, ", ") + `"`,
		`--customize-hook=rm -f "$1/etc/resolv.conf"`,
		release, unfinished,
	}
	list := filepath.Join(t.TempDir(), "sources.list")
	if len(sources) > 0 {
		if err := os.WriteFile(list, []byte(strings.Join(sources, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, list)
	}
	t.Logf("making %s", final)
	if out, err := exec.CommandContext(t.Context(), "mmdebstrap", args...).CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out)
	}
	if err := os.Rename(unfinished, final); err != nil {
		t.Fatal(err)
	}
	return final
}

// dependencies are what the packages need besides each other: the first of alternatives that apt can have is its choice.
func dependencies(t *testing.T, debs []string) []string {
	t.Helper()
	var all []string
	for _, deb := range debs {
		out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--field", deb, "Depends").Output()
		if err != nil {
			t.Fatal(err)
		}
		for d := range strings.SplitSeq(strings.TrimSpace(string(out)), ", ") {
			name, _, _ := strings.Cut(d, " ")
			if !slices.Contains(packages.Names, name) && !slices.Contains(all, d) {
				all = append(all, d)
			}
		}
	}
	slices.Sort(all)
	return all
}

// archives are the lines of sources.list for a release, in the archives that this host's own apt uses; none when it knows
// none of Debian's, which leaves the choice to mmdebstrap.
func archives(t *testing.T, release string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return nil
	}
	var lines []string
	for uri := range strings.FieldsSeq(string(out)) {
		uri = strings.TrimSuffix(uri, "/")
		switch path.Base(uri) {
		case "debian":
			lines = append(lines, fmt.Sprintf("deb %s %s main", uri, release))
		case "debian-security":
			lines = append(lines, fmt.Sprintf("deb %s %s-security main", uri, release))
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// lock waits for the lock of a file. It goes with the process.
func lock(t *testing.T, name string) func() {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { f.Close() } //nolint:errcheck // closing is unlocking
}
