package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/builders/native"
	"github.com/pgbake/pgbake/cloudinit"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/step"
	"github.com/pgbake/pgbake/lab"
)

func (a *app) lab() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "The whole cluster, booted on this machine (root)",
		Long: `The whole cluster, booted on this machine: real Debian, real systemd, real cloud-init, the packages and seeds that
production gets, in a network namespace with the cluster's own addresses and no way out.

Its machines are of one of two kinds:

  nspawn  containers (systemd-nspawn), up within seconds
  qemu    virtual machines from the images that "pgbake image" bakes, each with a kernel, a disk and a watchdog of its
          own; within seconds where KVM works, within minutes where it does not`,
	}
	cmd.AddCommand(a.labUp(), a.labStatus(), a.labPsql(), a.labForward(), a.labExec(), a.labEnter(), a.labLogs(), a.labFault(), a.labDown())
	return cmd
}

// labCmd is a command that needs the lab of the specification.
func (a *app) labCmd(use, short string, args cobra.PositionalArgs, f func(context.Context, *cobra.Command, *lab.Lab, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, l, err := a.openLab()
			if err != nil {
				return err
			}
			return f(cmd.Context(), cmd, l, args)
		},
	}
}

func (a *app) openLab() (*cluster.Cluster, *lab.Lab, error) {
	c, err := a.load()
	if err != nil {
		return nil, nil, err
	}
	host := lab.NewHost(a.runner(), a.ui)
	host.Self = a.self()
	host.Enter = []string{"/proc/self/exe", "lab", "enter"}
	l, err := lab.Open(c, host)
	return c, l, err
}

func (a *app) labUp() *cobra.Command {
	var timeout time.Duration
	var stock bool
	var kind, init string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Boot every machine and wait until the cluster is healthy",
		Long: `Boot every machine and wait until the cluster is healthy. Where the lab is up already, the machines that are new in the
specification are booted, and nothing is done to the others.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case kind != kindContainer && kind != kindVirtual:
				return specError{fmt.Errorf("boot the lab: kind %q is not %s or %s", kind, kindContainer, kindVirtual)}
			case kind == kindVirtual && stock:
				return specError{errors.New("boot the lab: --stock is for containers: an image has pgbake's packages")}
			case kind == kindContainer && init != string(images.CloudInit):
				return specError{errors.New("boot the lab: --init is for --kind qemu: a container has nothing that Ignition reads")}
			case timeout == 0 && (kind == kindVirtual || stock): // translated, or installing its packages first
				timeout = 15 * time.Minute
			case timeout == 0:
				timeout = 5 * time.Minute
			}
			c, err := a.load()
			if err != nil {
				return err
			}
			if _, err := a.judgeSecrets(nil); err != nil {
				return err
			}
			_, l, err := a.openLab()
			if err != nil {
				return err
			}
			if stock && c.Packages.URL == "" {
				return specError{fmt.Errorf("boot stock machines: %s does not say where they get pgbake's packages\n      hint: packages.url and packages.key; %s package --repository makes what to serve there", a.spec, a.self())}
			}
			// What only a person can write must not be missed after everything is baked.
			if _, err := cluster.InitSecrets(a.secretsDir(), c, time.Now()); err != nil {
				return err
			}
			if _, err := a.judgeSecrets(c); err != nil {
				return err
			}
			load, clean, err := a.bake(cmd.Context(), c, l, kind, init, stock)
			if err != nil {
				return err
			}
			defer clean()
			login, err := a.login(c, loginFlags{})
			if err != nil {
				return err
			}
			started, err := l.Up(cmd.Context(), load)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("gave up after %s", timeout))
			defer cancel()
			var status lab.Status
			var wrote time.Time
			err = step.Run(ctx, a.ui, step.Step{Name: "first boot", Run: func(ctx context.Context) (err error) {
				if err = l.FirstWrite(ctx, login); err != nil {
					return err
				}
				wrote = time.Now()
				status, err = l.WaitHealthy(ctx, func(s lab.Status) { step.Note(ctx, "%s", s.Problem()) })
				return err
			}})
			if err != nil {
				if cmd.Context().Err() == nil {
					a.ui.Say("not healthy: %s", l.Status(cmd.Context()).Problem())
				}
				return fmt.Errorf("%w\n      hint: %s lab exec MACHINE -- pgha doctor says what is wrong there, %[2]s lab logs MACHINE what it said; %[2]s lab down removes it", err, a.self())
			}
			through := ""
			if len(c.Proxies) > 0 {
				through = " through the proxy"
			}
			a.ui.Say("first write%s after %.1f s, healthy after %.1f s", through, wrote.Sub(started).Seconds(), time.Since(started).Seconds())
			if err := printStatus(cmd.OutOrStdout(), status); err != nil {
				return err
			}
			a.ui.Next(a.self() + " lab psql")
			return nil
		},
	}
	cmd.Flags().BoolVar(&stock, "stock", false, "machines without pgbake's packages, which they install themselves from packages.url, served inside the lab's network")
	cmd.Flags().StringVar(&kind, "kind", kindContainer, "what the machines are: "+kindContainer+" or "+kindVirtual)
	cmd.Flags().StringVar(&init, "init", string(images.CloudInit), "what applies the seed of virtual machines: cloud-init or ignition")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait for a healthy cluster (default 5m; 15m with --kind qemu or --stock)")
	return cmd
}

// The kinds of the lab's machines.
const (
	kindContainer = "nspawn"
	kindVirtual   = "qemu"
)

// bake makes what the lab's machines are made of, in a directory that clean removes. Stock machines have no packages of ours.
func (a *app) bake(ctx context.Context, c *cluster.Cluster, l *lab.Lab, kind, init string, stock bool) (load lab.Load, clean func(), err error) {
	if kind == kindVirtual {
		if load.Images, err = a.labImages(ctx, c, init); err != nil {
			return load, nil, err
		}
	}
	dir, clean, err := l.Bench(ctx)
	if err != nil {
		return load, nil, err
	}
	err = step.Run(ctx, a.ui, step.Step{Name: "packages and seeds", Run: func(ctx context.Context) error {
		if kind == kindContainer && !stock {
			debs, err := a.debs(ctx, runtime.GOARCH, dir, true)
			if err != nil {
				return err
			}
			load.Debs = map[cluster.Role][]string{cluster.DB: {debs[0], debs[1]}, cluster.Proxy: {debs[0], debs[2]}}
		}
		load.Seeds, err = a.labSeeds(c, kind, init, dir)
		return err
	}})
	if err != nil {
		clean()
	}
	return load, clean, err
}

// labSeeds writes the seeds below dir, as the kind of machines wants them.
func (a *app) labSeeds(c *cluster.Cluster, kind, init, dir string) (map[string]string, error) {
	o := cloudinit.Options{Interface: "host0"}
	if kind == kindVirtual {
		o.Interface = ""
	}
	made, err := a.seeds(c, a.secretsDir(), o)
	if err != nil {
		return nil, err
	}
	at := map[string]string{}
	for _, s := range made.all {
		paths, err := writeSeed(dir, s, []string{init}, nil)
		if err != nil {
			return nil, err
		}
		at[s.Machine] = paths[len(paths)-1] // the disk
		if kind == kindContainer {
			at[s.Machine] = paths[0]
		}
	}
	return at, made.count(a.secretsDir(), func() error { return nil })
}

// labImages are the images of the cluster's roles, raw, in the cache: baked when they are missing or not of today's
// inputs. The baking is done by this command once more, in namespaces of its own, where it ends with that.
func (a *app) labImages(ctx context.Context, c *cluster.Cluster, init string) (map[cluster.Role]string, error) {
	cache, err := native.Cache()
	if err != nil {
		return nil, err
	}
	mine := *a
	mine.out = filepath.Join(cache, "lab")
	f := imageFlags{formats: []string{"raw"}, arch: runtime.GOARCH, init: init}
	baked, err := mine.bakeImages(ctx, f)
	var ended exitError
	switch {
	case native.Inside() && err == nil:
		return nil, exitError(0)
	case errors.As(err, &ended) && ended == 0:
		baked, err = mine.bakeImages(ctx, f)
	}
	if err != nil {
		return nil, err
	}
	at := map[cluster.Role]string{}
	for i, role := range rolesOf(c) {
		at[cluster.Role(role)] = filepath.Join(baked[i].Dir, baked[i].Manifest.Files[0].File)
	}
	return at, nil
}
