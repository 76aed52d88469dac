package terraform

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestFiles: every target's files are their golden files, for clusters with and without disks for databases.
func TestFiles(t *testing.T) {
	for _, spec := range []string{"../examples/quickstart.yaml", "../examples/two-proxies.yaml", "testdata/vdc.yaml"} {
		c, err := cluster.Load(spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range Targets {
			dir := filepath.Join("testdata", strings.TrimSuffix(filepath.Base(spec), ".yaml"), target.Name)
			t.Run(dir, func(t *testing.T) {
				files, err := Files(c, target)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range files {
					golden(t, filepath.Join(dir, f.Path), f.Body)
				}
				judge(t, files)
				formatted(t, dir)
			})
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

// judge reads all files of a folder together, as Terraform does: every reference leads somewhere, every variable is used,
// and nothing that would be in the state holds a secret.
func judge(t *testing.T, files []rootfs.File) {
	t.Helper()
	there, used := map[string]bool{}, map[string]bool{}
	var bodies []*hclsyntax.Body
	for _, f := range files {
		if filepath.Ext(f.Path) != ".tf" {
			continue
		}
		if !bytes.Equal(hclwrite.Format(f.Body), f.Body) {
			t.Errorf("%s is not as terraform fmt leaves it", f.Path)
		}
		parsed, diags := hclsyntax.ParseConfig(f.Body, f.Path, hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		bodies = append(bodies, parsed.Body.(*hclsyntax.Body))
	}
	for _, body := range bodies {
		for _, b := range body.Blocks {
			switch b.Type {
			case "variable":
				there["var."+b.Labels[0]] = true
			case "locals":
				for name := range b.Body.Attributes {
					there["local."+name] = true
				}
			case "resource":
				there[strings.Join(b.Labels, ".")] = true
			}
		}
	}
	for _, body := range bodies {
		if diags := hclsyntax.Walk(body, &references{t: t, used: used}); diags.HasErrors() {
			t.Fatal(diags)
		}
	}
	for r := range used {
		if !there[r] {
			t.Errorf("%s is used and is not there", r)
		}
	}
	for r := range there {
		if !used[r] && (strings.HasPrefix(r, "var.") || strings.HasPrefix(r, "local.")) {
			t.Errorf("%s is there and is not used", r)
		}
	}
}

// references notes what is referred to, and complains of names that mean something only in other places.
type references struct {
	t      *testing.T
	used   map[string]bool
	inside []hclsyntax.Node
}

// types are those of variables, which look like references.
var types = []string{"string", "number", "bool"}

func (r *references) Enter(n hclsyntax.Node) hcl.Diagnostics {
	r.inside = append(r.inside, n)
	e, ok := n.(*hclsyntax.ScopeTraversalExpr)
	if !ok {
		return nil
	}
	root := e.Traversal.RootName()
	switch {
	case slices.Contains(types, root), r.names(root):
		return nil
	case root == "each":
		if !r.in("resource") {
			r.t.Errorf("%s: each is not inside of a resource", e.Range())
		}
		return nil
	case len(e.Traversal) < 2:
		r.t.Errorf("%s: %s is nothing", e.Range(), root)
		return nil
	}
	attr, ok := e.Traversal[1].(hcl.TraverseAttr)
	switch {
	case !ok:
		r.t.Errorf("%s: %s is nothing", e.Range(), root)
	case root == "path":
		if attr.Name != "module" {
			r.t.Errorf("%s: path.%s", e.Range(), attr.Name)
		}
	default:
		r.used[root+"."+attr.Name] = true
	}
	return nil
}

func (r *references) Exit(hclsyntax.Node) hcl.Diagnostics {
	r.inside = r.inside[:len(r.inside)-1]
	return nil
}

// names tells whether a for expression, a dynamic block or a list of attributes around a place gives a name its meaning.
func (r *references) names(name string) bool {
	return slices.ContainsFunc(r.inside, func(n hclsyntax.Node) bool {
		switch n := n.(type) {
		case *hclsyntax.ForExpr:
			return n.KeyVar == name || n.ValVar == name
		case *hclsyntax.Block:
			return n.Type == "dynamic" && n.Labels[0] == name
		case *hclsyntax.Attribute:
			return n.Name == "ignore_changes"
		}
		return false
	})
}

func (r *references) in(block string) bool {
	return slices.ContainsFunc(r.inside, func(n hclsyntax.Node) bool {
		b, ok := n.(*hclsyntax.Block)
		return ok && b.Type == block
	})
}

// formatted asks Terraform or OpenTofu itself, where there is one: neither is among Debian's packages.
func formatted(t *testing.T, dir string) {
	for _, program := range []string{"tofu", "terraform"} {
		if _, err := exec.LookPath(program); err != nil {
			continue
		}
		cmd := exec.CommandContext(t.Context(), program, "fmt", "-check", "-diff", dir)
		cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s fmt: %v\n%s", program, err, out)
		}
	}
}

func TestTargetNamed(t *testing.T) {
	if _, err := TargetNamed("libvrit"); err == nil || !strings.Contains(err.Error(), `did you mean "libvirt"?`) {
		t.Errorf("%v", err)
	}
	if _, err := TargetNamed("aws"); err == nil || !strings.Contains(err.Error(), "hint: one of libvirt, proxmox") {
		t.Errorf("%v", err)
	}
}

// TestAnyDisk: the machine finds it by what it is; where it stands decides nothing.
func TestAnyDisk(t *testing.T) {
	c, err := cluster.Parse("cluster.yaml", []byte("scope: s\nnetwork: 10.0.0.0/24\nnodes:\n  - {name: n1, address: 10.0.0.1}\nstorage: {data_disk: auto}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range Targets {
		files, err := Files(c, target)
		if err != nil {
			t.Fatal(err)
		}
		all := ""
		for _, f := range files {
			all += string(f.Body)
		}
		if !strings.Contains(all, "GiB of a database's own disk") {
			t.Errorf("%s makes no data disk:\n%s", target.Name, all)
		}
	}
}

// TestDataDisk: a device that no virtio disk is called is refused.
func TestDataDisk(t *testing.T) {
	c, err := cluster.Parse("cluster.yaml", []byte("scope: s\nnetwork: 10.0.0.0/24\nnodes:\n  - {name: n1, address: 10.0.0.1}\nstorage: {data_disk: /dev/sdb}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Files(c, Targets[0]); err == nil || !strings.Contains(err.Error(), "storage.data_disk is /dev/sdb\n      hint: ") {
		t.Errorf("%v", err)
	}
}
