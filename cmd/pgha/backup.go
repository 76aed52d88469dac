package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/agent"
	"github.com/pgbake/pgbake/agent/backup"
)

func backups(o *options) *cobra.Command {
	var scheduled, here bool
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Take a backup now, on this machine: verified, and the oldest ones go only after that",
		Long: `Take a backup now, on this machine: a base backup with the WAL that makes it whole, the roles, and dumps of the databases
that cluster.yaml names. It is verified before it counts, and only then the oldest ones go. Every day pgha-backup.timer has one
member take it, a replica where there is one. Without an archive of the WAL it restores the database as it was when it was taken.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "backup"); err != nil {
				return err
			}
			if scheduled {
				return o.agent().ScheduledBackup(cmd.Context())
			}
			r, err := o.agent().Backup(cmd.Context(), here)
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), r.Name)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&here, "here", false, "also on the primary")
	cmd.Flags().BoolVar(&scheduled, "scheduled", false, "one member takes it, the others wait for that")
	_ = cmd.Flags().MarkHidden("scheduled") // pgha-backup.service's
	cmd.AddCommand(backupList(o), backupProve(o))
	return cmd
}

func backupList(o *options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the backups on this machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "backup list"); err != nil {
				return err
			}
			all, err := o.agent().Backups(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(append([]backup.Held{}, all...))
			}
			state, _ := agent.BackupState(o.root)
			return listBackups(cmd.OutOrStdout(), all, state, time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// listBackups prints those of this machine, and below them what is known of the whole cluster's newest.
func listBackups(w io.Writer, all []backup.Held, state backup.State, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "BACKUP\tAGE\tSIZE\tFROM\tVERIFIED\tPROVEN")
	for _, h := range all {
		verified, proven := "no", "never"
		switch {
		case h.DumpError != "":
			verified = "yes, not all dumps"
		case h.Verified:
			verified = "yes"
		}
		switch {
		case h.Proof.Error != "":
			proven = "FAILED " + age(h.Proof.At, now) + " ago: " + h.Proof.Error
		case !h.Proof.At.IsZero():
			proven = age(h.Proof.At, now) + " ago: " + h.Proof.Found
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", h.Name, age(h.At, now), agent.Size(h.Bytes), h.Role, verified, proven)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	switch b := state.Backup; {
	case b.Error != "" && b.Name != "":
		fmt.Fprintf(w, "\nthe cluster's newest is %s, %s old, on %s, and something failed beside it: %s\n", b.Name, age(b.At, now), b.Machine, b.Error)
	case b.Error != "":
		fmt.Fprintf(w, "\nthe last backup failed, %s ago on %s: %s\n", age(b.At, now), b.Machine, b.Error)
	case b.Machine != "":
		fmt.Fprintf(w, "\nthe cluster's newest is %s, %s old, on %s\n", b.Name, age(b.At, now), b.Machine)
	}
	if p := state.Proof; p.Error != "" {
		fmt.Fprintf(w, "the last proof failed, %s ago: %s\n", age(p.At, now), p.Error)
	}
	return nil
}

// age is how long ago something was, in the one unit that tells.
func age(at, now time.Time) string {
	d := now.Sub(at)
	switch {
	case d < 0:
		return "from the future"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

func backupProve(o *options) *cobra.Command {
	var scheduled bool
	cmd := &cobra.Command{
		Use:   "prove [BACKUP]",
		Short: "Restore a backup on trial, the newest by default: started beside the database, read, checked, and taken away",
		Long: `Restore a backup on trial, the newest by default: it is verified, copied into the backups' directory, started there without
network and archive, every row is read and every table and index checked; then the copy goes. "pgha backup list" shows what came of it.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot(o, "backup prove"); err != nil {
				return err
			}
			if scheduled {
				return o.agent().ScheduledProof(cmd.Context())
			}
			p, err := o.agent().Prove(cmd.Context(), first(args))
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s can be restored: %s\n", p.Backup, p.Found)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&scheduled, "scheduled", false, "who has the newest one proves it, the others wait for that")
	_ = cmd.Flags().MarkHidden("scheduled") // pgha-proof.service's
	return cmd
}

func closeArchive(o *options) *cobra.Command {
	return &cobra.Command{
		Use:    "archive-close",
		Short:  "Bring the WAL into the archive that a primary before this one had not archived",
		Hidden: true, // pgha-archive.service runs it
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "archive-close"); err != nil {
				return err
			}
			return o.agent().CloseArchive(cmd.Context())
		},
	}
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
