package lint

import (
	"bytes"
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/render"
)

// own are all files that render makes for all machines of a specification, with passwords like the real ones.
func own(t *testing.T, c *cluster.Cluster) (files []File) {
	t.Helper()
	in := render.Preview(c)
	in.Secrets.Replicator, in.Secrets.Rewind, in.Secrets.REST, in.Secrets.Stats, in.Secrets.VRRP = rand.Text(), rand.Text(), rand.Text(), rand.Text(), rand.Text()[:8]
	for _, u := range c.Postgres.Users {
		in.Secrets.Users[u.Name] = rand.Text()
	}
	for _, m := range c.Machines() {
		list, err := render.Node(c, m, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			files = append(files, File{Name: m.Name + f.Path, Mode: f.Mode, Body: f.Body})
		}
	}
	return files
}

// What pgbake itself writes has none of the mistakes, all machines' files taken together; nor have the units and scripts
// of its packages.
func TestOwnFilesAreClean(t *testing.T) {
	for _, pattern := range []string{"../examples/*.yaml", "../render/testdata/specs/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, path := range paths {
			c, err := cluster.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			all := append(own(t, c), packaged(t)...)
			seen := map[Kind]int{}
			known := slices.DeleteFunc(all, func(f File) bool {
				kind := Recognize(f.Name, f.Body)
				seen[kind]++
				return kind == "" // hosts, sysctl, nftables, chrony, certificates
			})
			if seen[Patroni] != len(c.Nodes) || seen[Etcd] != len(c.Nodes) || seen[HAProxy] != len(c.Proxies) || c.VirtualAddress.IsValid() && seen[Keepalived] != 2 || seen[Unit] == 0 || seen[Script] == 0 {
				t.Errorf("%s: recognized %v", path, seen)
			}
			found, err := Check(known)
			if err != nil {
				t.Error(err)
			}
			for _, f := range found {
				// Patroni 3.0.2 knows failsafe_mode, but demotes all the same (render.Dynamic): it is left out there.
				if f.Message == "no failsafe_mode" && !c.Patroni4() {
					continue
				}
				t.Errorf("%s: %s", path, f)
			}
		}
	}
}

func packaged(t *testing.T) (files []File) {
	t.Helper()
	err := filepath.WalkDir("../packages", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, "/root/") {
			return err
		}
		body, err := os.ReadFile(path)
		if bytes.HasPrefix(body, []byte("#!")) || bytes.Contains(body, []byte("[Unit]")) || bytes.Contains(body, []byte("[Service]")) {
			files = append(files, File{Name: path, Body: body})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A mistake put into our own files is found: the test above can fail.
func TestOwnFilesMadeWrong(t *testing.T) {
	c, err := cluster.Load("../examples/two-proxies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for rule, change := range map[string][2]string{
		"D7":  {"    synchronous_mode: quorum\n", "    synchronous_mode: quorum\n    postgresql: {parameters: {synchronous_standby_names: x}}\n"},
		"D11": {"  mode: automatic", "  mode: off"},
		"D13": {"https://", "http://"},
		"D14": {"  certfile: /etc/patroni/tls/rest.crt\n", ""},
		"D19": {"    load-server-state-from-file global\n", ""},
		"D21": {"    unicast_peer {", "    peer {"},
		"D26": {"ETCD_ELECTION_TIMEOUT=2000\n", ""},
		"X4":  {"default-server port 8008", "default-server port 8009"},
		"X5":  {" check-ssl verify required", ""},
		"X8":  {"", ""},
	} {
		files := own(t, c)
		changed := rule == "X8" // our own has no ETCD_INITIAL_CLUSTER: the agent adds it
		for i, f := range files {
			if Recognize(f.Name, f.Body) == "" {
				files[i].Kind = Script
			}
			if body := strings.Replace(string(f.Body), change[0], change[1], 1); body != string(f.Body) {
				files[i].Body, changed = []byte(body), true
			}
			if rule == "X8" && strings.HasSuffix(f.Name, "/default/etcd") {
				files[i].Body = append(slices.Clone(f.Body), "ETCD_INITIAL_CLUSTER=other=https://10.0.0.1:2380\n"...)
			}
		}
		found, err := Check(files)
		if err != nil || !changed || !slices.ContainsFunc(found, func(f Finding) bool { return f.Rule == rule }) {
			t.Errorf("%s: changed %v, found %v, %v", rule, changed, found, err)
		}
	}
}
