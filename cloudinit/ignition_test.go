package cloudinit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
)

func testIgnition(t testing.TB, path string, m cluster.Machine, snippets Snippets) Ignition {
	t.Helper()
	i, err := testSeed(t, path, m, Options{}).Ignition(snippets)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestIgnitionGolden shows the Butane source, and what Butane makes of it, of the same machines as TestGolden.
func TestIgnitionGolden(t *testing.T) {
	for _, path := range specs(t) {
		c, _, _ := testCluster(t, path)
		machines := []cluster.Machine{c.Machines()[0]}
		if len(c.Proxies) > 0 {
			machines = append(machines, c.Machines()[len(c.Nodes)])
		}
		for _, m := range machines {
			i := testIgnition(t, path, m, nil)
			dir := filepath.Join("testdata", "golden", strings.TrimSuffix(filepath.Base(path), ".yaml"), m.Name)
			golden(t, filepath.Join(dir, "butane"), i.Butane)
			golden(t, filepath.Join(dir, "ignition.json"), indented(t, i.Config))
		}
	}
}

func indented(t testing.TB, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, body, "", " "); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// ignitionConfig is what Ignition reads.
type ignitionConfig struct {
	Ignition struct{ Version string }
	Passwd   struct {
		Users []struct {
			Name              string
			SSHAuthorizedKeys []string
		}
	}
	Storage struct {
		Files []struct {
			Path      string
			Mode      fs.FileMode
			Overwrite bool
			User      struct{ Name string }
			Contents  struct{ Source string }
		}
	}
	Systemd struct{ Units []struct{ Name string } }
}

func read(t testing.TB, i Ignition) ignitionConfig {
	t.Helper()
	var c ignitionConfig
	if err := json.Unmarshal(i.Config, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// data is the body that a data URL holds.
func data(t testing.TB, source string) []byte {
	t.Helper()
	if encoded, ok := strings.CutPrefix(source, "data:;base64,"); ok {
		body, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	text, ok := strings.CutPrefix(source, "data:,")
	if !ok && source != "" {
		t.Fatalf("%.40s is no data URL", source)
	}
	body, err := url.PathUnescape(text)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(body)
}

// TestIgnitionHasFiles proves that Ignition's form has what cloud-init's has: every file with its mode and body, the
// keys; and that a half-done first boot can be done again.
func TestIgnitionHasFiles(t *testing.T) {
	for _, path := range specs(t) {
		c, spec, s := testCluster(t, path)
		for _, m := range c.Machines() {
			got := read(t, testIgnition(t, path, m, nil))
			if got.Ignition.Version != "3.3.0" || len(got.Passwd.Users) != 1 || got.Passwd.Users[0].Name != "debian" {
				t.Fatalf("%s: %+v, %+v", m.Name, got.Ignition, got.Passwd)
			}
			if diff := cmp.Diff(c.SSHKeys, got.Passwd.Users[0].SSHAuthorizedKeys); diff != "" {
				t.Errorf("%s: ssh keys (-want +got):\n%s", m.Name, diff)
			}
			files := map[string]rootfs.File{}
			for _, f := range got.Storage.Files {
				if !f.Overwrite || f.User.Name != "" {
					t.Errorf("%s: %s: overwrite %v, user %q", m.Name, f.Path, f.Overwrite, f.User.Name)
				}
				files[f.Path] = rootfs.File{Path: f.Path, Mode: f.Mode, Body: data(t, f.Contents.Source)}
			}
			for _, want := range Files(c, m, spec, s, testIdentity(m), testWord(t, c, spec)) {
				want.Unit, want.Restart = "", false
				if diff := cmp.Diff(want, files[want.Path]); diff != "" {
					t.Errorf("%s: %s (-want +got):\n%s", m.Name, want.Path, diff)
				}
			}
			if string(files["/etc/hostname"].Body) != m.Name+"\n" {
				t.Errorf("the host's name is %q", files["/etc/hostname"].Body)
			}
			if stock := c.Packages.URL != ""; stock != (len(got.Systemd.Units) == 1) || stock != (len(files[installPath].Body) > 0) {
				t.Errorf("%s: a repository: %v, units: %+v", m.Name, stock, got.Systemd.Units)
			}
		}
	}
}

func TestNetworkUnit(t *testing.T) {
	c, _, _ := testCluster(t, "testdata/machine.yaml")
	m := c.Machines()[0]
	units := ""
	m.MAC = "52:54:00:12:34:56"
	for _, o := range []Options{{Interface: "ens3"}, {}} {
		units += networkUnit(newContent(c, m, nil, o).Network) + "\n"
	}
	golden(t, "testdata/golden/network-units", []byte(units))
}

func TestIgnitionWrite(t *testing.T) {
	c, _, _ := testCluster(t, "testdata/machine.yaml")
	i := testIgnition(t, "testdata/machine.yaml", c.Machines()[0], nil)
	dir := filepath.Join(t.TempDir(), "seeds")
	paths, err := i.Write(dir)
	if err != nil || len(paths) != 3 {
		t.Fatalf("%q, %v", paths, err)
	}
	for _, p := range paths {
		if info, err := os.Stat(p); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
	body, err := os.ReadFile(filepath.Join(dir, "db1.ign"))
	if err != nil || !bytes.Equal(body, i.Config) {
		t.Errorf("db1.ign: %v", err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		if got := fmt.Sprintf(verb, i); got != "(seed)" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

// TestConfigDrive: two readers that know nothing of each other find the file on the drive, below its directories.
func TestConfigDrive(t *testing.T) {
	c, _, _ := testCluster(t, "testdata/machine.yaml")
	i := testIgnition(t, "testdata/machine.yaml", c.Machines()[0], nil)
	dir := t.TempDir()
	if _, err := i.Write(dir); err != nil {
		t.Fatal(err)
	}
	iso := filepath.Join(dir, "db1.ign.iso")
	if got := tool(t, "isoinfo", "-R", "-i", iso, "-x", "/openstack/latest/user_data"); !bytes.Equal(got, i.Config) {
		t.Errorf("isoinfo reads %d bytes, not %d", len(got), len(i.Config))
	}
	out := filepath.Join(dir, "out")
	tool(t, "xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/", out)
	if got, err := os.ReadFile(filepath.Join(out, "openstack", "latest", "user_data")); err != nil || !bytes.Equal(got, i.Config) {
		t.Errorf("xorriso extracts %d bytes, not %d: %v", len(got), len(i.Config), err)
	}
	if got := string(tool(t, "isoinfo", "-d", "-i", iso)); !strings.Contains(got, "Volume id: config-2\n") {
		t.Errorf("the volume's label:\n%s", got)
	}
}

// TestSnippets: a case is a file, its complaints stand beside it. Those without are merged.
func TestSnippets(t *testing.T) {
	cases, _ := filepath.Glob("testdata/snippets/*.bu")
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	c, _, _ := testCluster(t, "testdata/machine.yaml")
	seed := testSeed(t, "testdata/machine.yaml", c.Machines()[0], Options{})
	for _, path := range cases {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s, err := ReadSnippets([]string{path}, []string{"/etc/patroni/config.yml", "/etc/hosts"})
			if err == nil {
				var i Ignition
				if i, err = seed.Ignition(s); err == nil {
					golden(t, strings.TrimSuffix(path, ".bu")+".json", merged(t, i, seed))
					return
				}
			}
			golden(t, strings.TrimSuffix(path, ".bu")+".txt", []byte(err.Error()+"\n"))
		})
	}
}

// merged is a machine's configuration without the seed's own files.
func merged(t *testing.T, i Ignition, s Seed) []byte {
	t.Helper()
	var config map[string]any
	if err := json.Unmarshal(i.Config, &config); err != nil {
		t.Fatal(err)
	}
	own := len(s.content.ignitionFiles())
	storage := config["storage"].(map[string]any)
	storage["files"] = storage["files"].([]any)[own:]
	body, err := json.MarshalIndent(config, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(body, '\n')
}

// Two snippets must not claim the same.
func TestSnippetsTogether(t *testing.T) {
	_, err := ReadSnippets([]string{"testdata/snippets/good.bu", "testdata/snippets/good.bu"}, nil)
	const want = `testdata/snippets/good.bu:11:11: storage.files[0].path: /etc/motd is also in testdata/snippets/good.bu:11:11`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v", err)
	}
	if _, err := ReadSnippets([]string{"testdata/none.bu"}, nil); err == nil || !strings.Contains(err.Error(), "read Butane: open testdata/none.bu") {
		t.Errorf("%v", err)
	}
}

// The example is one that every machine takes.
func TestExampleSnippet(t *testing.T) {
	s, err := ReadSnippets([]string{"../examples/site.bu"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, _, _ := testCluster(t, "testdata/machine.yaml")
	if got := testIgnition(t, "testdata/machine.yaml", c.Machines()[0], s); !strings.Contains(string(got.Config), `"path":"/etc/motd"`) {
		t.Error("it is not merged")
	}
}
