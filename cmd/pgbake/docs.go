package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/render"
	"github.com/pgbake/pgbake/runbook"
)

func (a *app) docs() *cobra.Command {
	return &cobra.Command{
		Use:   "docs",
		Short: "Write the cluster's own runbook, in English and in Russian, and a picture of it",
		Long: `Write the cluster's own runbook: what is where, and what to do when, each command with the names and addresses of
cluster.yaml. dist/docs/ gets runbook.en.md, runbook.ru.md and cluster.svg. There is no secret in them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			files, err := runbook.Files(c, runbook.Options{StatsUser: render.StatsUser, Command: a.self()})
			if err != nil {
				return err
			}
			dir := filepath.Join(a.out, "docs")
			if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // no secret in it
				return err
			}
			for _, f := range files {
				path := filepath.Join(dir, f.Name)
				err := writeWhole(path, func(w io.Writer) error {
					_, err := w.Write(f.Body)
					return err
				})
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			return nil
		},
	}
}
