package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/agent"
)

func switchover(o *options) *cobra.Command {
	var to string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "switchover",
		Short: "Give the primary's role to another member: no acknowledged write is lost, writes pause for seconds",
		Long: `Give the primary's role to another member, the one that is least behind unless --to names one.

It must stream, and be synchronous where commits wait for a replica: that is waited for, and without it nothing is done.
Then both write their checkpoints, so that little is left to do in the pause, and Patroni hands over. The command ends
when the new primary takes writes and the old one follows it, and shows for how long no write was acknowledged. Clients
behind the proxies are led there by HAProxy's next check, a second or so later.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "switchover"); err != nil {
				return err
			}
			moved, err := o.agent().Switchover(cmd.Context(), to, timeout)
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), moved)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the member that is to lead")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait for a member that may take over")
	return cmd
}

func restart(o *options) *cobra.Command {
	var r agent.Restart
	var since string
	cmd := &cobra.Command{
		Use:   "restart",
		Short: "Restart PostgreSQL on every member, one after the other, the replicas first",
		Long: `Restart PostgreSQL on every member, one after the other, and wait after each until the cluster is whole again. The
primary hands over to a replica and comes back as one, unless --in-place is given. It stops at the first member that
does not come back, and says how to go on. A changed parameter that only a restart shows: "pgha restart --pending".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := needRoot(o, "restart"); err != nil {
				return err
			}
			if since != "" {
				if r.Since, err = time.Parse(time.RFC3339, since); err != nil {
					return fmt.Errorf("restart: --since %s: not a time such as %s", since, time.Now().UTC().Format(time.RFC3339))
				}
			}
			return o.agent().RollingRestart(cmd.Context(), r, func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) })
		},
	}
	cmd.Flags().BoolVar(&r.Pending, "pending", false, "only members of which a changed parameter waits for it")
	cmd.Flags().BoolVar(&r.InPlace, "in-place", false, "restart the primary where it is: the pause is as long as its restart")
	cmd.Flags().StringVar(&since, "since", "", "only members that were not restarted since this time, to go on where it stopped")
	cmd.Flags().DurationVar(&r.Patience, "timeout", time.Minute, "how long to wait for a healthy cluster before the first")
	return cmd
}

func reinit(o *options) *cobra.Command {
	var last bool
	cmd := &cobra.Command{
		Use:   "reinit NODE",
		Short: "Throw a replica's data away, and copy the primary's anew",
		Long: `Throw a replica's data away, and copy the primary's anew: for one that cannot follow any more. It is shown how far the
copy is, and the command ends when the replica streams; the copy goes on without it. Refused for the primary, for the
last replica that could take over, and for one that follows no more while no other streams: its data may be the only other
copy.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot(o, "reinit"); err != nil {
				return err
			}
			return o.agent().Reinit(cmd.Context(), args[0], last)
		},
	}
	cmd.Flags().BoolVar(&last, "even-the-last-copy", false, "also where no other replica could take over meanwhile, or none has a copy")
	return cmd
}

// maintenanceMost is a week: whoever needs longer wants another cluster.
const maintenanceMost = 7 * 24 * time.Hour

func maintenance(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "maintenance",
		Short: "Let Patroni do nothing by itself for a time: no failover, no restart",
	}
	var long time.Duration
	var why string
	on := &cobra.Command{
		Use:   "on",
		Short: "Begin it, or give it another end",
		Long: `Begin it, or give it another end. While it lasts no primary is replaced and no PostgreSQL started or stopped by Patroni,
also when a machine dies. It ends by itself when its time is over; "pgha status" shows it on every machine.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "maintenance on"); err != nil {
				return err
			}
			if long <= 0 || long > maintenanceMost {
				return errors.New("maintenance on: --for must be more than nothing, and a week at most: a forgotten one is an outage in waiting")
			}
			m, err := o.agent().BeginMaintenance(cmd.Context(), long, why)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "maintenance until %s, when it ends by itself: nothing is failed over\n", clock(m.Until))
			}
			return err
		},
	}
	on.Flags().DurationVar(&long, "for", time.Hour, "when it ends by itself, such as 30m or 2h")
	on.Flags().StringVar(&why, "why", "", "what it is for, shown in pgha status")
	off := &cobra.Command{
		Use:   "off",
		Short: "End it: Patroni works again",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "maintenance off"); err != nil {
				return err
			}
			err := o.agent().EndMaintenance(cmd.Context())
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), "maintenance is over: Patroni works by itself")
			}
			return err
		},
	}
	cmd.AddCommand(on, off)
	return cmd
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// upkeep says what is done to the whole cluster.
func upkeep(w io.Writer, s *agent.Status) {
	if r := s.Restore; r != nil {
		fmt.Fprintf(w, "\n%s\nwhere it stands, on %s: pgha restore\n", r, r.Machine)
		return
	}
	if t := s.Task; t != nil {
		fmt.Fprintf(w, "\n%s\n", t)
	}
	m := s.Maintenance
	if m == nil {
		if s.Paused {
			fmt.Fprintln(w, "\nPatroni is paused, and nobody said for how long: nothing is failed over; to end it: pgha maintenance off")
		}
		return
	}
	why := ""
	if m.Why != "" {
		why = " (" + m.Why + ")"
	}
	switch {
	case m.Forgotten(s.At):
		fmt.Fprintf(w, "\nmaintenance was forgotten: %s began it%s, and it should have ended on %s; to end it: pgha maintenance off\n", m.By, why, clock(m.Until))
	case !s.Paused:
		fmt.Fprintf(w, "\nmaintenance is announced by %s%s, and Patroni is not paused; once more: pgha maintenance on, or off\n", m.By, why)
	default:
		fmt.Fprintf(w, "\nmaintenance by %s%s until %s: nothing is failed over\n", m.By, why, clock(m.Until))
	}
}
