package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/agent"
)

func monitors(o *options) *cobra.Command {
	var test bool
	cmd := &cobra.Command{
		Use:   "monitor",
		Short: "Show what is wrong, and the alerts; send none. Exit code 3 when something hurries",
		Long: `Show what is wrong at this moment, the alerts that last, and who hears of them. Nothing is sent.

The service pgha-monitor looks every 30 seconds on every machine; one of them tells what there is to tell, each alert once
when it begins, again after alerts.repeat, and once when it is over.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "monitor"); err != nil {
				return err
			}
			if test {
				return testAlert(o, cmd)
			}
			critical, err := o.agent().ShowMonitor(cmd.Context(), cmd.OutOrStdout())
			if err == nil && critical {
				err = errUnhealthy
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&test, "test-alert", false, "send a test to every receiver, and say what each of them answers")
	return cmd
}

func testAlert(o *options, cmd *cobra.Command) error {
	answers, err := o.agent().TestAlert(cmd.Context())
	if err != nil {
		return err
	}
	if len(answers) == 0 {
		return errors.New("send a test alert: nobody hears of alerts\n      hint: alerts in cluster.yaml names a webhook, e-mail addresses or a command")
	}
	failed := 0
	for _, a := range answers {
		if a.Err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "%-8s took it (%s)\n", a.Name, a.To)
			continue
		}
		failed++
		fmt.Fprintf(cmd.OutOrStdout(), "%-8s FAILED (%s): %v\n", a.Name, a.To, a.Err)
	}
	if failed > 0 {
		return fmt.Errorf("send a test alert: %d of %d receivers did not take it from this machine", failed, len(answers))
	}
	return nil
}

func watch(o *options) *cobra.Command {
	every := agent.WatchEvery
	cmd := &cobra.Command{
		Use:    "watch",
		Short:  "Look at the cluster every 30 seconds, and tell of what is wrong",
		Hidden: true, // pgha-monitor.service runs it
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < time.Second {
				return errors.New("watch: a look takes about a second\n      hint: --every 30s")
			}
			return o.agent().Watch(cmd.Context(), every)
		},
	}
	cmd.Flags().DurationVar(&every, "every", every, "how far looks are apart")
	return cmd
}
