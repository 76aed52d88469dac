package test

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/pgbake/pgbake/"
	plugin = "builders/packer-plugin-pgbake"
)

// Who may import whom, of ours: the design's table. A folder stands for everything below it.
var mayImport = map[string][]string{
	"cluster":    {"internal/suggest"},
	"rootfs":     {},
	"render":     {"cluster", "rootfs"},
	"packages":   {"cluster", "rootfs", "internal"},
	"cloudinit":  {"cluster", "rootfs", "internal"},
	"connection": {"cluster", "rootfs", "internal/libpq"},
	"images":     {"cluster", "rootfs", "internal"},
	"builders":   {"cluster", "images", "rootfs", "internal"},
	// What `pgbake image` and `pgbake seed` take by flag, the plugin takes by key.
	plugin:      {"builders", "cloudinit", "cluster", "images", "render", "rootfs", "internal"},
	"agent":     {"cluster", "rootfs", "render", "internal"},
	"lab":       {"cluster", "internal"},
	"lint":      {"cluster"},
	"terraform": {"cluster", "images", "rootfs", "internal"},
	// A client of the cluster, over the network: it asks nothing of the lab, so that it can be pointed at any cluster.
	"verify":   {"cluster", "internal"},
	"internal": {"internal"},
}

// What only one room may import: libraries that would else leak into every binary.
var only = map[string]string{
	"gopkg.in/yaml.v3":                     "cluster",
	"github.com/xdg-go/stringprep":         "internal/scram",
	"github.com/goreleaser/nfpm":           "packages",
	"github.com/coreos":                    "cloudinit", // butane, and what it speaks: ignition, vcontext
	"github.com/spf13/cobra":               "cmd",
	"github.com/hashicorp/packer":          "builders",
	"github.com/hashicorp/hcl/v2/hclwrite": "internal/hcltext", // its hcldec is how a plugin of Packer says what it takes
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func TestImports(t *testing.T) {
	// Packer's plugin is a module of its own, and a builder like the others.
	for _, p := range append(list(t, "..", "./..."), list(t, "../builders/packer-plugin-pgbake", "./...")...) {
		room := strings.TrimPrefix(p.ImportPath, module)
		top, _, _ := strings.Cut(room, "/")
		if below(room, plugin) {
			top = plugin
		}
		for _, imp := range p.Imports {
			if ours, ok := strings.CutPrefix(imp, module); ok {
				allowed, ruled := mayImport[top]
				if ruled && !slices.ContainsFunc(append(allowed, top), func(a string) bool { return below(ours, a) }) {
					t.Errorf("%s imports %s, which the design does not allow", room, ours)
				}
			}
			for library, owner := range only {
				if below(imp, library) && !below(room, owner) {
					t.Errorf("%s imports %s, which belongs to %s", room, imp, owner)
				}
			}
			if top == "agent" && below(imp, "github.com/jackc") && room != "agent/slots" {
				t.Errorf("%s imports %s: in the agent only agent/slots speaks PostgreSQL's protocol, all else asks by psql", room, imp)
			}
		}
	}
}

// The agent lives on every database server: no build code in it.
func TestAgentLinksNoBuildCode(t *testing.T) {
	for _, p := range list(t, "..", "-deps", "./cmd/pgha") {
		for _, heavy := range []string{module + "packages", module + "cloudinit", module + "lab", module + "lint", module + "connection", module + "verify", module + "runbook", module + "terraform", "github.com/hashicorp", "github.com/coreos", "github.com/goreleaser", "github.com/ProtonMail", "github.com/invopop", "github.com/xdg-go", "golang.org/x/crypto/ssh"} {
			if below(p.ImportPath, heavy) {
				t.Errorf("pgha links %s", p.ImportPath)
			}
		}
	}
}

func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func list(t *testing.T, dir string, args ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		t.Fatal("go list found nothing")
	}
	return all
}

// The documents name tests that there are.
func TestDocumentsNameTests(t *testing.T) {
	there := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		body, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`).FindAllStringSubmatch(string(body), -1) {
			there[m[1]] = true
		}
		return err
	})
	if err != nil || len(there) < 100 {
		t.Fatalf("%d tests: %v", len(there), err)
	}
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil || len(documents) == 0 {
		t.Fatal(documents, err)
	}
	for _, path := range append(documents, "../README.md", "../README.ru.md", "../ARCHITECTURE.md") {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w+`).FindAllString(string(body), -1) {
			if !there[name] {
				t.Errorf("%s names %s, and there is no such test", path, name)
			}
		}
	}
}
