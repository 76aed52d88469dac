// Package packer has real Packer run our plugin, both of which `make` has built: it bakes an image by the builder, and
// makes one of a real Debian machine by the provisioner; the machine then boots from a seed and becomes a database.
package packer

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/test/debian"
)

// spec is a cluster of one.
const spec = `scope: lone
network: 10.42.0.0/24
debian: 12
nodes:
  - {name: db1, address: 10.42.0.11}
postgres:
  databases:
    - {name: app, owner: app}
  users:
    - name: app
`

// site is a directory where somebody works with Packer, who has our packages and nothing else.
type site struct {
	*testing.T
	dir string
	env []string
	// as is what comes before a command: how it gets into a network namespace.
	as []string
}

// root is the repository's top.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// newSite makes one; what it bakes goes into a cache that the runs of this test share.
func newSite(t *testing.T) *site {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("bakes images and boots machines")
	case os.Geteuid() != 0 && os.Getenv("CI") == "true":
		t.Fatal("needs root")
	case os.Geteuid() != 0:
		t.Skip("needs root")
	}
	for _, program := range []string{"pgbake", "packer", "packer-plugin-pgbake"} {
		if _, err := os.Stat(filepath.Join(root(t), "bin", program)); err != nil {
			t.Fatalf("%v: make plugin bin/packer", err)
		}
	}
	dir := debian.Dir(t)
	s := &site{T: t, dir: dir}
	s.env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "PACKER_NO_COLOR=1", "PACKER_LOG=1", "PACKER_LOG_PATH="+s.path("packer.log"),
		"PACKER_PLUGIN_PATH="+s.path("plugins"), "PACKER_CONFIG_DIR="+s.path("config"), "PACKER_CACHE_DIR="+s.path("cache"),
		"PGBAKE_CACHE="+filepath.Join(cache(t), "bake"))
	s.write("cluster.yaml", spec)
	s.ok("pgbake", "-q", "package", "--arch", runtime.GOARCH)
	s.ok("packer", "plugins", "install", "--path", filepath.Join(root(t), "bin/packer-plugin-pgbake"), "github.com/pgbake/pgbake")
	return s
}

func cache(t *testing.T) string { return debian.Cache(t, "packer") }

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, body string) {
	s.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(s.path(name)), 0o755), os.WriteFile(s.path(name), []byte(body), 0o644)); err != nil {
		s.Fatal(err)
	}
}

func (s *site) read(name string) string {
	s.Helper()
	body, err := os.ReadFile(s.path(name))
	if err != nil {
		s.Fatal(err)
	}
	return string(body)
}

// command is one of the programs that make has built.
func (s *site) command(program string, args ...string) *exec.Cmd {
	all := append(append(append([]string{}, s.as...), filepath.Join(root(s.T), "bin", program)), args...)
	cmd := exec.CommandContext(s.Context(), all[0], all[1:]...)
	cmd.Dir, cmd.Env = s.dir, s.env
	return cmd
}

// try runs a program and returns what it wrote on both outputs.
func (s *site) try(program string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := s.command(program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := debian.Run(cmd)
	return out.String(), err
}

func (s *site) ok(program string, args ...string) string {
	s.Helper()
	out, err := s.try(program, args...)
	if err != nil {
		s.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return out
}

// refused runs a packer that must fail, and say all of the words.
func (s *site) refused(words []string, args ...string) {
	s.Helper()
	out, err := s.try("packer", args...)
	if err == nil {
		s.Errorf("packer %s succeeds\n%s", strings.Join(args, " "), out)
	}
	plain := strings.Join(strings.Fields(out), " ") // Packer breaks long lines
	for _, w := range words {
		if !strings.Contains(plain, w) {
			s.Errorf("packer %s does not say %q:\n%s", strings.Join(args, " "), w, out)
		}
	}
}

// example is a template of the plugin's, as people copy it.
func (s *site) example(name string) string {
	s.Helper()
	body, err := os.ReadFile(filepath.Join(root(s.T), "builders/packer-plugin-pgbake/example", name))
	if err != nil {
		s.Fatal(err)
	}
	s.write(name, string(body))
	return string(body)
}

// changed is a template with some words replaced, each of which must be there.
func (s *site) changed(body string, pairs ...string) string {
	s.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(body, pairs[i]) {
			s.Fatalf("the example has no %q", pairs[i])
		}
		body = strings.ReplaceAll(body, pairs[i], pairs[i+1])
	}
	const name = "changed.pkr.hcl"
	s.write(name, body)
	return name
}
