package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/agent/doctor"
)

func doctorCommand(o *options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong here, why, and the command that mends it; exit code 3 when something is",
		Long: `Look at this machine and its cluster, and say what is wrong, why, and the command that mends it, in the order in which to
mend. It only reads, may run at any time, and asks nobody for longer than some seconds. It looks at:

` + looks(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "doctor"); err != nil {
				return err
			}
			found := doctor.Judge(o.agent().Examine(cmd.Context()))
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				enc.SetEscapeHTML(false)
				if err := enc.Encode(found); err != nil {
					return err
				}
			} else {
				findings(cmd.OutOrStdout(), found)
			}
			if len(found) > 0 {
				return errUnhealthy
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// looks lists the checks.
func looks() string {
	var b strings.Builder
	for _, c := range doctor.Checks {
		fmt.Fprintf(&b, "  %-16s %s\n", c.Name, c.Looks)
	}
	return b.String()
}

func findings(w io.Writer, found []doctor.Finding) {
	if len(found) == 0 {
		fmt.Fprintf(w, "nothing found: %d checks\n", len(doctor.Checks))
		return
	}
	for i, f := range found {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s\n", f.What)
		if f.Why != "" {
			fmt.Fprintf(w, "    why:  %s\n", strings.ReplaceAll(f.Why, "\n", "\n          "))
		}
		for j, m := range f.Mend {
			word := "mend:"
			if j > 0 {
				word = "     "
			}
			fmt.Fprintf(w, "    %s %s\n", word, m)
		}
	}
}
