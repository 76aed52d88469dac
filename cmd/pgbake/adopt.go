package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/render"
)

func (a *app) adoptCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "adopt",
		Short: "Print what the primary elsewhere needs that the cluster begins as a copy of: SQL, with a password in it",
		Long: `Print what the primary elsewhere (adopt.remote) needs before the machines boot: SQL for its superuser, with the password of
the role that streams in it, and in comments the lines of its pg_hba.conf. Where that server has a role of this name already
that pgbake has not made, the SQL changes nothing and says so: postgres.replication_user names another one. For example:

  pgbake adopt | ssh old-db sudo -u postgres psql -X`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			if !c.BeginsElsewhere() {
				return fmt.Errorf("adopt: %s names no primary elsewhere\n      hint: adopt: {remote: {host: …}}; a database on one of the machines is looked at there: pgha adopt --check", a.spec)
			}
			s, err := a.loadSecrets()
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), render.RemoteSQL(c, s))
			return nil
		},
	}
}
