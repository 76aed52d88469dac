package image

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/packages"
)

// with runs pgbake behind a script in a mount namespace of its own.
func (s *site) with(script string) *site {
	c := *s
	c.as = append([]string{"unshare", "--mount", "sh", "-euc", script + `; exec "$@"`, "sh"}, s.as...)
	return &c
}

// The disk is full: under the cache, and under the images.
func TestDiskFull(t *testing.T) {
	a := debian12(t)
	s := newSite(t, spec(12, ""))
	s.borrow(a)
	debs := s.path("debs")
	if err := os.Rename(filepath.Join(s.cache, "debs"), debs); err != nil {
		t.Fatal(err)
	}
	s.with("mount -t tmpfs -o size=300m none "+s.cache+"; ln -s "+debs+" "+s.cache+"/debs").
		fails([]string{"make Debian 12", "no space left on device", "log: " + s.cache + "/logs/"}, "image", "--role", "proxy", "--offline")

	out := t.TempDir()
	a.with("mount -t tmpfs -o size=300m none "+out+"; trap 'ls -AR "+out+">&2' EXIT").
		fails([]string{"write " + out, "no space left on device"}, "-o", out, "image", "--role", "proxy", "--format", "raw")
	a.with("mount -t tmpfs -o size=100m none "+out).
		fails([]string{"bake pgbake-bookworm-proxy-amd64", "no space left on device"}, "-o", out, "image", "--role", "proxy", "--force")
}

func TestReadOnlyOutput(t *testing.T) {
	a := debian12(t)
	out := t.TempDir()
	a.with("mount -t tmpfs -o ro none "+out).fails([]string{"bake pgbake-bookworm-db-amd64", "read-only file system"}, "-o", out, "image")
}

// The archive does not answer, neither for packages nor for lists.
func TestMirrorGone(t *testing.T) {
	a := debian12(t)
	s := newSite(t, spec(12, ""))
	s.write("pgbake.lock", regexp.MustCompile(`http://[^/"]+`).ReplaceAllString(a.read("pgbake.lock"), "http://127.0.0.1:9"))
	s.fails([]string{"bake pgbake-bookworm-proxy-amd64", "fetch ", "connection refused"}, "image", "--role", "proxy")
	s.fails([]string{"--offline", "are not in " + s.cache, "hint: "}, "image", "--role", "proxy", "--offline")

	dir := filepath.Join(place, "gone")
	s = newSite(t, spec(12, strings.Replace(repository(t, dir), "file://"+dir, "http://127.0.0.1:9/gone", 1)))
	s.cache = a.cache // its lists
	s.fails([]string{"resolve packages", "apt-get update", "127.0.0.1"}, "lock")
}

// repository makes a signed archive of bookworm-pgdg with nothing of PostgreSQL in it, and returns its specification.
func repository(t *testing.T, dir string) (spec string) {
	t.Helper()
	at := time.Unix(1_767_225_600, 0)
	debs, err := packages.Build(t.Context(), packages.Options{
		Version: "1.0.0", Arch: "amd64", Agent: []byte("\x7fELF no agent"), Out: t.TempDir(), Time: at,
	})
	if err != nil {
		t.Fatal(err)
	}
	k, err := packages.EnsureKey(filepath.Join(t.TempDir(), "key"), at)
	if err != nil {
		t.Fatal(err)
	}
	if err := packages.Repository(t.Context(), dir, debs, k, at); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "dists", packages.Suite), filepath.Join(dir, "dists", "bookworm-pgdg")); err != nil {
		t.Fatal(err)
	}
	public, err := k.Public()
	if err != nil {
		t.Fatal(err)
	}
	indented := "      " + strings.ReplaceAll(strings.TrimSpace(string(public)), "\n", "\n      ")
	return "postgres:\n  source: pgdg\n  version: 16\n  mirror:\n    url: file://" + dir + "\n    key: |\n" + indented + "\n"
}

// An archive that has not what is wanted, one that somebody changed, one that somebody else signed.
func TestArchives(t *testing.T) {
	a := debian12(t)
	dir := filepath.Join(place, "archive")
	mirror := repository(t, dir)
	s := newSite(t, spec(12, mirror))
	s.cache = a.cache // its lists
	s.fails([]string{"package postgresql-client-16: no archive has it", `did you mean "postgresql-client-15"?`}, "lock")

	other := repository(t, filepath.Join(place, "other"))
	s.write("cluster.yaml", spec(12, strings.Replace(other, filepath.Join(place, "other"), dir, 1)))
	talk := s.fails([]string{"resolve packages", "is not signed"}, "lock")
	if !strings.Contains(talk, "NO_PUBKEY") && !strings.Contains(talk, "Missing key") { // Debian 13's
		t.Errorf("it does not say that the key is another one:\n%s", talk)
	}

	s.write("cluster.yaml", spec(12, mirror))
	release := filepath.Join(dir, "dists/bookworm-pgdg/InRelease")
	body, err := os.ReadFile(release)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(release, []byte(strings.Replace(string(body), "Origin: pgbake", "Origin: nobody", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	talk = s.fails([]string{"resolve packages", "is not signed"}, "lock")
	if !strings.Contains(talk, "BADSIG") && !strings.Contains(talk, "has been manipulated") { // Debian 13's
		t.Errorf("it does not say that somebody changed it:\n%s", talk)
	}
	if _, err := os.Stat(s.path("pgbake.lock")); !os.IsNotExist(err) {
		t.Errorf("a lock was written: %v", err)
	}
}

// What the host or its rights lack is said before any work is done.
func TestNotAllowed(t *testing.T) {
	a := debian12(t)
	s := newSite(t, spec(12, ""))
	s.borrow(a)
	s.fails([]string{"bake an image for arm64", "this machine is amd64"}, "image", "--arch", "arm64")

	s.as = []string{"setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"}
	s.fails([]string{"make namespaces for the build", "hint: in a container it needs CAP_SYS_ADMIN"}, "image")

	s.own(newOrdinary(t, false))
	s.fails([]string{"/etc/subuid gives pgbake-test no ids", "usermod --add-subuids"}, "image")

	s.as = append(s.as, "unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-euc", `echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"`, "sh")
	s.fails([]string{"this system allows no user namespaces"}, "image")
	if _, err := os.Stat(s.path("dist")); !os.IsNotExist(err) {
		t.Errorf("something was made: %v", err)
	}
}
