package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What an update would change is shown, then taken, and the images have it only then.
func TestLock(t *testing.T) {
	a := debian12(t)
	s := newSite(t, spec(12, ""))
	s.cache = a.cache
	today := a.read("pgbake.lock")
	version := regexp.MustCompile(`"name":"less","version":"([^"]+)"`).FindStringSubmatch(today)
	if version == nil {
		t.Fatal("less is not in the lock")
	}
	old := strings.Replace(today, version[0], `"name":"less","version":"0.1"`, 1)
	s.write("pgbake.lock", old)
	out, _, code := s.try("lock", "--diff")
	if want := "base: less 0.1 -> " + version[1] + "\n"; code != 3 || out != want {
		t.Errorf("lock --diff: exit code %d, %q, want %q", code, out, want)
	}
	if s.read("pgbake.lock") != old {
		t.Error("lock --diff wrote")
	}
	if out := s.pgbake("lock"); !strings.Contains(out, "base: less 0.1 -> ") || s.read("pgbake.lock") != today {
		t.Errorf("lock: %q, or it is not today's", out)
	}
	if out, talk, code := s.try("lock", "--diff"); code != 0 || out != "" || !strings.Contains(talk, "is up to date") {
		t.Errorf("lock --diff: exit code %d, %q\n%s", code, out, talk)
	}
	s.write("cluster.yaml", spec(13, ""))
	s.fails([]string{"it is for Debian 12 on amd64, the image is Debian 13", "hint: "}, "image")
}

// A host whose apt knows no archive of security fixes makes images without any, and says so.
func TestLockWithoutSecurity(t *testing.T) {
	a := debian12(t)
	s := newSite(t, spec(12, ""))
	s.cache = a.cache
	uri := regexp.MustCompile(`"uri":"([^"]+)","suite":"bookworm"`).FindStringSubmatch(a.read("pgbake.lock"))
	if uri == nil {
		t.Fatal("the lock names no archive of bookworm")
	}
	s.write("apt/only.list", "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "+uri[1]+" bookworm main\n")
	_, talk, code := s.with("[ ! -e /etc/apt/sources.list ] || mount --bind /dev/null /etc/apt/sources.list; mount --bind " + filepath.Join(s.dir, "apt") + " /etc/apt/sources.list.d").try("lock")
	if code != 0 || !strings.Contains(talk, "warning: the images get no security fixes") || !strings.Contains(talk, "hint: ") {
		t.Errorf("exit code %d\n%s", code, talk)
	}
	if strings.Contains(s.read("pgbake.lock"), "bookworm-security") || !strings.Contains(a.read("pgbake.lock"), "bookworm-security") {
		t.Error("the archive of security fixes is in the lock, or not in the other one")
	}
}

// packagesOf are an image's, with their versions.
func (s *site) packagesOf(codename, role string) map[string]string {
	s.Helper()
	body, err := os.ReadFile(filepath.Join(s.image(codename, role), "manifest.json"))
	if err != nil {
		s.Fatal(err)
	}
	var m struct {
		Packages []struct{ Name, Version string }
	}
	if err := json.Unmarshal(body, &m); err != nil {
		s.Fatal(err)
	}
	all := map[string]string{}
	for _, p := range m.Packages {
		all[p.Name] = p.Version
	}
	return all
}

// The manual's own cluster: PostgreSQL 17 on Debian 12 out of PGDG's archive, of which tests have a small signed stand-in.
func TestPGDG(t *testing.T) {
	dir := os.Getenv("PGBAKE_PGDG")
	if dir == "" {
		dir = "../../../shared/pgdg"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../examples/global.yaml")
	if err != nil {
		t.Fatal(err)
	}
	spec := string(text)
	// A copy: apt reads it as a user of its own, who may not be able to enter where the clone lies.
	copied := filepath.Join(place, "pgdg")
	if err := os.CopyFS(copied, os.DirFS(dir)); err == nil {
		dir = copied
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if key, err := os.ReadFile(filepath.Join(dir, "stand-in.asc")); err == nil {
		indented := "      " + strings.ReplaceAll(strings.TrimSpace(string(key)), "\n", "\n      ")
		spec = strings.Replace(spec, "\n  source: pgdg", fmt.Sprintf("\n  mirror:\n    url: file://%s\n    key: |\n%s\n  source: pgdg", dir, indented), 1)
	}
	s := newSite(t, spec)
	s.cache = debian12(t).cache
	s.pgbake("image", "--role", "db", "--format", "raw")
	all := s.packagesOf("bookworm", "db")
	if all["postgresql-17"] == "" || all["postgresql-15"] != "" || all["pgha-node"] == "" || all["pgha-proxy"] != "" {
		t.Errorf("packages: %v", all)
	}
}

// Debian 13, both roles in one image, as a disk and as a root for containers.
func TestTrixie(t *testing.T) {
	s := newSite(t, spec(13, ""))
	s.cache = debian12(t).cache
	out := s.pgbake("image", "--role", "all", "--format", "qcow2-zstd,tar")
	if strings.Count(out, "\n") != 2 {
		t.Errorf("files: %q", out)
	}
	all := s.packagesOf("trixie", "all")
	for _, name := range []string{"pgha-node", "pgha-proxy", "haproxy", "postgresql-17", "linux-image-cloud-amd64"} {
		if all[name] == "" {
			t.Errorf("no %s in the image", name)
		}
	}
	tool(t, "qemu-img", "check", filepath.Join(s.image("trixie", "all"), "pgbake-trixie-all-amd64.zstd.qcow2"))
	list := tool(t, "tar", "--zstd", "-tf", filepath.Join(s.image("trixie", "all"), "pgbake-trixie-all-amd64.tar.zst"))
	if !strings.Contains(list, "./usr/bin/pgha\n") || strings.Contains(list, "ssh_host_") {
		t.Errorf("the tar has %d lines, no pgha or a host key", strings.Count(list, "\n"))
	}
}
