package packer

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/test/debian"
)

// TestImage: the builder's example, as Packer's users use it.
func TestImage(t *testing.T) {
	s := newSite(t)
	body := s.example("image.pkr.hcl")
	if out := s.ok("packer", "fmt", "-check", "-diff", "image.pkr.hcl"); out != "" {
		t.Errorf("packer fmt would change the example:\n%s", out)
	}
	s.ok("packer", "validate", "image.pkr.hcl")

	t.Run("bad input", func(t *testing.T) {
		s := *s
		s.T = t
		bad := func(words []string, pairs ...string) {
			t.Helper()
			s.refused(words, "validate", s.changed(body, pairs...))
		}
		bad([]string{`role: "prox" is none`, `did you mean "proxy"?`, "line 22"}, `"proxy"`+"\n  }", `"prox"`+"\n  }")
		bad([]string{`formats[1]: "vhd" is none`, `did you mean "vhdx"?`, "line 22"}, `var.formats`, `["raw", "vhd"]`)
		bad([]string{`"output_dirctory" is not expected here. Did you mean "output_directory"?`, "line 26"}, `output_directory`, `output_dirctory`)
		bad([]string{"no such file or directory", "hint: pgbake package"}, `= var.offline`, "= false\n  packages = \"nowhere\"")
		bad([]string{"lock_file: ", "hint: locked and offline forbid to make one: pgbake lock"}, `= var.offline`, `= true`)
		bad([]string{`init "ignitoin" is none`, `did you mean "ignition"?`}, `= var.offline`, "= false\n  init = \"ignitoin\"")
		s.write("site.bu", "variant: fcos\nversion: 1.4.0\nstorage:\n  file: []\n")
		bad([]string{`site.bu:4:3: storage: unknown key "file" (did you mean "files"?)`}, `= var.offline`, "= false\n  init = \"ignition\"\n  butane = [\"site.bu\"]")
		s.write("site.bu", "variant: fcos\nversion: 1.4.0\nstorage:\n  files:\n    - path: /etc/motd\n")
		bad([]string{"cloud-init reads no Butane"}, `= var.offline`, "= false\n  butane = [\"site.bu\"]")
		s.write("wrong.yaml", strings.Replace(spec, "nodes:", "noodes:", 1))
		bad([]string{`wrong.yaml:4:1: unknown key "noodes" (did you mean "nodes"?)`, "line 22"}, `= var.specification`, `= "wrong.yaml"`)
	})

	out := s.ok("packer", "build", "-only=*.db", "-var", `formats=["raw", "tar"]`, "image.pkr.hcl")
	for _, want := range []string{"==> pgbake-image.db: Baking the db image of cluster.yaml", "--> pgbake-image.db: pgbake-bookworm-db-amd64-"} {
		if !strings.Contains(out, want) {
			t.Errorf("packer build does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "pgbake-image.proxy") {
		t.Errorf("-only did not leave out the proxy:\n%s", out)
	}
	var manifest images.Manifest
	if err := json.Unmarshal([]byte(s.read("dist/images/pgbake-bookworm-db-amd64/manifest.json")), &manifest); err != nil {
		t.Fatal(err)
	}
	var packers struct {
		Builds []struct {
			BuilderType string            `json:"builder_type"`
			ArtifactID  string            `json:"artifact_id"`
			CustomData  map[string]string `json:"custom_data"`
			Files       []struct {
				Name string
				Size int64
			}
		}
	}
	if err := json.Unmarshal([]byte(s.read("dist/packer-manifest.json")), &packers); err != nil || len(packers.Builds) != 1 {
		t.Fatalf("Packer's manifest: %v\n%s", err, s.read("dist/packer-manifest.json"))
	}
	b := packers.Builds[0]
	if b.BuilderType != "pgbake-image" || b.ArtifactID != manifest.Name+"-"+manifest.Key[:12] || b.CustomData["key"] != manifest.Key {
		t.Errorf("Packer's manifest: %+v", b)
	}
	if len(b.Files) < 2 || !strings.HasSuffix(b.Files[0].Name, "pgbake-bookworm-db-amd64.raw") || b.Files[0].Size != manifest.Files[0].Bytes {
		t.Errorf("the artifact's files: %+v, want the raw disk of %d bytes first", b.Files, manifest.Files[0].Bytes)
	}
	if log := s.read("packer.log"); !strings.Contains(log, " + apt-get update ") {
		t.Error("PACKER_LOG has no command lines")
	}
	if out := s.ok("packer", "build", "-only=*.db", "-var", `formats=["raw", "tar"]`, "image.pkr.hcl"); !strings.Contains(out, "nothing has changed since it was baked") {
		t.Errorf("the same again:\n%s", out)
	}
}

// TestInterrupted: a Ctrl-C in the middle of a bake leaves no process, no mount, no half file.
func TestInterrupted(t *testing.T) {
	s := newSite(t)
	s.example("image.pkr.hcl")
	s.ok("pgbake", "-q", "lock") // with the cache that is there
	own := s.path("own-cache")
	// Downloads that are there are not what is interrupted; links, in the one file system that both are in, or else copies.
	if out, err := exec.Command("sh", "-euc", `mkdir "$2"; cd "$1"; for d in debs; do [ ! -d "$d" ] || cp -al "$d" "$2" 2>/dev/null || cp -a "$d" "$2"; done`,
		"sh", filepath.Join(cache(t), "bake"), own).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.env = append(s.env, "PGBAKE_CACHE="+own)
	cmd := s.command("packer", "build", "-only=*.proxy", "image.pkr.hcl")
	// A group of its own, as a shell's foreground: Ctrl-C is for all of it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	ended, err := debian.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- <-ended; w.Close() }() //nolint:errcheck // a pipe's never fails
	var said strings.Builder
	interrupted := false
	for lines := bufio.NewScanner(r); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if !interrupted && strings.Contains(lines.Text(), "Debian 12: unpacks") {
			interrupted = true
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := <-done; err == nil || !interrupted {
		t.Fatalf("interrupted: %v, %v\n%s", interrupted, err, said.String())
	}
	for _, want := range []string{"Stopped; nothing of this bake stays", "Cleanly cancelled builds after being interrupted"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("Packer does not say %q:\n%s", want, said.String())
		}
	}
	if files, err := filepath.Glob(s.path("dist/images/*/*")); err != nil || len(files) > 0 {
		t.Errorf("there is %q, %v", files, err)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), s.dir) {
		t.Errorf("a mount is left: %v\n%s", err, mounts)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // the dead need a moment
		all := processes(t, s.dir)
		if len(all) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes are left: %q", all)
		}
	}
}

// processes are the command lines of those that have a directory in theirs, in their environment, or work below it.
func processes(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, p := range all {
		line, _ := os.ReadFile(filepath.Join(p, "cmdline")) // it may have ended
		env, _ := os.ReadFile(filepath.Join(p, "environ"))
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		if strings.Contains(string(line)+string(env), dir) || strings.HasPrefix(cwd, dir) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}
