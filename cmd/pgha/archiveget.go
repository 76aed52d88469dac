package main

import (
	"errors"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/agent"
)

// archiveGet is PostgreSQL's restore_command, and runs as its user.
func archiveGet() *cobra.Command {
	return &cobra.Command{
		Use:    "archive-get SCOPE FILE PATH",
		Short:  "Bring a file of the WAL from the archive",
		Hidden: true,
		Args:   cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			// PostgreSQL that stops immediately tells its restore_command so.
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGQUIT)
			defer stop()
			err := agent.ArchivedFile{Scope: args[0], Name: args[1], To: args[2]}.Get(ctx)
			if errors.Is(err, agent.ErrNotArchived) {
				return errUnhealthy // it is asked for what is not there yet, every second: without a word
			}
			return err
		},
	}
}
