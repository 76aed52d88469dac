package packer16

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// variables are values for those that have no default, and for those that would make Packer download something.
var variables = map[string][]string{
	"pgbake-image":  {},
	"amazon-ebs":    {"region=eu-central-1"},
	"azure-arm":     {"subscription_id=s", "resource_group=g", "location=westeurope"},
	"googlecompute": {"project_id=p", "zone=europe-west3-a"},
	"proxmox-clone": {"proxmox_url=https://proxmox.example.org:8006/api2/json", "proxmox_username=u@pve!packer", "proxmox_token=hidden", "node=pve1", "clone_vm=debian", "address=192.0.2.9/24", "gateway=192.0.2.1", "name_server=192.0.2.1"},
	"qemu":          {"base=cluster.yaml", "base_checksum=none"},
	"vsphere-clone": {"vcenter_server=vcenter.example.org", "vcenter_username=u", "vcenter_password=hidden", "datacenter=d", "cluster=c", "datastore=s", "network=n", "template=debian", "ssh_private_key_file=build.key"},
}

// TestOldBuilders has Debian's Packer, which has a builder for every target inside, take each template without pgbake's
// plugin. What it complains of is younger than it is, and nothing else.
func TestOldBuilders(t *testing.T) {
	packer := need(t)
	dir := templates(t, "--without-plugin")
	younger := map[string][]string{
		"amazon-ebs":    {"imds_support", "metadata_options"},        // plugin 1.2.2, 1.0.0
		"proxmox-clone": {"ipconfig", "nameserver", "tags", "token"}, // plugin 1.0.2 to 1.1.0
	}
	for target := range variables {
		if target == "pgbake-image" {
			continue
		}
		t.Run(target, func(t *testing.T) {
			template := filepath.Join("dist/packer", target, "pgbake.pkr.hcl")
			if out, err := alone(t, dir, packer, "fmt", "-check", "-diff", template); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			out, err := alone(t, dir, packer, validate(target, template)...)
			if diff := cmp.Diff(younger[target], complaints(out)); diff != "" || (err == nil) != (younger[target] == nil) {
				t.Errorf("%v (-want +got):\n%s\n%s", err, diff, out)
			}
		})
	}
}

// TestTemplates has Packer 1.11 look at every template: its layout, its syntax and, where it has the builder's plugin, each
// of its words. It always has pgbake's; make test-packer-plugins gives it those of others that can be had.
func TestTemplates(t *testing.T) {
	needRoot(t)
	packer, err := filepath.Abs("../../bin/packer")
	if err != nil {
		t.Fatal(err)
	}
	plugins, err := filepath.Glob("../../bin/others/packer-plugin-*")
	if err != nil {
		t.Fatal(err)
	}
	plugins = append(plugins, "../../bin/packer-plugin-pgbake")
	_, packerErr := os.Stat(packer)
	if _, err := os.Stat(plugins[len(plugins)-1]); err != nil || packerErr != nil {
		missing(t, "no bin/packer or no bin/packer-plugin-pgbake: make plugin bin/packer")
	}
	installed := map[string]bool{}
	at := t.TempDir()
	t.Setenv("PACKER_PLUGIN_PATH", at)
	for _, p := range plugins {
		p, err := filepath.Abs(p)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(filepath.Base(p), "packer-plugin-")
		source := "github.com/hashicorp/" + name
		if name == "pgbake" {
			source = "github.com/pgbake/pgbake"
		}
		if out, err := alone(t, at, packer, "plugins", "install", "--path", p, source); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		installed[name] = true
	}
	for _, how := range [][]string{{}, {"--without-plugin"}} {
		dir := templates(t, how...)
		for target := range variables {
			template := filepath.Join("dist/packer", target)
			if _, err := os.Stat(filepath.Join(dir, template)); err != nil {
				if target == "pgbake-image" && len(how) > 0 {
					continue
				}
				t.Fatal(err)
			}
			t.Run(strings.Join(append([]string{target}, how...), " "), func(t *testing.T) {
				for _, args := range [][]string{{"fmt", "-check", "-diff", template}, {"validate", "-syntax-only", template}} {
					if out, err := alone(t, dir, packer, args...); err != nil {
						t.Errorf("%v\n%s", err, out)
					}
				}
				plugin, _, _ := strings.Cut(target, "-")
				if !installed[plugin] {
					t.Skipf("no packer-plugin-%s: only its syntax was looked at", plugin)
				}
				// The newest of Amazon's that can be had is 1.2.1; the template wants 1.2.2 for one word.
				older(t, filepath.Join(dir, template, "plugins.pkr.hcl"))
				out, err := alone(t, dir, packer, validate(target, template)...)
				if target == "amazon-ebs" && err != nil && cmp.Equal(complaints(out), []string{"imds_support"}) {
					return
				}
				if err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}

// older lets an older plugin of Amazon's do.
func older(t *testing.T, path string) {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(body), ", >= 1.2.2", "")), 0o600); err != nil {
		t.Fatal(err)
	}
}

func validate(target, template string) []string {
	args := []string{"validate"}
	for _, v := range variables[target] {
		args = append(args, "-var", v)
	}
	return append(args, template)
}

// complaint is what Packer says of a word that a builder does not know.
var complaint = regexp.MustCompile(`(?:An argument named|Blocks of type) "([a-z_]+)" (?:is|are) not expected here`)

// complaints are the words that a builder does not know.
func complaints(out string) (words []string) {
	for _, m := range complaint.FindAllStringSubmatch(out, -1) {
		words = append(words, m[1])
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// templates are those of every target for a cluster with proxies, and what they need beside them. It returns the folder
// that Packer is to be started in.
func templates(t *testing.T, how ...string) string {
	t.Helper()
	dir := t.TempDir()
	body, err := os.ReadFile("../../examples/global.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.yaml"), body, 0o600); err != nil {
		t.Fatal(err)
	}
	pgbake(t, dir, "package", "--arch", "amd64")
	pgbake(t, dir, append([]string{"packer", "--arch", "amd64"}, how...)...)
	key, err := os.ReadFile(filepath.Join(dir, "dist/packer/qemu/build.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "build.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// alone is a Packer without a network, and without whatever the user has for it.
func alone(t *testing.T, dir, packer string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"--net", "--", "sh", "-c", `ip link set lo up && exec "$@"`, "sh", packer}, args...)...)
	cmd.Dir = dir
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "HOME="+home, "PACKER_CONFIG_DIR="+home, "PACKER_CACHE_DIR="+home, "PACKER_NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
