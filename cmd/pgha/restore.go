package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/agent"
	"github.com/pgbake/pgbake/agent/backup"
)

func restore(o *options) *cobra.Command {
	var name, to string
	var yes, giveUp, resume, another bool
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Take the whole cluster back to a backup, or to a moment; shows its plan, and does it with --yes",
		Long: `Take the whole cluster back to a backup on this machine, or to a moment where the WAL is archived. The plan is shown; --yes carries
it out. The restored database is made ready beside the one that serves; only then is that one stopped, kept under another name,
and replaced. The other members copy it. Stopped half-way, "pgha restore" says where it stands, and --yes goes on; once the cluster
is paused for it, it goes on by itself. While it lasts nothing else is done to the cluster: "pgha status" shows it everywhere.

A moment is what the cluster had at that time, also when it has failed over or was restored since.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "restore"); err != nil {
				return err
			}
			a := o.agent()
			if giveUp {
				return a.GiveUpRestore(cmd.Context())
			}
			r, err := a.CurrentRestore()
			if err != nil {
				return err
			}
			if resume && (r == nil || r.Undoable()) {
				return nil // an operator has not said so
			}
			yes = yes || resume
			again := r != nil
			if again && (name != "" || to != "" || another) {
				return fmt.Errorf("restore: another one was begun here, to %s, and is not done\n      hint: `pgha restore` says where it stands", r.Moment())
			}
			if !again {
				moment, err := parseMoment(to)
				if err != nil {
					return err
				}
				if r, err = a.PlanRestore(cmd.Context(), name, moment, another); err != nil {
					return err
				}
			}
			printPlan(cmd.OutOrStdout(), r)
			if !yes {
				fmt.Fprintf(cmd.OutOrStdout(), "\nNothing was done. To do it: pgha restore%s --yes\n", sameAgain(again, name, to, r))
				if again && r.Undoable() {
					fmt.Fprintln(cmd.OutOrStdout(), "To give it up: pgha restore --give-up")
				}
				return nil
			}
			if err := a.CarryOut(cmd.Context(), r); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "\nThe cluster is back at %s.\n%s\n", r.Plan.Back(), r.Left())
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "backup", "", "the backup, as pgha backup list shows it; the newest good one when absent")
	cmd.Flags().StringVar(&to, "to", "", "the moment, such as '2026-11-26 12:00:00+00'; the end of the backup when absent")
	cmd.Flags().BoolVar(&another, "another-database", false, "of another database than the cluster's: that of machines which are all lost, on the new ones")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&giveUp, "give-up", false, "end one that was begun here and whose database has not served yet, or that of a machine which is lost")
	cmd.Flags().BoolVar(&resume, "resume", false, "go on with one that was cut short after it had paused the cluster")
	_ = cmd.Flags().MarkHidden("resume") // pgha-restore.service's
	cmd.MarkFlagsMutuallyExclusive("yes", "give-up", "resume")
	return cmd
}

// sameAgain are the options that lead to the same plan.
func sameAgain(again bool, name, to string, r *agent.Restore) string {
	other := ""
	if r.Plan.Another != "" {
		other = " --another-database"
	}
	switch {
	case again:
		return ""
	case to != "":
		return fmt.Sprintf("%s --to '%s'", other, to)
	case r.Plan.Newest():
		return other
	case name == "" && r.Plan.Backup != "":
		return other + " --backup " + r.Plan.Backup
	case name != "":
		return other + " --backup " + name
	}
	return ""
}

// moments are the ways to write one. Without a zone it is the machine's.
var moments = []string{"2006-01-02 15:04:05.999999-07", "2006-01-02 15:04:05.999999-07:00", "2006-01-02 15:04:05.999999 -07:00", time.RFC3339Nano, "2006-01-02 15:04:05.999999", "2006-01-02 15:04"}

func parseMoment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range moments {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil { //nolint:gosmopolitan // what the administrator's watch shows
			return t, nil
		}
	}
	return time.Time{}, errors.New("restore: --to " + s + " is no moment\n      hint: such as '2026-11-26 12:00:00+00'")
}

func printPlan(w io.Writer, r *agent.Restore) {
	p := r.Plan
	fmt.Fprintf(w, "This takes the whole cluster back to %s.\nWhat was written after that is no longer in the database; it stays in the one that is kept.\n\n", r.Moment())
	if p.Another != "" {
		fmt.Fprintf(w, "It is another database, with the system identifier %s: all that this cluster has today goes out of use.\n\n", p.Another)
	}
	for i, s := range backup.Steps {
		mark := "    "
		switch {
		case r.Done(s):
			mark = "done"
		case r.Begun() && s == r.Next && r.Error != "":
			mark = "fail"
		case r.Begun() && s == r.Next:
			mark = "next"
		}
		fmt.Fprintf(w, "%s %d. %s\n", mark, i+1, p.Says(s))
	}
	if r.Error != "" {
		fmt.Fprintf(w, "\nit stopped at: %s\n", r.Error)
	}
	if !r.Begun() {
		fmt.Fprintf(w, "\n%s, taken %s, %s\n", p.Backup, p.Taken.Format(time.RFC3339), agent.Size(p.Bytes))
	}
}
