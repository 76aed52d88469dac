package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func needRoot(o *options, what string) error {
	if os.Geteuid() != 0 && o.root == "/" {
		return fmt.Errorf("%s: this needs root\n      hint: sudo pgha %[1]s", what)
	}
	return nil
}

func bootstrap(o *options) *cobra.Command {
	var known bool
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Order a new cluster where pgha waits for machines that are gone for good",
		Long: `Order a new cluster where pgha waits for machines that are gone for good.

Machines without data never begin a new cluster when there may be another one with data: they wait, and say for whom.
This order says that there is none. More than half of the members must be here; it is refused while one that answers
has data, and lasts until this machine is switched off.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !known {
				return errors.New("bootstrap: this may leave two clusters where one with data comes back\n      hint: pgha bootstrap --i-know-that-no-data-exists")
			}
			if err := needRoot(o, "bootstrap"); err != nil {
				return err
			}
			return o.agent().Order(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&known, "i-know-that-no-data-exists", false, "no machine of this cluster, also none that is switched off, has data that is needed")
	return cmd
}

func member(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "member", Short: "What only a person decides about this member"}
	cmd.AddCommand(&cobra.Command{
		Use:   "set-aside etcd|postgres",
		Short: "Rename this machine's data, so that it begins without; nothing is deleted",
		Long: `Rename this machine's data, with the time in the new name, so that it begins without; nothing is deleted.
What uses the data is stopped first. "pgha apply" then goes on as on a machine that never had any.`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"etcd", "postgres"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot(o, "member set-aside"); err != nil {
				return err
			}
			to, err := o.agent().SetAside(cmd.Context(), args[0])
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), to)
			}
			return err
		},
	})
	return cmd
}

func witness(o *options) *cobra.Command {
	return &cobra.Command{
		Use:    "witness",
		Short:  "Tell members without data whether this proxy has seen the cluster alive",
		Hidden: true, // pgha-witness.service runs it
		Args:   cobra.NoArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return o.agent().Witness(cmd.Context()) },
	}
}
