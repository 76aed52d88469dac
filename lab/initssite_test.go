package lab

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/test/debian"
)

// initsSite is what the machines are made of: pgbake's own command bakes and seeds, as an operator does.
type initsSite struct {
	*testing.T
	dir, cache string
	made       int64 // the newest of the images' own times
	images     map[string]string
	c          *cluster.Cluster
	machine    cluster.Machine
}

func newInitsSite(t *testing.T) *initsSite {
	t.Helper()
	needMachines(t)
	needQEMU(t)
	if os.Getenv("PGBAKE_QEMU") == "" {
		t.Skip("make test-all: translated machines take two processors for half an hour")
	}
	h := NewHost(run.System{}, nil)
	s := &initsSite{T: t, dir: labsDir(t), cache: h.Cache, images: map[string]string{}}
	// The images are in the host's cache, under one name for all runs.
	if err := os.MkdirAll(s.cache, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(debian.Lock(t, filepath.Join(s.cache, "inits.lock")))
	if err := write(filepath.Join(s.dir, "cluster.yaml"), initsSpec, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.c, err = cluster.Parse("cluster.yaml", []byte(initsSpec)); err != nil {
		t.Fatal(err)
	}
	s.machine, _ = s.c.Machine("member")
	s.pgbake("init")
	s.pgbake("seed", "--format", "cloud-init,ignition")
	s.pgbake("lock", "--init", "cloud-init,ignition")
	for _, init := range []string{"cloud-init", "ignition"} {
		// In the cache, where the next run finds them.
		out := s.pgbake("-o", filepath.Join(s.cache, "lab"), "image", "--role", string(s.machine.Role), "--format", "raw", "--init", init)
		s.images[init] = strings.TrimSpace(out)
		body, err := os.ReadFile(filepath.Join(filepath.Dir(s.images[init]), "manifest.json"))
		var m struct{ Created time.Time }
		if err = errors.Join(err, json.Unmarshal(body, &m)); err != nil {
			t.Fatal(err)
		}
		s.made = max(s.made, m.Created.Unix())
	}
	return s
}

func (s *initsSite) pgbake(args ...string) string {
	s.Helper()
	bin, err := filepath.Abs("../bin/pgbake")
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir = s.dir
	var talk strings.Builder
	cmd.Stderr = &talk
	out, err := cmd.Output()
	if err != nil {
		s.Fatalf("pgbake %s: %v\n%s", strings.Join(args, " "), err, talk.String())
	}
	return string(out)
}

// start starts the machine by an init and a seed; it ends with the test.
func (s *initsSite) start(label, init, seed string) (*qemu, error) {
	m := &qemu{
		name: s.machine.Name, label: "pgbake-inits-" + label, dir: filepath.Join(s.dir, label), mac: hardwareAddress(s.machine.Name), leashed: true,
		run: run.System{}, kvm: kvm{device: "/dev/kvm", verdict: filepath.Join(s.cache, "kvm"), patience: kvmTime},
	}
	if err := m.make(s.Context(), s.images[init], seed); err != nil {
		return nil, err
	}
	s.Cleanup(func() {
		ctx, cancel := limit(context.WithoutCancel(s.Context()), faultTime)
		defer cancel()
		if m.Alive() {
			if err := m.Kill(ctx); err != nil {
				s.Error(err)
			}
		}
	})
	return m, m.Start(s.Context())
}
