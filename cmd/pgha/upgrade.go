package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/agent"
)

func upgrade(o *options) *cobra.Command {
	var u agent.Upgrade
	var check, noUpdate bool
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Upgrade this machine's packages while the rest of the cluster serves; one machine at a time, the primary last",
		Long: `Upgrade the cluster's packages on this machine (PostgreSQL's minor version, Patroni, etcd, HAProxy, pgha) while the rest
of the cluster serves, and wait until it is whole again. Run it on each machine, the replicas first: it says which is
next, refuses to begin while the cluster is not healthy or another machine is at it, and stops where something is wrong.
The primary comes when every replica has noted that it serves with what the primary would get, and hands over first.
No machine runs apt for another: whoever breaks into one of them gets no other.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "upgrade"); err != nil {
				return err
			}
			plan, err := o.agent().UpgradePlan(cmd.Context(), u, !noUpdate)
			if err != nil {
				return fmt.Errorf("upgrade: %w", err)
			}
			if check {
				for _, line := range plan {
					fmt.Fprintln(cmd.OutOrStdout(), line)
				}
				if len(plan) > 0 {
					return errUnhealthy
				}
				return nil
			}
			signal.Ignore(syscall.SIGHUP) // a lost connection must not leave half an upgrade
			return o.agent().Upgrade(cmd.Context(), u, func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) })
		},
	}
	cmd.Flags().BoolVar(&u.All, "all", false, "every package of the machine, not only the cluster's")
	cmd.Flags().BoolVar(&check, "check", false, "only say what would be installed; exit code 3 when there is something")
	cmd.Flags().BoolVar(&noUpdate, "no-update", false, "go by what apt knows already of the archives")
	cmd.Flags().DurationVar(&u.Patience, "timeout", time.Minute, "how long to wait for a healthy cluster before anything is done")
	return cmd
}

func updates(o *options) *cobra.Command {
	var scheduled bool
	cmd := &cobra.Command{
		Use:   "updates",
		Short: "Look for security updates of this machine's packages; exit code 3 when there are some",
		Long: `Ask this machine's archives which of its packages have a security update that is not installed, and note them for the
monitor, which tells of those that wait for more than a week. Nothing is installed: "pgha upgrade --all" does that, on one
machine after the other. pgha-updates.timer runs it once a day.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "updates"); err != nil {
				return err
			}
			lines, err := o.agent().SecurityUpdates(cmd.Context())
			for _, line := range lines {
				fmt.Fprintln(cmd.OutOrStdout(), line)
			}
			switch {
			case err != nil && scheduled: // it is noted, and asked again tomorrow
				fmt.Fprintf(os.Stderr, "pgha: security updates are not known: %v\n", err)
				return nil
			case err != nil:
				return fmt.Errorf("updates: %w", err)
			case len(lines) > 0 && !scheduled:
				return errUnhealthy
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&scheduled, "scheduled", false, "exit code 0 whatever is found")
	_ = cmd.Flags().MarkHidden("scheduled") // pgha-updates.service's
	return cmd
}
