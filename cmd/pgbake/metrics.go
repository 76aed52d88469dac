package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/render/prometheus"
)

func (a *app) metrics() *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Write what your Prometheus and Grafana need: scrape configuration, alert rules, dashboard",
		Long: `Write what your Prometheus and Grafana need to watch the cluster: a scrape configuration of its machines, alert rules, the
cluster's ca.crt and a dashboard. The machines answer on ports.metrics, to admin_networks. No file holds a secret.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			authority, err := os.ReadFile(filepath.Join(a.secretsDir(), "ca.crt"))
			if err != nil {
				return fmt.Errorf("read the cluster's authority: %w\n      hint: %s init", err, a.self())
			}
			files, err := prometheus.Files(c, authority)
			if err != nil {
				return err
			}
			dir := filepath.Join(a.out, "metrics")
			if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for Prometheus to read
				return err
			}
			for _, f := range files {
				path := filepath.Join(dir, f.Name)
				if err := os.WriteFile(path, f.Body, 0o644); err != nil { //nolint:gosec // no secret in it
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			a.ui.Next("put the first three into /etc/prometheus, and import the dashboard in Grafana")
			return nil
		},
	}
}
