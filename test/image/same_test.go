package image

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// shared is a site that root has baked Debian 12 in: others borrow its packages and its lock.
var shared *site

func debian12(t *testing.T) *site {
	t.Helper()
	if shared == nil {
		s := newSite(t, spec(12, ""))
		if err := lend(s.cache); err != nil {
			t.Fatal(err)
		}
		s.pgbake("package", "--repository", "dist/apt") // makes the key
		s.pgbake("image", "--format", "raw,qcow2")
		shared = s
	}
	s := *shared
	s.T = t
	return &s
}

// files are the hashes of all files below a directory, with their times.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		all[strings.TrimPrefix(path, dir+"/")] = fmt.Sprintf("%x, %s, %s", h.Sum(nil), info.Mode(), info.ModTime().UTC())
		return errors.Join(err, f.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// ordinary is a user who is in the files that pgbake sees, and nowhere else: two runs do not meet in them, and one that is
// killed leaves nobody behind.
type ordinary struct {
	name, id, home string
	// etc has the files instead of this host's.
	etc string
}

// newOrdinary makes one, with ids for a root's users or without.
func newOrdinary(t *testing.T, subordinate bool) ordinary {
	t.Helper()
	dir, err := os.MkdirTemp(place, "user-")
	if err != nil {
		t.Fatal(err)
	}
	u := ordinary{name: "pgbake-test", id: "54321", home: filepath.Join(dir, "home"), etc: filepath.Join(dir, "etc")}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(u.home, 0o755), os.Mkdir(u.etc, 0o755)); err != nil {
		t.Fatal(err)
	}
	more := map[string]string{"passwd": u.name + ":x:" + u.id + ":" + u.id + "::" + u.home + ":/bin/sh\n", "group": u.name + ":x:" + u.id + ":\n", "subuid": "", "subgid": ""}
	if subordinate {
		more["subuid"] = u.name + ":2000000000:65536\n"
		more["subgid"] = more["subuid"]
	}
	for name, line := range more {
		body, err := os.ReadFile("/etc/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(u.etc, name), append(body, line...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "chown", u.id+":"+u.id, u.home)
	return u
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// own gives a site to a user.
func (s *site) own(u ordinary) {
	s.Helper()
	tool(s.T, "chown", "-R", u.id+":"+u.id, s.dir)
	s.as = []string{
		"unshare", "--mount", "sh", "-euc", `for f in "$0"/*; do mount --bind "$f" "/etc/${f##*/}"; done; exec "$@"`, u.etc,
		"setpriv", "--reuid=" + u.id, "--regid=" + u.id, "--init-groups", "--pdeathsig=keep",
	}
	s.env = append(s.env, "HOME="+u.home)
}

// Another user, another cache, another moment, umask, time zone, language, host name and directory, and stopped again and
// again: the same bits.
func TestSameBits(t *testing.T) {
	a := debian12(t)
	b := newSite(t, spec(12, ""))
	b.borrow(a)
	tool(t, "cp", "-r", a.path("secrets"), b.path("secrets"))
	b.own(newOrdinary(t, true))
	b.env = append(b.env, "TZ=Asia/Vladivostok", "LC_ALL=de_DE.UTF-8", "LANGUAGE=ru", "SOURCE=x")
	b.as = slices.Concat([]string{"unshare", "--uts", "sh", "-c", `hostname elsewhere; umask 077; cd /; exec "$@"`, "sh"}, b.as)
	b.flags = []string{"-f", b.path("cluster.yaml"), "-o", b.path("dist")}
	b.stopped()
	b.pgbake("image", "--locked", "--offline", "--format", "raw,qcow2")
	for _, role := range []string{"db", "proxy"} {
		if diff := cmp.Diff(files(t, a.image("bookworm", role)), files(t, b.image("bookworm", role))); diff != "" {
			t.Errorf("%s: %s", role, diff)
		}
	}
	b.nothingLeft()
	b.pgbake("cache", "clear") // what belongs to the machines' users, too
	if layers, err := filepath.Glob(filepath.Join(b.cache, "layers", "*")); err != nil || len(layers) > 0 {
		t.Errorf("%q are left of the cache (%v)", layers, err)
	}
}

// What lies beside an image says the truth.
func TestBeside(t *testing.T) {
	s := debian12(t)
	dir := s.image("bookworm", "db")
	cmd := exec.Command("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("SHA256SUMS: %v: %s", err, out)
	}
	ring := filepath.Join(t.TempDir(), "ring.gpg")
	tool(t, "sh", "-c", `sed -n '/^$/,/^=/p' "$1" | grep -v '^=' | base64 -d >"$2"`, "sh", s.path("dist/apt/pgbake.asc"), ring)
	tool(t, "gpgv", "--keyring", ring, filepath.Join(dir, "SHA256SUMS.asc"), filepath.Join(dir, "SHA256SUMS"))
	var m struct {
		Key      string
		Files    []struct{ File string }
		Packages []struct{ Name, Version string }
	}
	if err := json.Unmarshal([]byte(s.read("dist/images/pgbake-bookworm-db-amd64/manifest.json")), &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Files) != 2 || len(m.Key) != 64 || len(m.Packages) < 200 {
		t.Errorf("manifest: %d files, key %q, %d packages", len(m.Files), m.Key, len(m.Packages))
	}
	lock := s.read("pgbake.lock")
	for _, p := range m.Packages {
		if !strings.HasPrefix(p.Name, "pgha-") && !strings.Contains(lock, fmt.Sprintf(`"name":%q,"version":%q`, p.Name, p.Version)) {
			t.Errorf("%s %s is in the image, and not in the lock", p.Name, p.Version)
		}
	}
	tool(t, "qemu-img", "check", filepath.Join(dir, "pgbake-bookworm-db-amd64.qcow2"))
}

// Nothing has changed: nothing is done. What somebody touched is made again, to the same bits.
func TestAgain(t *testing.T) {
	s := debian12(t)
	dir := s.image("bookworm", "proxy")
	before := files(t, dir)
	begin := time.Now()
	_, talk, _ := s.try("image", "--format", "raw,qcow2")
	if !strings.Contains(talk, "nothing has changed") || strings.Contains(talk, "==> ") {
		t.Errorf("something was done:\n%s", talk)
	}
	t.Logf("looking took %v", time.Since(begin))
	qcow2 := filepath.Join(dir, "pgbake-bookworm-proxy-amd64.qcow2")
	f, err := os.OpenFile(qcow2, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("x"), 1<<20)
	if err := errors.Join(err, f.Close(), os.Remove(filepath.Join(dir, "BOOT.txt"))); err != nil {
		t.Fatal(err)
	}
	_, talk, code := s.try("image", "--role", "proxy", "--format", "raw,qcow2")
	if code != 0 || strings.Contains(talk, "==> disk") {
		t.Errorf("the raw disk was made again, or exit code %d:\n%s", code, talk)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Error(diff)
	}
	// One more format, the others stay; then it alone is asked for, and all still are there.
	s.pgbake("image", "--role", "proxy", "--format", "tar")
	sums := s.read("dist/images/pgbake-bookworm-proxy-amd64/SHA256SUMS")
	for _, ext := range []string{".raw", ".qcow2", ".tar.zst"} {
		if !strings.Contains(sums, "pgbake-bookworm-proxy-amd64"+ext+"\n") {
			t.Errorf("SHA256SUMS without %s:\n%s", ext, sums)
		}
	}
}
