package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/terraform"
)

func (a *app) export() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the cluster's machines for a program that makes machines: Terraform, OpenTofu",
	}
	cmd.AddCommand(a.exportTerraform())
	return cmd
}

func (a *app) exportTerraform() *cobra.Command {
	var target string
	var targets strings.Builder
	for _, t := range terraform.Targets {
		fmt.Fprintf(&targets, "  %-9s %s\n", t.Name, t.For)
	}
	cmd := &cobra.Command{
		Use:   "terraform --target TARGET",
		Short: "Write a configuration for Terraform or OpenTofu that uploads images and seeds and makes the machines",
		Long: `Write a configuration for Terraform 1.5 and later or OpenTofu, below -o dist/terraform. It uploads the images of
pgbake image and the seeds of pgbake seed, and makes the machines, of amd64; a README.md beside it says how to use it.

Targets:
` + targets.String() + `
No secret stands in it, nor in its state: seeds are files, of which it knows the paths.`,
		Example: `  pgbake export terraform --target libvirt`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := terraform.TargetNamed(target)
			if err != nil {
				return specError{err}
			}
			c, err := a.load()
			if err != nil {
				return err
			}
			files, err := terraform.Files(c, t)
			if err != nil {
				return specError{err}
			}
			dir := filepath.Join(a.out, "terraform", t.Name)
			for _, f := range files {
				path := filepath.Join(dir, f.Path)
				if err := writeResult(path, f); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			a.ui.Next(a.self() + " image && " + a.self() + " seed, then " + run.Line([]string{"terraform", "-chdir=" + dir, "init"}))
			return nil
		},
	}
	cmd.Flags().StringVar(&target, "target", "", "what the machines stand on, see above")
	if err := cmd.MarkFlagRequired("target"); err != nil {
		panic(err) // the flag is the line above
	}
	return cmd
}
