package provision

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
)

var update = flag.Bool("update", false, "write the golden files anew")

const key = `-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEAAAAABYJKwYBBAHaRw8BAQdA
-----END PGP PUBLIC KEY BLOCK-----
`

const head = "scope: s\nnetwork: 10.0.0.0/24\nnodes:\n  - {name: n1, address: 10.0.0.1}\n"

func options(t *testing.T, spec string, role images.Role) Options {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(file, []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	i, err := images.New(c, role, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	return Options{Cluster: c, Image: i}
}

// TestScript: each script is its golden file, and shellcheck has nothing to say of it.
func TestScript(t *testing.T) {
	repository := options(t, head+"debian: 13\npostgres:\n  source: pgdg\n  version: 17\n  mirror: {url: 'http://mirror.example.org/pgdg', key: '"+
		strings.ReplaceAll(key, "\n", "\n\n")+"'}\n", images.DB)
	repository.Repository, repository.Key = "http://apt.example.org/pgbake", key
	unclean := options(t, head+"debian: 12\n", images.All)
	unclean.Unclean = true
	for name, o := range map[string]Options{
		"db-12":         options(t, head+"debian: 12\n", images.DB),
		"proxy-13":      options(t, head+"debian: 13\n", images.Proxy),
		"db-13-mirror":  repository,
		"db-12-pgdg":    options(t, head+"debian: 12\npostgres: {source: pgdg, version: 17}\n", images.DB),
		"all-12-as-was": unclean,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Script(o)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".sh")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
			if _, err := exec.LookPath("shellcheck"); err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatal(err)
				}
				t.Skip("no shellcheck here")
			}
			if out, err := exec.Command("shellcheck", golden).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	o := options(t, head, images.DB)
	o.Repository, o.Key = "apt.example.org", key
	if _, err := Script(o); err == nil || !strings.Contains(err.Error(), `repository "apt.example.org" is no http address`) {
		t.Errorf("%v", err)
	}
	o.Repository, o.Key = "http://apt.example.org", "secret"
	if _, err := Script(o); err == nil || !strings.Contains(err.Error(), "no armored public key") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func TestDebs(t *testing.T) {
	i := options(t, head, images.All).Image
	dir := t.TempDir()
	put := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(want string) {
		t.Helper()
		if got, err := Debs(dir, i); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v, want %q", got, err, want)
		}
	}
	put("pgha-common_1_amd64.deb")
	put("pgha-common_1_arm64.deb")
	put("pgha-node_1_all.deb")
	refused("has no pgha-proxy for amd64\n      hint: pgbake package -o " + dir)
	put("pgha-proxy_1_all.deb")
	got, err := Debs(dir, i)
	if err != nil || len(got) != 3 || filepath.Base(got[0]) != "pgha-common_1_amd64.deb" {
		t.Errorf("%v, %v", got, err)
	}
	put("pgha-node_2_all.deb")
	refused("which one?")
	dir = filepath.Join(dir, "absent")
	refused("no such file or directory\n      hint: pgbake package")
}
