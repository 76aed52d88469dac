package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func cutover(o *options) *cobra.Command {
	var yes bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "cutover [--yes] [-- COMMAND…]",
		Short: "Make a cluster that follows a primary elsewhere lead itself, once that one is shut down",
		Long: `Make a cluster that follows a primary elsewhere (adopt.remote in cluster.yaml) lead itself.

Without --yes it says how far behind the cluster is, and who will notice. With it, it waits until the other primary is
shut down, by you, or by COMMAND, such as: pgha cutover --yes -- ssh old-db systemctl disable --now postgresql
It goes on only when the last record that came is that shutdown: then nothing is missing. Until then nothing changes,
and after --timeout it gives up. At the end stands for how long nobody could write.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot(o, "cutover"); err != nil {
				return err
			}
			c, err := o.agent().PlanCutover(cmd.Context())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if c == nil {
				fmt.Fprintln(out, "this cluster follows nobody: there is nothing to cut over")
				return nil
			}
			fmt.Fprintf(out, "the cluster follows %s:%d, ", c.Host, c.Port)
			switch {
			case c.Behind < 0:
				fmt.Fprintln(out, "which does not answer")
			case !c.Streams:
				fmt.Fprintf(out, "%d bytes behind it, and does not stream: journalctl -u patroni says why\n", c.Behind)
			default:
				fmt.Fprintf(out, "%d bytes behind it\n", c.Behind)
			}
			if len(c.Missing) > 0 {
				fmt.Fprintf(out, "does not stream from this machine yet: %s\n", strings.Join(c.Missing, ", "))
			}
			report(out, c.Report)
			if !yes {
				fmt.Fprintln(out, "next: stop the applications, then: pgha cutover --yes")
				return nil
			}
			pause, err := c.Go(cmd.Context(), args, timeout)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "this cluster leads: nobody could write for %.1f s\n", pause.Seconds())
			fmt.Fprintln(out, "next: the applications connect to this cluster; the old primary stays off; adopt goes out of cluster.yaml")
			fmt.Fprintf(out, "the old primary keeps this cluster's replication slot. If it is ever started again, drop the slot there, or WAL fills its disk: SELECT pg_catalog.pg_drop_replication_slot('%s')\n", c.Slot)
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long to wait for the other primary's shutdown")
	return cmd
}
