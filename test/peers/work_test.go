package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/builders/native"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/ui"
	"github.com/pgbake/pgbake/rootfs"
)

// work is one directory with everything that a run of the benchmark reads and writes.
type work struct {
	dir string
	// programs are pgbake in versions that differ in nothing but their packages' version: what a change of pgha is.
	programs []string
	// packages are the names that an image of a role has, those of its boot loader left out.
	packages map[images.Role][]string
}

// versions is how many there are: the first for the cold builds, each other for one change.
const versions = 3

func newWork(b *testing.B) *work {
	b.Helper()
	dir, err := os.MkdirTemp(os.Getenv("PEER_DIR"), "pgbake-peers-")
	if err != nil {
		b.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // apt reads as a user of its own
		b.Fatal(err)
	}
	w := &work{dir: dir, packages: map[images.Role][]string{}}
	b.Cleanup(func() {
		if os.Getenv("PEER_KEEP") != "" {
			b.Log(dir)
		} else if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	for _, make := range []func(*testing.B) error{w.spec, w.builds, w.inputs} {
		if err := make(b); err != nil {
			b.Fatal(err)
		}
	}
	return w
}

func (w *work) path(name ...string) string { return filepath.Join(w.dir, filepath.Join(name...)) }

// spec is the quickstart's cluster on Debian 12.
func (w *work) spec(*testing.B) error {
	body, err := os.ReadFile("../../examples/quickstart.yaml")
	if err != nil {
		return err
	}
	return write(w.path("spec", "cluster.yaml"), append(body, "debian: 12\n"...), 0o644)
}

// builds makes the programs, and the packages that each carries.
func (w *work) builds(b *testing.B) error {
	if _, err := os.Stat("../../cmd/pgbake/agents/pgha-amd64"); err != nil {
		return fmt.Errorf("%w\n      hint: make build", err)
	}
	for i := range versions {
		program := w.path(fmt.Sprintf("pgbake.%d", i))
		cmd := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-buildvcs=false",
			"-ldflags", fmt.Sprintf("-s -w -X main.version=0.1.0+peers%d", i), "-o", program, "../../cmd/pgbake")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		w.programs = append(w.programs, program)
		if err := tool("", program, "-q", "-f", w.path("spec", "cluster.yaml"), "-o", w.path(fmt.Sprintf("debs.%d", i)), "package", "--arch", "amd64"); err != nil {
			return err
		}
	}
	return nil
}

// inputs is what the peers are given: pgbake's own list of packages, its sources, the image's files and units.
func (w *work) inputs(b *testing.B) error {
	c, err := cluster.Load(w.path("spec", "cluster.yaml"))
	if err != nil {
		return err
	}
	db, err := images.New(c, images.DB, "amd64")
	if err != nil {
		return err
	}
	proxy, err := images.New(c, images.Proxy, "amd64")
	if err != nil {
		return err
	}
	lock, err := native.Resolve(b.Context(), native.ResolveOptions{
		Runner: run.System{}, UI: ui.New(os.Stderr, ui.Quiet), Cache: w.path("resolve"), Cluster: c, Images: []images.Image{db, proxy},
	})
	if err != nil {
		return err
	}
	base := w.list(lock, "base")
	for _, i := range []images.Image{db, proxy} {
		w.packages[i.Role] = slices.Concat(base, w.list(lock, string(i.Role)), i.PGHA())
		if err := write(w.path("in", "packages."+string(i.Role)+".pgha"), lines(i.PGHA()), 0o644); err != nil {
			return err
		}
	}
	files := append(db.Files(),
		// As pgbake has it during a build: no service starts, no cluster is made, no question asked.
		rootfs.File{Path: "/usr/sbin/policy-rc.d", Mode: 0o755, Body: []byte("#!/bin/sh\nexit 101\n")},
		rootfs.File{Path: "/etc/postgresql-common/createcluster.d/peers.conf", Mode: 0o644, Body: []byte("create_main_cluster = false\n")},
		rootfs.File{Path: "/etc/apt/apt.conf.d/99peers", Mode: 0o644, Body: []byte("Acquire::Languages \"none\";\nAPT::Install-Recommends \"false\";\n")},
		rootfs.File{Path: "/etc/dpkg/dpkg.cfg.d/peers", Mode: 0o644, Body: []byte("force-confold\nforce-unsafe-io\n")},
	)
	files = slices.DeleteFunc(files, func(f rootfs.File) bool { return f.Path == "/etc/machine-id" }) // systemd's package asks for it
	if err := os.MkdirAll(w.path("in", "files"), 0o755); err != nil {
		return err
	}
	if _, err := rootfs.Write(w.path("in", "files"), files); err != nil {
		return err
	}
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	var list, deb822 bytes.Buffer
	for _, s := range lock.Sources {
		fmt.Fprintf(&list, "deb [signed-by=%s] %s %s main\n", keyring, s.URI, s.Suite)
		fmt.Fprintf(&deb822, "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n", s.URI, s.Suite, keyring)
	}
	finish, err := os.ReadFile("finish.sh")
	return errors.Join(err,
		write(w.path("in", "finish.sh"), finish, 0o755),
		write(w.path("in", "grub.cfg"), []byte(grubConfig), 0o644),
		write(w.path("in", "sources.list"), list.Bytes(), 0o644),
		write(w.path("in", "mkosi.sources"), deb822.Bytes(), 0o644),
		w.pgha(0))
}

const grubConfig = `search --no-floppy --label root --set=root
linux /vmlinuz root=LABEL=root ro console=tty0 console=ttyS0,115200
initrd /initrd.img
boot
`

// list writes the names of a layer's packages, and returns them.
func (w *work) list(lock *native.Lock, layer string) []string {
	all, _ := lock.Layer(layer)
	var names []string
	for _, p := range all.Packages {
		names = append(names, p.Name)
	}
	if err := write(w.path("in", "packages."+layer), lines(names), 0o644); err != nil {
		panic(err)
	}
	return names
}

// pgha lays out the packages of a version for the peers.
func (w *work) pgha(version int) error {
	if err := os.RemoveAll(w.path("in", "pgha")); err != nil {
		return err
	}
	for _, role := range []images.Role{images.DB, images.Proxy} {
		i := images.Image{Role: role}
		var units []string
		for _, u := range i.Units() {
			units = append(units, strings.Join(u, " "))
		}
		dir := w.path("in", "pgha", string(role))
		if err := write(filepath.Join(dir, "units"), lines(units), 0o644); err != nil {
			return err
		}
		for _, name := range i.PGHA() {
			debs, err := filepath.Glob(w.path(fmt.Sprintf("debs.%d", version), name+"_*.deb"))
			if err != nil || len(debs) != 1 {
				return fmt.Errorf("%d packages %s, want one", len(debs), name)
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := os.Link(debs[0], filepath.Join(dir, filepath.Base(debs[0]))); err != nil {
				return err
			}
		}
	}
	return nil
}

func lines(all []string) []byte { return []byte(strings.Join(all, "\n") + "\n") }

func write(name string, body []byte, mode os.FileMode) error {
	return errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, body, mode))
}

// tool runs a program that must succeed.
func tool(dir string, args ...string) error {
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// loops are the loop devices in use, by name, and their files.
func loops() (map[string]string, error) {
	out, err := exec.CommandContext(context.Background(), "losetup", "--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE").Output()
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		all[name] = file
	}
	return all, nil
}

// detachLoops frees the loop devices that a builder which failed left on its disk: those that were not there before.
// Seen from here their file's path begins nowhere in particular, since the builder's mounts are gone.
func detachLoops(before map[string]string) error {
	now, err := loops()
	for name, file := range now {
		if _, ok := before[name]; !ok && strings.Contains(file, "/disk.raw") {
			err = errors.Join(err, tool("", "losetup", "--detach", name))
		}
	}
	return err
}
