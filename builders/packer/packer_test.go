package packer

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/rootfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestFiles: the files of every target are their golden files. Without the plugin only what differs from one target to
// the next is looked at: the scripts are builders/provision's own.
func TestFiles(t *testing.T) {
	for _, k := range []struct {
		name, spec string
		o          Options
	}{
		{"plugin", "quickstart", Options{Roles: []images.Role{images.DB, images.Proxy}, Arch: "amd64", Specification: "cluster.yaml", Out: "dist", Plugin: true}},
		{"arm64", "two-proxies", Options{Roles: []images.Role{images.DB}, Arch: "arm64", Specification: "cluster.yaml", Out: "dist", Plugin: true}},
		{"without", "global", Options{Roles: []images.Role{images.All}, Arch: "amd64", Specification: "my site/cluster.yaml", Out: "/srv/it's ${out}"}},
	} {
		t.Run(k.name, func(t *testing.T) {
			c, err := cluster.Load("../../examples/" + k.spec + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			k.o.BuildKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKReUCRCMP6o1nGXnIQmzqtO3FYEnqWd7tzVQKK7nmTh"
			for _, target := range Targets {
				if target.Check(k.o) != nil {
					continue
				}
				files, err := Files(c, target, k.o)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range files {
					if strings.HasSuffix(f.Path, ".sh") {
						continue
					}
					golden(t, filepath.Join("testdata", k.name, f.Path), f.Body)
					if strings.HasSuffix(f.Path, ".hcl") {
						judge(t, f)
					}
				}
			}
		})
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

// secret are the words of variables that hold one.
var secret = []string{"password", "token", "secret"}

// judge: a template is laid out as the language has it, secrets have no default and are marked, and each variable is
// used, and each that is used is there.
func judge(t *testing.T, f rootfs.File) {
	t.Helper()
	if !bytes.Equal(hclwrite.Format(f.Body), f.Body) {
		t.Errorf("%s is not as packer fmt leaves it", f.Path)
	}
	parsed, diags := hclsyntax.ParseConfig(f.Body, f.Path, hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	there, used := map[string]bool{}, map[string]bool{}
	body := parsed.Body.(*hclsyntax.Body)
	for _, b := range body.Blocks {
		switch b.Type {
		case "variable":
			there["var."+b.Labels[0]] = true
			for _, word := range secret {
				if _, marked := b.Body.Attributes["sensitive"]; strings.Contains(b.Labels[0], word) && (b.Body.Attributes["default"] != nil || !marked) {
					t.Errorf("%s: variable %q has a default or is not sensitive", f.Path, b.Labels[0])
				}
			}
		case "locals":
			for name := range b.Body.Attributes {
				there["local."+name] = true
			}
		}
	}
	diags = hclsyntax.VisitAll(body, func(n hclsyntax.Node) hcl.Diagnostics {
		if e, ok := n.(*hclsyntax.ScopeTraversalExpr); ok && len(e.Traversal) > 1 {
			if attr, ok := e.Traversal[1].(hcl.TraverseAttr); ok && e.Traversal.RootName() != "path" {
				used[e.Traversal.RootName()+"."+attr.Name] = true
			}
		}
		return nil
	})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	// Types of variables look like references of one part, and are none.
	if diff := cmp.Diff(there, used); diff != "" {
		t.Errorf("%s: variables that are there and those that are used (-there +used):\n%s", f.Path, diff)
	}
}

func TestTargetNamed(t *testing.T) {
	_, err := TargetNamed("vmware")
	if err == nil || !strings.Contains(err.Error(), "one of pgbake-image, amazon-ebs") {
		t.Errorf("%v", err)
	}
	_, err = TargetNamed("amazon-ebss")
	if err == nil || !strings.Contains(err.Error(), `did you mean "amazon-ebs"?`) {
		t.Errorf("%v", err)
	}
	qemu, err := TargetNamed("qemu")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Files(nil, qemu, Options{Arch: "arm64", Plugin: true}); err == nil || !strings.Contains(err.Error(), "has no machines of arm64") {
		t.Errorf("%v", err)
	}
	if _, err := Files(nil, Targets[0], Options{}); err == nil || !strings.Contains(err.Error(), "hint: `pgbake image`") {
		t.Errorf("%v", err)
	}
}
