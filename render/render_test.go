package render

import (
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// specs are the examples and what only a test wants; a new case is a new file.
func specs(t *testing.T) map[string]*cluster.Cluster {
	t.Helper()
	all := map[string]*cluster.Cluster{}
	for _, pattern := range []string{"../examples/*.yaml", "testdata/specs/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: no files: %v", pattern, err)
		}
		for _, path := range paths {
			c, err := cluster.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			all[strings.TrimSuffix(filepath.Base(path), ".yaml")] = c
		}
	}
	return all
}

// machine is a preview of a machine of which more is known.
func machine(t *testing.T, c *cluster.Cluster, m cluster.Machine) []rootfs.File {
	t.Helper()
	in := Preview(c)
	in.Memory, in.Disk, in.Interface = 4<<30, 50<<30, "eth0"
	files, err := Node(c, m, in)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestGolden compares whole trees: testdata/golden/SPEC/MACHINE/etc/…, and what is not in a body in the file "index".
// Of the database members only the first is kept: the others differ in two words.
func TestGolden(t *testing.T) {
	const golden = "testdata/golden"
	want, got := map[string]string{}, map[string]string{}
	for name, c := range specs(t) {
		for i, m := range c.Machines() {
			if m.Role == cluster.DB && i > 0 {
				continue
			}
			var index strings.Builder
			for _, f := range machine(t, c, m) {
				fmt.Fprintf(&index, "%-46s %04o %-13s%s\n", f.Path, f.Mode, cmp.Or(f.Owner, "root"), hears(f))
				if !strings.Contains(f.Path, "/tls/") {
					got[filepath.Join(golden, name, m.Name, f.Path)] = string(f.Body)
				}
			}
			got[filepath.Join(golden, name, m.Name, "index")] = index.String()
		}
	}
	if *update {
		if err := os.RemoveAll(golden); err != nil {
			t.Fatal(err)
		}
		for path, body := range got {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	err := filepath.WalkDir(golden, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		want[path] = string(body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("run with -update and read the difference (-want +got):\n%s", d)
	}
}

// hears says who must hear of a change.
func hears(f rootfs.File) string {
	switch {
	case f.Unit == "":
		return "-"
	case f.Restart:
		return "restart " + f.Unit
	}
	return "reload " + f.Unit
}

func TestTableAndTemplatesAreTheSame(t *testing.T) {
	var rows, files []string
	for _, r := range table {
		if len(r.from) == 0 {
			rows = append(rows, "root"+r.path)
		}
	}
	err := fs.WalkDir(templates, "root", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(rows)
	if d := gocmp.Diff(files, rows); d != "" {
		t.Errorf("templates and the table's rows (-template +row):\n%s", d)
	}
	if len(slices.Compact(rows)) != len(files) {
		t.Error("a path is in the table twice")
	}
}

// TestEveryFileSaysWhoWroteIt covers what has comments: certificates have none.
func TestEveryFileSaysWhoWroteIt(t *testing.T) {
	for name, c := range specs(t) {
		for _, m := range c.Machines() {
			for _, f := range machine(t, c, m) {
				head, _, _ := strings.Cut(string(f.Body), "\n")
				if !strings.Contains(f.Path, "/tls/") && (!strings.Contains(head, "Written by pgbake") || !strings.Contains(head, "pgha apply")) {
					t.Errorf("%s %s%s begins with %q", name, m.Name, f.Path, head)
				}
			}
		}
	}
}

// TestSecretsStayPrivate gives every secret a word of its own and looks for it.
func TestSecretsStayPrivate(t *testing.T) {
	for name, c := range specs(t) {
		all := cluster.Secrets{
			Replicator: "s3cret-replicator", Rewind: "s3cret-rewind", REST: "s3cret-rest", Stats: "s3cret-stats",
			VRRP: "s3cretvr", RepositoryKey: "s3cret-key", RepositoryKeySecret: "s3cret-key-secret", RepositoryCipher: "s3cret-cipher", RepositorySSHKey: "-----BEGIN s3cret-ssh", Users: map[string]string{},
		}
		for _, u := range c.Postgres.Users {
			all.Users[u.Name] = "s3cret-user-" + u.Name
		}
		for _, m := range c.Machines() {
			in := Preview(c)
			in.Secrets = cluster.Sealed{Secrets: all}.For(m.Role)
			for file := range in.Identity {
				if strings.HasSuffix(file, ".key") {
					in.Identity[file] = []byte("s3cret-" + file)
				}
			}
			files, err := Node(c, m, in)
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			for _, f := range files {
				if !strings.Contains(string(f.Body), "s3cret") {
					continue
				}
				found++
				private := f.Mode == 0o600 || f.Mode == 0o640 && (f.Owner == "root:haproxy" || f.Owner == "root:postgres")
				if !private {
					t.Errorf("%s %s: %s is %04o %s and holds a secret", name, m.Name, f.Path, f.Mode, f.Owner)
				}
			}
			if found == 0 {
				t.Errorf("%s %s: no secret found at all", name, m.Name)
			}
		}
	}
}

func TestNodeRefusesWhatIsMissing(t *testing.T) {
	c := specs(t)["two-proxies"]
	db, _ := c.Machine("shop-db1")
	proxy, _ := c.Machine("shop-proxy1")
	for want, spoil := range map[string]func(*Input) cluster.Machine{
		"render shop-db1: the machine's secrets have no rest":              func(in *Input) cluster.Machine { in.Secrets.REST = ""; return db },
		"render shop-db1: the machine's secrets have no replicator":        func(in *Input) cluster.Machine { in.Secrets.Replicator = ""; return db },
		"render shop-db1: the machine's secrets have no users.billing":     func(in *Input) cluster.Machine { delete(in.Secrets.Users, "billing"); return db },
		"render shop-db1: the secret rewind has a control character in it": func(in *Input) cluster.Machine { in.Secrets.Rewind = "a\nb"; return db },
		"render shop-proxy1: the machine's secrets have no stats":          func(in *Input) cluster.Machine { in.Secrets.Stats = ""; return proxy },
		"render shop-proxy1: the secret vrrp must be up to eight letters and digits": func(in *Input) cluster.Machine {
			in.Secrets.VRRP = "too long a word"
			return proxy
		},
		"render shop-db1: /etc/patroni/tls/rest.key: the machine's identity has no rest.key": func(in *Input) cluster.Machine {
			delete(in.Identity, "rest.key")
			return db
		},
	} {
		in := Preview(c)
		m := spoil(&in)
		if _, err := Node(c, m, in); err == nil || err.Error() != want {
			t.Errorf("got error %v, want %s", err, want)
		}
	}
}
