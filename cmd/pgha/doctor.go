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
			found, warnings := split(doctor.Judge(o.agent().Examine(cmd.Context())))
			if asJSON { // of what is wrong alone: whoever reads it counts
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				enc.SetEscapeHTML(false)
				if err := enc.Encode(found); err != nil {
					return err
				}
				for _, f := range warnings {
					fmt.Fprintf(cmd.ErrOrStderr(), "pgha: warning: %s: %s\n", f.What, f.Why)
				}
			} else {
				findings(cmd.OutOrStdout(), found, warnings)
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

// split tells what is wrong from what is only warned of.
func split(all []doctor.Finding) (found, warnings []doctor.Finding) {
	found = []doctor.Finding{}
	for _, f := range all {
		if f.Warning {
			warnings = append(warnings, f)
		} else {
			found = append(found, f)
		}
	}
	return found, warnings
}

func findings(w io.Writer, found, warnings []doctor.Finding) {
	if len(found) == 0 {
		fmt.Fprintf(w, "nothing found: %d checks\n", len(doctor.Checks))
	}
	for i, f := range append(found, warnings...) {
		if i > 0 || len(found) == 0 {
			fmt.Fprintln(w)
		}
		if f.Warning {
			fmt.Fprint(w, "warning: ")
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
