package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/agent"
)

func apply(o *options) *cobra.Command {
	var boot bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Make this machine what its seed says; done twice it changes nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 && o.root == "/" {
				return errors.New("apply: this needs root\n      hint: sudo pgha apply, or `sudo pgha diff` to see what it would change")
			}
			a := o.agent()
			a.Patience = timeout
			ready := func() {}
			if boot {
				a.Patience = 0 // a peer may be days away
				ready = agent.Ready()
			}
			began := time.Now()
			result, err := a.Apply(cmd.Context())
			if err != nil {
				return err
			}
			ready()
			if len(result.Changed)+len(result.Acted) == 0 {
				fmt.Fprintln(os.Stderr, "pgha: nothing to change")
				return nil
			}
			fmt.Fprintf(os.Stderr, "pgha: done in %.1f s, %d files written\n", time.Since(began).Seconds(), len(result.Changed))
			return nil
		},
	}
	cmd.Flags().BoolVar(&boot, "boot", false, "wait without end, as pgha-apply.service does")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long to wait for etcd, PostgreSQL or a primary")
	return cmd
}

func diff(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "diff",
		Short: "Show what apply would write; exit code 3 when there is something",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			changes, err := o.agent().Diff()
			if err != nil {
				return err
			}
			for _, c := range changes {
				fmt.Fprint(cmd.OutOrStdout(), c.Text)
			}
			if len(changes) > 0 {
				return errUnhealthy
			}
			return nil
		},
	}
}
