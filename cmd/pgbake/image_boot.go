package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/builders/native"
	"github.com/pgbake/pgbake/cloudinit"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/step"
	"github.com/pgbake/pgbake/lab"
)

// firmwares start an image each in their way.
var firmwares = []struct {
	name string
	uefi bool
}{{"BIOS", false}, {"UEFI", true}}

// unbootable are the formats that QEMU does not start from.
var unbootable = []string{"ova", "tar"}

// bootImages boots each image by BIOS and by UEFI, and prints what it saw. Where there are files of several formats,
// each firmware gets another one.
func (a *app) bootImages(cmd *cobra.Command, baked []native.Baked, timeout time.Duration) error {
	for _, b := range baked {
		files := slices.DeleteFunc(slices.Clone(b.Manifest.Files), func(f images.Output) bool { return slices.Contains(unbootable, f.Format) })
		if len(files) == 0 {
			return fmt.Errorf("test %s: QEMU boots none of its formats\n      hint: --format qcow2 besides", filepath.Base(b.Dir))
		}
		for i, f := range firmwares {
			file := filepath.Join(b.Dir, files[i%len(files)].File)
			role := machineRole(b.Manifest.Role, i)
			name := fmt.Sprintf("%s by %s", filepath.Base(file), f.name)
			err := step.Run(cmd.Context(), a.ui, step.Step{Name: "test " + name, Run: func(ctx context.Context) error {
				ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("gave up after %s\n      hint: --test-timeout gives it longer, where there is no KVM", timeout))
				defer cancel()
				return a.bootImage(ctx, b.Manifest, file, role, f.uefi, func(what string) { fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", name, what) })
			}})
			if err != nil {
				return fmt.Errorf("test %s: %w", name, err)
			}
		}
	}
	return nil
}

// machineRole is what the image becomes in its n-th boot: one for all roles shows each of them once.
func machineRole(r images.Role, n int) cluster.Role {
	if r == images.Proxy || r == images.All && n > 0 {
		return cluster.Proxy
	}
	return cluster.DB
}

// trialSpec is a cluster that lives for one boot: a lone member, or a proxy whose members are not there.
const trialSpec = `scope: trial
network: 10.0.2.0/24
debian: %d
nodes:
  - {name: member, address: 10.0.2.11}
%spostgres:
  version: %d
  source: %s
  databases:
    - {name: app, owner: app}
  users:
    - name: app
`

// bootImage boots an image as a machine of the role, with secrets that are made for it and thrown away.
func (a *app) bootImage(ctx context.Context, m images.Manifest, file string, role cluster.Role, uefi bool, found func(string)) error {
	mine, err := a.load()
	if err != nil {
		return err
	}
	cache, err := native.Cache()
	if err != nil {
		return err
	}
	dir, remove, err := native.Work(cache)
	if err != nil {
		return err
	}
	machine, proxies := "member", ""
	if role == cluster.Proxy {
		machine, proxies = "proxy", "proxies:\n  - {name: proxy, address: 10.0.2.21}\n"
	}
	trial := &app{spec: filepath.Join(dir, "cluster.yaml"), ui: a.ui}
	spec := fmt.Appendf(nil, trialSpec, mine.Debian, proxies, mine.Postgres.Version, mine.Postgres.Source)
	seeds, c, err := trial.trialSeed(dir, spec, machine, cmp.Or(m.Init, images.CloudInit))
	if err != nil {
		return errors.Join(err, remove())
	}
	// Its last form is a disk; Ignition's other one, for fw_cfg, is for BIOS.
	seed := seeds[len(seeds)-1]
	if m.Init == images.Ignition && !uefi {
		seed = seeds[len(seeds)-2]
	}
	it, _ := c.Machine(machine)
	at := filepath.Join(dir, it.Name)
	host := lab.Host{Run: a.runner(), UI: a.ui, Cache: cache}
	err = host.Try(ctx, at, lab.Trial{Image: file, Seed: seed, Machine: it, Cluster: c, UEFI: uefi}, found)
	if err != nil {
		err = errors.Join(err, keepConsole(at, filepath.Join(cache, "logs", filepath.Base(file)+".console.log")))
	}
	return errors.Join(err, remove())
}

// trialSeed writes the seed of a machine below dir, and all that it is made of.
func (a *app) trialSeed(dir string, spec []byte, machine string, init images.Init) (paths []string, c *cluster.Cluster, err error) {
	if err := os.WriteFile(a.spec, spec, 0o600); err != nil {
		return nil, nil, err
	}
	if c, err = a.load(); err != nil {
		return nil, nil, err
	}
	if _, err := cluster.InitSecrets(a.secretsDir(), c, time.Now()); err != nil {
		return nil, nil, err
	}
	made, err := a.seeds(c, a.secretsDir(), cloudinit.Options{})
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(made.all, func(s cloudinit.Seed) bool { return s.Machine == machine })
	paths, err = writeSeed(filepath.Join(dir, "seeds"), made.all[i], []string{string(init)}, nil)
	return paths, c, err
}

// keepConsole saves what a machine that did not come up has shown, and says its last lines.
func keepConsole(dir, to string) error {
	body, err := os.ReadFile(filepath.Join(dir, "console.log"))
	if err != nil || len(body) == 0 {
		return errors.New("its console said nothing")
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, body, 0o600)); err != nil { //nolint:gosec // a directory of logs
		return err
	}
	lines := strings.ReplaceAll(lab.LastLines(to, 12), "\n", "\n      ")
	return fmt.Errorf("its console said last:\n      %s\n      log: %s", lines, to)
}
