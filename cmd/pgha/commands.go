package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/agent"
	"github.com/pgbake/pgbake/cluster"
)

func apply(o *options) *cobra.Command {
	var boot bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Make this machine what its seed says; done twice it changes nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 && o.root == "/" {
				return errors.New("apply: this needs root\n      hint: sudo pgha apply, or `sudo pgha diff` to see what it would change")
			}
			a := o.agent()
			a.Patience = timeout
			ready := func() {}
			if boot {
				a.Patience = 0 // a peer may be days away
				ready = agent.Ready()
			}
			began := time.Now()
			result, err := a.Apply(cmd.Context())
			if err != nil {
				return err
			}
			ready()
			if len(result.Changed)+len(result.Acted) == 0 {
				fmt.Fprintln(os.Stderr, "pgha: nothing to change")
				return nil
			}
			fmt.Fprintf(os.Stderr, "pgha: done in %.1f s, %d files written\n", time.Since(began).Seconds(), len(result.Changed))
			return nil
		},
	}
	cmd.Flags().BoolVar(&boot, "boot", false, "wait without end, as pgha-apply.service does")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long to wait for etcd, PostgreSQL or a primary")
	return cmd
}

func diff(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "diff",
		Short: "Show what apply would write; exit code 3 when there is something",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			changes, err := o.agent().Diff()
			if err != nil {
				return err
			}
			for _, c := range changes {
				fmt.Fprint(cmd.OutOrStdout(), c.Text)
			}
			if len(changes) > 0 {
				return errUnhealthy
			}
			return nil
		},
	}
}

func status(o *options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the cluster as this machine sees it; exit code 3 when it is not healthy",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 && o.root == "/" {
				return errors.New("status: this needs root, for the machine's certificates\n      hint: sudo pgha status")
			}
			a := o.agent()
			s := a.Status(cmd.Context())
			var err error
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				err = enc.Encode(s)
			} else {
				err = table(cmd.OutOrStdout(), s)
			}
			if err != nil {
				return err
			}
			if !s.Healthy() {
				return errUnhealthy
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func table(w io.Writer, s *agent.Status) error {
	if s.Seed != "" {
		fmt.Fprintf(w, "this machine cannot be what it was told: %s\n\n", s.Seed)
	}
	if s.Scope == "" {
		return applied(w, s)
	}
	fmt.Fprintf(w, "%s, seen from %s\n\n", s.Scope, s.Machine)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MEMBER\tADDRESS\tROLE\tSTATE\tTL\tETCD")
	for _, m := range s.Members {
		role, state := m.Role, m.State
		if m.Error != "" {
			role, state = "?", "no answer"
		}
		if m.PendingRestart {
			state += ", restart pending"
		}
		etcd := "-"
		switch {
		case m.Etcd != nil && *m.Etcd:
			etcd = "healthy"
		case m.Etcd != nil:
			etcd = "unhealthy"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\n", m.Name, m.Address, role, state, m.Timeline, etcd)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if f := s.Follows; f != nil {
		fmt.Fprintf(w, "\nthe cluster follows the primary at %s:%d, and takes no writes: `pgha cutover` on the standby leader ends that\n", f.Host, f.Port)
	}
	for _, server := range s.Serves {
		fmt.Fprintf(w, "\nread-write connections go to %s\n", server)
	}
	for _, m := range s.Members {
		if m.Waiting != "" {
			fmt.Fprintf(w, "\n%s waits: %s\n", m.Name, m.Waiting)
		}
	}
	for _, m := range s.Generations() {
		fmt.Fprintf(w, "\n%s has generation %d of the specification, this machine %d", m.Name, m.Generation, s.Generation)
		if m.Refused != "" {
			fmt.Fprintf(w, "; %s", m.Refused)
		}
		fmt.Fprintln(w)
	}
	if s.Joins != "" {
		fmt.Fprintf(w, "\n%s joins etcd, or is replaced in it, at this moment\n", s.Joins)
	}
	if s.Holds != "" {
		fmt.Fprintf(w, "the virtual address %s is here\n", s.Holds)
	}
	upkeep(w, s)
	certificates(w, s)
	return applied(w, s)
}

// applied says what the last apply ended with, or waits for.
func applied(w io.Writer, s *agent.Status) error {
	if s.Apply == nil || s.Apply.Step == "done" {
		return nil
	}
	if s.Apply.Error != "" {
		_, err := fmt.Fprintf(w, "\napply failed: %s\n", s.Apply.Error)
		return err
	}
	_, err := fmt.Fprintf(w, "\nwaiting for %s, since %s (%s): %s\n", s.Apply.Step,
		s.Apply.Since.Format(time.DateTime), time.Since(s.Apply.Since).Round(time.Second), s.Apply.Waiting)
	return err
}

// certificates says which one ends first, what ends soon, and while the authority is rotated who trusts whom.
func certificates(w io.Writer, s *agent.Status) {
	var first cluster.Trust
	rotates := false
	for _, t := range s.Certificates {
		if first.First == "" || t.To.Before(first.To) {
			first = t
		}
		rotates = rotates || len(t.Trusts) > 1 || !slices.Equal(t.Trusts, s.Certificates[0].Trusts)
		if problem, _ := agent.TrustProblem(t, time.Now()); problem != "" {
			fmt.Fprintf(w, "\n%s\n", problem)
		}
	}
	if first.First != "" {
		fmt.Fprintf(w, "\ncertificates: the first to end is %s of %s, on %s\n", first.First, first.Machine, first.To.Format(time.DateOnly))
	}
	if !rotates {
		return
	}
	for _, t := range s.Certificates {
		fmt.Fprintf(w, "%s trusts %s; its own are from %s\n", t.Machine, strings.Join(t.Trusts, ", "), strings.Join(t.SignedBy, ", "))
	}
}
