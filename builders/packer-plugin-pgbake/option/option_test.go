package option

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"
)

type settings struct {
	Role    string   `mapstructure:"role"`
	Formats []string `mapstructure:"formats"`
}

// TestDecode: a JSON template's unknown keys, all at once.
func TestDecode(t *testing.T) {
	keys := []string{"role", "formats"}
	var s settings
	if err := Decode(&s, &interpolate.Context{}, keys, map[string]any{"role": "db", "formats": []string{"raw"}}); err != nil || s.Role != "db" {
		t.Errorf("%+v, %v", s, err)
	}
	err := Decode(&s, &interpolate.Context{}, keys, map[string]any{"rolle": "db", "color": "red"})
	want := `unknown key "color"
      hint: one of role, formats
unknown key "rolle"
      hint: did you mean "role"?`
	if err == nil {
		t.Fatal("decoded")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestValues(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(file, []byte("scope: s\nnetwork: 10.0.0.0/24\nnodes:\n  - {name: n1, address: 10.0.0.1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Specification(&file)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(err error, want ...string) {
		t.Helper()
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%v, want %q", err, w)
			}
		}
	}
	arch := "amd46"
	_, err = Image(c, "prox", &arch)
	refused(err, "role: \"prox\" is none\n      hint: did you mean \"proxy\"?", "arch: \"amd46\" is none\n      hint: did you mean \"amd64\"?")
	arch = "arm64"
	_, err = Image(c, "", &arch)
	refused(err, "role: which one is missing\n      hint: one of db, proxy, all")
	if i, err := Image(c, "all", &arch); err != nil || i.Arch != "arm64" {
		t.Errorf("%+v, %v", i, err)
	}
	_, err = Formats([]string{"raw", "qcow", "raw"})
	refused(err, "formats[1]: \"qcow\" is none\n      hint: did you mean \"qcow2\"?", `formats[2]: "raw" is there twice`)
	absent := filepath.Join(t.TempDir(), "cluster.yaml")
	_, err = Specification(&absent)
	refused(err, "specification:\n", "no such file")
}
