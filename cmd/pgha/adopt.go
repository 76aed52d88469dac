package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/agent/adopt"
)

func adoption(o *options) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "adopt --check",
		Short: "Say what adopting this machine's database would change; exit code 3 when somebody may notice",
		Long: `Say what adopting this machine's database would change, and whether it can be. Nothing is touched, and it may go on serving.

"pgha apply" adopts it, where cluster.yaml says so: as soon as the etcd of more than half of the members runs.
Exit codes: 0 nobody will notice but for a pause; 3 read what changes; 1 it cannot be adopted, and apply will refuse it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !check {
				return errors.New("adopt: `pgha apply` does it\n      hint: pgha adopt --check says what it would change")
			}
			if err := needRoot(o, "adopt --check"); err != nil {
				return err
			}
			r, err := o.agent().Adoption(cmd.Context())
			if err != nil {
				return err
			}
			if r == nil {
				fmt.Fprintln(cmd.OutOrStdout(), "the database of this machine is the cluster's: nothing is left to adopt")
				return nil
			}
			report(cmd.OutOrStdout(), r)
			switch {
			case len(r.Of(adopt.Refuse)) > 0:
				return errors.New("adopt: the database cannot be adopted as it is")
			case len(r.Of(adopt.Change)) > 0:
				return errUnhealthy
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "only look")
	return cmd
}

// report prints the worst last, where it is read.
func report(w io.Writer, r *adopt.Report) {
	for _, k := range []struct {
		kind adopt.Kind
		word string
	}{{adopt.Note, "fine"}, {adopt.Change, "changes"}, {adopt.Refuse, "refused"}} {
		for _, f := range r.Of(k.kind) {
			fmt.Fprintf(w, "%-8s %s\n", k.word, f.Text)
			if f.Hint != "" {
				fmt.Fprintf(w, "         hint: %s\n", f.Hint)
			}
		}
	}
}
