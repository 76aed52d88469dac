package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/cloudinit"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/step"
	"github.com/pgbake/pgbake/lab"
)

func (a *app) lab() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "The whole cluster, booted on this machine (root)",
		Long: `The whole cluster, booted on this machine in systemd-nspawn: real Debian, real systemd, real cloud-init,
the packages and seeds that production gets, in a network namespace with the cluster's own addresses.`,
	}
	cmd.AddCommand(a.labUp(), a.labStatus(), a.labPsql(), a.labExec(), a.labLogs(), a.labFault(), a.labDown())
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
	l, err := lab.Open(c, host)
	return c, l, err
}

func (a *app) labUp() *cobra.Command {
	var timeout time.Duration
	var stock bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Boot every machine and wait until the cluster is healthy",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, l, err := a.openLab()
			if err != nil {
				return err
			}
			if stock && c.Packages.URL == "" {
				return specError{fmt.Errorf("boot stock machines: %s does not say where they get pgbake's packages\n      hint: packages.url and packages.key; %s package --repository makes what to serve there", a.spec, a.self())}
			}
			load, clean, err := a.bake(cmd.Context(), c, l, stock)
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
				return fmt.Errorf("%w\n      hint: %s lab status, %[2]s lab logs MACHINE; %[2]s lab down removes it", err, a.self())
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
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait for a healthy cluster")
	return cmd
}

// bake makes what the lab's machines are made of, in a directory that clean removes. Stock machines have no packages of ours.
func (a *app) bake(ctx context.Context, c *cluster.Cluster, l *lab.Lab, stock bool) (load lab.Load, clean func(), err error) {
	dir, clean, err := l.Bench(ctx)
	if err != nil {
		return load, nil, err
	}
	err = step.Run(ctx, a.ui, step.Step{Name: "packages and seeds", Run: func(ctx context.Context) error {
		if !stock {
			debs, err := a.debs(ctx, runtime.GOARCH, dir)
			if err != nil {
				return err
			}
			load.Debs = map[cluster.Role][]string{cluster.DB: {debs[0], debs[1]}, cluster.Proxy: {debs[0], debs[2]}}
		}
		if _, err := cluster.InitSecrets(a.secretsDir(), c, time.Now()); err != nil {
			return err
		}
		seeds, err := a.seeds(c, a.secretsDir(), cloudinit.Options{Interface: "host0"})
		if err != nil {
			return err
		}
		load.Seeds = map[string]string{}
		for _, s := range seeds {
			load.Seeds[s.Machine] = filepath.Join(dir, s.Machine)
			if err := s.WriteFolder(load.Seeds[s.Machine]); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		clean()
	}
	return load, clean, err
}
