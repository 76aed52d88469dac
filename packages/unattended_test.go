package packages

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/cloudinit"
	"github.com/pgbake/pgbake/cluster"
)

// blacklist is what apt makes of pgha-common's file, as unattended-upgrades takes it: each entry is for the beginning of a
// package's name.
func blacklist(t *testing.T) (dump string, blocked func(string) bool) {
	t.Helper()
	tool(t, "apt-config")
	cmd := exec.Command("apt-config", "dump")
	// None of this host's own.
	cmd.Env = append(os.Environ(), "APT_CONFIG="+fileOf(t, `Dir::Etc::parts "/dev/null"; Dir::Etc::main "`+abs(t, "pgha-common/root/etc/apt/apt.conf.d/52pgbake")+`";`))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var all []*regexp.Regexp
	for _, m := range regexp.MustCompile(`(?m)^Unattended-Upgrade::Package-Blacklist:: "(.*)";$`).FindAllStringSubmatch(string(out), -1) {
		all = append(all, regexp.MustCompile(`\A(?:`+m[1]+`)`))
	}
	return string(out), func(name string) bool {
		return slices.ContainsFunc(all, func(r *regexp.Regexp) bool { return r.MatchString(name) })
	}
}

func abs(t *testing.T, name string) string {
	t.Helper()
	name, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// fileOf is a file with a body.
func fileOf(t *testing.T, body string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestBlacklist: every package whose upgrade restarts something of a cluster is in the list, and nothing else is.
func TestBlacklist(t *testing.T) {
	names := slices.Concat(Names, []string{"postgresql-common", "postgresql-client-common", "postgresql", "postgresql-contrib"})
	for _, spec := range []string{
		"debian: 12\n", "debian: 13\n", "debian: 12\npostgres: {source: pgdg, version: 16}\n", "debian: 13\npostgres: {source: pgdg, version: 18}\n",
		"backup:\n  repository: {type: path, path: /mnt/backup}\n",
	} {
		file := fileOf(t, "scope: s\nnetwork: 10.0.0.0/24\nnodes:\n  - {name: n1, address: 10.0.0.1}\nproxies:\n  - {name: p1, address: 10.0.0.2}\n"+spec)
		c, err := cluster.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range c.Machines() {
			names = append(names, c.PackagesFor(m.Role)...)
		}
	}
	dump, blocked := blacklist(t)
	for _, name := range names {
		// socat is a program that nothing keeps running.
		if !blocked(name) && name != "socat" {
			t.Errorf("unattended-upgrades would upgrade %s", name)
		}
	}
	for _, name := range []string{"linux-image-amd64", "openssl", "libssl3", "libpq5", "libc6", "python3", "python3-psycopg2", "chrony", "apt", "tzdata"} {
		if blocked(name) {
			t.Errorf("unattended-upgrades would leave %s with its holes", name)
		}
	}
	if !strings.Contains(dump, "\nUnattended-Upgrade::Automatic-Reboot \"false\";\n") {
		t.Errorf("unattended-upgrades may start the machine anew:\n%s", dump)
	}
}

// TestConffiles: an operator's Butane takes the place of none of what the packages have in /etc.
func TestConffiles(t *testing.T) {
	var found int
	for _, name := range Names {
		err := fs.WalkDir(tree, name+"/root/etc", func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			found++
			path := strings.TrimPrefix(p, name+"/root")
			bu := fileOf(t, fmt.Sprintf("variant: fcos\nversion: 1.4.0\nstorage:\n  files:\n  - path: %s\n    contents: {inline: mine}\n", path))
			if _, err := cloudinit.ReadSnippets([]string{bu}, nil); err == nil || !strings.Contains(err.Error(), "pgbake writes "+path) {
				t.Errorf("%s: Butane may write it: %v", path, err)
			}
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if found == 0 {
		t.Error("the packages have nothing in /etc")
	}
}
