package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/suggest"
)

func (a *app) machine() *cobra.Command {
	cmd := &cobra.Command{Use: "machine", Short: "Give up what a stolen machine knew", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(a.rekey())
	return cmd
}

func (a *app) rekey() *cobra.Command {
	return &cobra.Command{
		Use:   "rekey MACHINE",
		Short: "Make its keys and the passwords of its role anew, after it was stolen",
		Long: `Make the keys of a machine, and the passwords that machines of its role share, anew: it was stolen, or somebody else
was root on it. What was before is kept in secrets/stolen. Nothing happens on the machines yet: what is left to do is printed.

The stolen keys are trusted until the authority that signed their certificates is replaced: ` + "`pgbake ca rotate`" + `, all three steps.`,
		Example: `  pgbake machine rekey db2`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			name := args[0]
			r, err := cluster.Rekey(a.secretsDir(), name, time.Now())
			if err != nil {
				if !slices.Contains(machineNames(c), name) {
					err = fmt.Errorf("%w\n      hint: %s", err, suggest.Hint(name, machineNames(c)))
				}
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "the keys of %s: new with the next seed\n", name)
			fmt.Fprintf(out, "%s in secrets.yaml: new\n", strings.Join(r.Passwords, ", "))
			fmt.Fprintf(out, "%s: what was before\n\n", r.Kept)
			a.leftToDo(out, c, name, r.Role)
			return nil
		},
	}
}

func machineNames(c *cluster.Cluster) (names []string) {
	for _, m := range c.Machines() {
		names = append(names, m.Name)
	}
	return names
}

// leftToDo are the steps after Rekey, in their order.
func (a *app) leftToDo(out io.Writer, c *cluster.Cluster, name string, role cluster.Role) {
	steps := []string{
		name + " that was stolen stays off, or out of the network, from now on",
		a.self() + " seed",
	}
	if slices.Contains(machineNames(c), name) {
		steps = append(steps, "boot a new "+name+" from its new seed and an empty disk: it takes the place of the stolen one")
	}
	others := "give every other machine its new user-data, the primary last: passwords travel no other way"
	if role == cluster.Proxy {
		others = "give the other proxy its new user-data, when there is one"
	}
	steps = append(
		steps, others,
		"replace the authority, or the stolen keys stay good: "+a.self()+" ca rotate, three times, each time with its way to the machines",
	)
	if role == cluster.DB {
		steps = append(steps, "give the users new passwords in secrets.yaml, and their applications: with what PostgreSQL keeps of the old ones, a server can be played to them")
		if c.Backup.Repository.Named() {
			steps = append(steps, "have the keys of the backups' repository changed where they were made, and write the new ones into secrets.yaml")
		}
	}
	if c.Alerts.Webhook == cluster.SecretWebhook || c.Alerts.RelayUser != "" {
		steps = append(steps, "have the webhook's token and the relay's password changed where they were made, and write the new ones into secrets.yaml")
	}
	fmt.Fprintln(out, "What is left to do:")
	for i, s := range steps {
		fmt.Fprintf(out, "%3d. %s\n", i+1, s)
	}
}
