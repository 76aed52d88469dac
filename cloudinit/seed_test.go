package cloudinit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/rootfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// specs are the clusters that seeds are made of: the examples, and what only a test asks for.
func specs(t testing.TB) []string {
	t.Helper()
	ours, _ := filepath.Glob("testdata/*.yaml")
	examples, _ := filepath.Glob("../examples/*.yaml")
	if len(ours) == 0 || len(examples) == 0 {
		t.Fatal("no specifications found")
	}
	return append(ours, examples...)
}

// testCluster is a cluster with fixed secrets, and certificates that are none but have the shape.
func testCluster(t testing.TB, path string) (*cluster.Cluster, []byte, cluster.Sealed) {
	t.Helper()
	spec, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Parse(path, spec)
	if err != nil {
		t.Fatal(err)
	}
	s := cluster.Secrets{
		Replicator: "replicator-Zq4", Rewind: "rewind-Zq5", REST: "rest-Zq6", Stats: "stats-Zq7", VRRP: "vrrp-Zq8",
		Users: map[string]string{},
	}
	for _, u := range c.Postgres.Users {
		s.Users[u.Name] = u.Name + `-"Zq9": #`
	}
	return c, cluster.Bare(spec), cluster.Sealed{Secrets: s}
}

func testIdentity(m cluster.Machine) cluster.Identity {
	names := []string{"etcd", "etcd-client", "rest", "postgres"}
	if m.Role == cluster.Proxy {
		names = []string{"proxy"}
	}
	pem := func(kind, name string) []byte {
		sum := sha256.Sum256([]byte(name))
		return fmt.Appendf(nil, "-----BEGIN %s-----\n%s\n-----END %s-----\n", kind, base64.StdEncoding.EncodeToString(sum[:]), kind)
	}
	id := cluster.Identity{"ca.crt": pem("CERTIFICATE", "ca")}
	for _, n := range names {
		id[n+".crt"] = pem("CERTIFICATE", m.Name+n+".crt")
		id[n+".key"] = pem("TEST KEY", m.Name+n+".key")
	}
	return id
}

// testWord is what machines of a fixed operator are told.
func testWord(t testing.TB, c *cluster.Cluster, spec []byte) cluster.Word {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "secrets")
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "operator.key"), key, 0o600)); err != nil {
		t.Fatal(err)
	}
	identities := map[string]cluster.Identity{}
	for _, m := range c.Machines() {
		identities[m.Name] = testIdentity(m)
	}
	w, _, err := cluster.NewGeneration(dir, c, spec, identities, time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func testSeed(t testing.TB, path string, m cluster.Machine, o Options) Seed {
	t.Helper()
	c, spec, s := testCluster(t, path)
	seed, err := New(c, m, spec, s, testIdentity(m), testWord(t, c, spec), o)
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// TestGolden shows the seed of the first database machine and of the first proxy of every specification.
func TestGolden(t *testing.T) {
	for _, path := range specs(t) {
		c, _, _ := testCluster(t, path)
		machines := []cluster.Machine{c.Machines()[0]}
		if len(c.Proxies) > 0 {
			machines = append(machines, c.Machines()[len(c.Nodes)])
		}
		for _, m := range machines {
			for _, f := range testSeed(t, path, m, Options{}).files() {
				name := strings.TrimSuffix(filepath.Base(path), ".yaml")
				golden(t, filepath.Join("testdata", "golden", name, m.Name, f.Path), f.Body)
			}
		}
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// cloudConfig is what cloud-init reads in user-data.
type cloudConfig struct {
	SSHKeys    []string `yaml:"ssh_authorized_keys"`
	RunCmd     []string `yaml:"runcmd"`
	WriteFiles []struct {
		Path, Owner, Permissions, Encoding, Content string
	} `yaml:"write_files"`
}

// TestUserDataHasFiles proves that user-data says what Files says, to the byte.
func TestUserDataHasFiles(t *testing.T) {
	for _, path := range specs(t) {
		c, spec, s := testCluster(t, path)
		for _, m := range c.Machines() {
			seed := testSeed(t, path, m, Options{})
			var got cloudConfig
			if err := yaml.Unmarshal(seed.UserData, &got); err != nil {
				t.Fatalf("%s: %v\n%s", path, err, seed.UserData)
			}
			if diff := cmp.Diff(c.SSHKeys, got.SSHKeys); diff != "" {
				t.Errorf("%s: ssh keys (-want +got):\n%s", m.Name, diff)
			}
			var files []rootfs.File
			for _, w := range got.WriteFiles {
				var mode fs.FileMode
				if _, err := fmt.Sscanf(w.Permissions, "%o", &mode); err != nil || w.Owner != "root:root" {
					t.Errorf("%s: permissions %q, owner %q", w.Path, w.Permissions, w.Owner)
				}
				body := []byte(w.Content)
				if w.Encoding == "b64" {
					body, _ = base64.StdEncoding.DecodeString(w.Content)
				}
				if !strings.HasPrefix(w.Path, "/etc/apt/") {
					files = append(files, rootfs.File{Path: w.Path, Mode: mode, Body: body})
				}
			}
			want := Files(c, m, spec, s, testIdentity(m), testWord(t, c, spec))
			for i := range want {
				want[i].Unit, want[i].Restart = "", false
			}
			if diff := cmp.Diff(want, files); diff != "" {
				t.Errorf("%s (-want +got):\n%s", m.Name, diff)
			}
		}
	}
}

func TestFilesModes(t *testing.T) {
	c, spec, s := testCluster(t, "../examples/two-proxies.yaml")
	for _, m := range c.Machines() {
		for _, f := range Files(c, m, spec, s, testIdentity(m), testWord(t, c, spec)) {
			secret := strings.Contains(string(f.Body), "-Zq") || strings.Contains(string(f.Body), "TEST KEY")
			if secret != (f.Mode == 0o600) {
				t.Errorf("%s: %s is %04o", m.Name, f.Path, f.Mode)
			}
			// A machine's share, not all.
			if m.Role == cluster.Proxy && strings.Contains(string(f.Body), "replicator-Zq4") {
				t.Errorf("%s: %s has a database's secret", m.Name, f.Path)
			}
		}
	}
}

// TestInstanceID: the same inputs are the same instance; whatever changes on the machine is a new one.
func TestInstanceID(t *testing.T) {
	const path = "../examples/two-proxies.yaml"
	c, spec, s := testCluster(t, path)
	m, w := c.Machines()[0], testWord(t, c, spec)
	made := map[string]string{}
	add := func(what string, spec []byte, s cluster.Sealed, id cluster.Identity, o Options) {
		t.Helper()
		seed, err := New(c, m, spec, s, id, w, o)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := made[string(seed.MetaData)]; ok {
			t.Errorf("%s: the same instance as %s", what, other)
		}
		made[string(seed.MetaData)] = what
	}
	add("the first", spec, s, testIdentity(m), Options{})
	add("another specification", append(spec, '\n'), s, testIdentity(m), Options{})
	add("another card", spec, s, testIdentity(m), Options{Interface: "host0"})
	id := testIdentity(m)
	id["rest.crt"] = []byte("renewed\n")
	add("another certificate", spec, s, id, Options{})
	s.REST += "x"
	add("another secret", spec, s, testIdentity(m), Options{})

	again, _ := New(c, m, append(spec, '\n'), s, testIdentity(m), w, Options{})
	seed, _ := New(c, m, append(spec, '\n'), s, testIdentity(m), w, Options{})
	if diff := cmp.Diff(again.files(), seed.files()); diff != "" {
		t.Errorf("two seeds of the same inputs differ:\n%s", diff)
	}
}

func TestNewRefuses(t *testing.T) {
	c, spec, s := testCluster(t, "../examples/two-proxies.yaml")
	m, w := c.Machines()[0], testWord(t, c, spec)
	if _, err := New(c, m, spec, s, nil, w, Options{}); err == nil {
		t.Error("a seed without certificates")
	}
	s.Replicator = ""
	if _, err := New(c, m, spec, s, testIdentity(m), w, Options{}); err == nil || !strings.Contains(err.Error(), m.Name) {
		t.Errorf("a seed without a secret: %v", err)
	}
}

func TestSeedPrintsAsNothing(t *testing.T) {
	c, _, _ := testCluster(t, "../examples/two-proxies.yaml")
	seed := testSeed(t, "../examples/two-proxies.yaml", c.Machines()[0], Options{})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		if got := fmt.Sprintf(verb, seed); got != "(seed)" {
			t.Errorf("%s prints %d bytes", verb, len(got))
		}
	}
}

func TestWriteFolder(t *testing.T) {
	const path = "../examples/two-proxies.yaml"
	c, spec, s := testCluster(t, path)
	m := c.Machines()[0]
	seed := testSeed(t, path, m, Options{})
	dir := filepath.Join(t.TempDir(), "seeds", m.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	state := func() map[string]string {
		t.Helper()
		got := map[string]string{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, _ := e.Info()
			if info.Mode() != 0o600 {
				t.Errorf("%s is %s", e.Name(), info.Mode())
			}
			body, _ := os.ReadFile(filepath.Join(dir, e.Name()))
			got["/"+e.Name()] = fmt.Sprintf("%x %s", sha256.Sum256(body), info.ModTime().Format(time.RFC3339Nano))
		}
		if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
			t.Errorf("the folder is %s", info.Mode())
		}
		return got
	}
	write := func(s Seed) {
		t.Helper()
		if err := s.WriteFolder(dir); err != nil {
			t.Fatal(err)
		}
	}
	write(seed)
	first := state()
	if len(first) != 3 {
		t.Errorf("the folder holds %d files", len(first))
	}
	for _, f := range seed.files() {
		if body, _ := os.ReadFile(filepath.Join(dir, f.Path)); string(body) != string(f.Body) {
			t.Errorf("%s has another body", f.Path)
		}
	}
	write(seed)
	if diff := cmp.Diff(first, state()); diff != "" {
		t.Errorf("the second time (-before +after):\n%s", diff)
	}
	// A mode that somebody opened is closed, what a killed run left is taken over, what changed is written.
	if err := os.Chmod(filepath.Join(dir, "user-data"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".user-data.pgbake-new"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	changed, err := New(c, m, append(spec, '\n'), s, testIdentity(m), testWord(t, c, spec), Options{})
	if err != nil {
		t.Fatal(err)
	}
	write(changed)
	last := state()
	if len(last) != 3 || last["/network-config"] != first["/network-config"] || last["/user-data"] == first["/user-data"] {
		t.Errorf("after a change (-before +after):\n%s", cmp.Diff(first, last))
	}
}

// TestSeedLeavesTheImage: no seed takes the place of a file that makes an image safe, such as sshd's "keys only".
func TestSeedLeavesTheImage(t *testing.T) {
	c, _, _ := testCluster(t, "testdata/stock-pgdg.yaml")
	if c.Ports.SSH == 22 {
		t.Fatal("this cluster's sshd needs no file of its own")
	}
	i, err := images.New(c, images.All, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range c.Machines() {
		for _, f := range testSeed(t, "testdata/stock-pgdg.yaml", m, Options{}).content.Files {
			if slices.Contains(i.Paths(), f.Path) {
				t.Errorf("the seed of %s overwrites the image's %s", m.Name, f.Path)
			}
		}
	}
}
