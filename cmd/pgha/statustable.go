package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pgbake/pgbake/agent"
	"github.com/pgbake/pgbake/agent/monitor"
	"github.com/pgbake/pgbake/cluster"
)

// table is the cluster on one screen.
func table(w io.Writer, s *agent.Status) error {
	if s.Seed != "" {
		fmt.Fprintf(w, "this machine cannot be what it was told: %s\n\n", s.Seed)
	}
	if s.Scope == "" {
		return applied(w, s)
	}
	fmt.Fprintf(w, "%s, seen from %s at %s: %s\n\n", s.Scope, s.Machine, s.At.Format("15:04:05"), verdict(s))
	if err := members(w, s); err != nil {
		return err
	}
	if err := proxies(w, s); err != nil {
		return err
	}
	if f := s.Follows; f != nil {
		fmt.Fprintf(w, "\nthe cluster follows the primary at %s:%d, and takes no writes: `pgha cutover` on the standby leader ends that\n", f.Host, f.Port)
	} else {
		replication(w, s)
	}
	etcd(w, s)
	certificates(w, s)
	taken(w, s)
	waits(w, s)
	upkeep(w, s)
	if err := applied(w, s); err != nil {
		return err
	}
	if err := problems(w, s); err != nil {
		return err
	}
	for i, text := range s.Warnings {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "warning: %s\n", text)
	}
	return nil
}

func verdict(s *agent.Status) string {
	switch n := len(s.Problems); {
	case s.Healthy() && n == 0:
		return "healthy"
	case s.Healthy():
		return fmt.Sprintf("healthy, %d to look at", n)
	case n == 0:
		return "NOT HEALTHY"
	default:
		return fmt.Sprintf("NOT HEALTHY, %d to look at", n)
	}
}

func members(w io.Writer, s *agent.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MEMBER\tADDRESS\tROLE\tSTATE\tTL\tETCD\tLAG\tDISK")
	for _, m := range s.Members {
		role, state, timeline := m.Role, m.State, fmt.Sprint(m.Timeline)
		if m.Error != "" {
			role, state, timeline = "?", "no answer", "-"
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
		lag := "-"
		if m.LagBytes != nil {
			lag = monitor.Bytes(*m.LagBytes) + ", " + fmt.Sprintf("%.1f s", *m.LagSeconds)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.Name, m.Address, role, state, timeline, etcd, lag, disk(m.Disks))
	}
	return t.Flush()
}

// disk is the one of the data, which stands first.
func disk(disks []monitor.Disk) string {
	if len(disks) == 0 {
		return "-"
	}
	d := disks[0]
	text := fmt.Sprintf("%s of %s", monitor.Percent(d.Used()), monitor.Bytes(d.Total))
	if d.Hours > 0 && d.Hours < 24*7 {
		text += ", full in " + monitor.Span(time.Duration(d.Hours*float64(time.Hour)))
	}
	return text
}

func proxies(w io.Writer, s *agent.Status) error {
	if len(s.Proxies) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROXY\tADDRESS\tREAD-WRITE\tREAD-ONLY\tDISK")
	for _, p := range s.Proxies {
		writers, readers := strings.Join(p.ReadWrite, ", "), strings.Join(p.ReadOnly, ", ")
		switch {
		case p.Error != "":
			writers, readers = "?", "no answer"
		case writers == "":
			writers = "nowhere"
		}
		switch {
		case readers == "" && writers == "nowhere":
			readers = writers
		case readers == "":
			readers = "the primary"
		}
		name := p.Name
		if p.Holds != "" {
			name += " (has " + p.Holds + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", name, p.Address, writers, readers, disk(p.Disks))
	}
	return t.Flush()
}

func replication(w io.Writer, s *agent.Status) {
	switch {
	case !s.Synchronous && len(s.Members) > 1:
		fmt.Fprintln(w, "\nwrites: acknowledged by the primary alone; a failover may lose the last ones")
	case s.Synchronous && len(s.Confirm) > 0:
		fmt.Fprintf(w, "\nwrites: confirmed by %s\n", strings.Join(s.Confirm, ", "))
	case s.Synchronous:
		fmt.Fprintln(w, "\nwrites: NO replica confirms them; without the primary nobody would take over")
	default:
		fmt.Fprintln(w)
	}
	for _, server := range s.Serves {
		fmt.Fprintf(w, "read-write connections go to %s\n", server)
	}
	if s.Holds != "" {
		fmt.Fprintf(w, "the virtual address %s is here\n", s.Holds)
	}
}

func etcd(w io.Writer, s *agent.Status) {
	healthy, asked := 0, 0
	for _, m := range s.Members {
		if m.Etcd != nil {
			asked++
		}
		if m.Etcd != nil && *m.Etcd {
			healthy++
		}
	}
	leader := "nobody says who leads"
	if s.EtcdLeader != "" {
		leader = "led by " + s.EtcdLeader
	}
	if asked == 0 {
		fmt.Fprintln(w, "etcd: nobody can be asked from here")
		return
	}
	fmt.Fprintf(w, "etcd: %d of %d healthy, %s\n", healthy, len(s.Members), leader)
}

// taken is what is known of the last backup, and of whether it can be restored.
func taken(w io.Writer, s *agent.Status) {
	b := s.Backup
	switch {
	case !s.Backups && b == nil && len(s.Warnings) > 0: // they say so
		return
	case !s.Backups && b == nil:
		fmt.Fprintln(w, "backup: none is wanted (backup in cluster.yaml)")
		return
	case b == nil || b.Backup == nil:
		fmt.Fprintln(w, "backup: none yet")
	case b.Backup.Error != "":
		fmt.Fprintf(w, "backup: FAILED on %s, %s ago: %s\n", b.Backup.Machine, ago(s, b.Backup.At), b.Backup.Error)
	default:
		fmt.Fprintf(w, "backup: %s on %s, %s ago\n", monitor.Bytes(b.Backup.Bytes), b.Backup.Machine, ago(s, b.Backup.At))
	}
	switch {
	case b == nil || b.Proof == nil:
		fmt.Fprintln(w, "proof: no backup was restored yet to see that it can be")
	case b.Proof.Error != "":
		fmt.Fprintf(w, "proof: %s CANNOT be restored, tried %s ago: %s\n", b.Proof.Backup, ago(s, b.Proof.At), b.Proof.Error)
	default:
		fmt.Fprintf(w, "proof: %s was restored and read %s ago\n", b.Proof.Backup, ago(s, b.Proof.At))
	}
}

func ago(s *agent.Status, at time.Time) string { return monitor.Span(s.At.Sub(at)) }

// waits are what other machines wait for, and who has another specification.
func waits(w io.Writer, s *agent.Status) {
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

// problems come last, the worst of them at the very end, where it is read.
func problems(w io.Writer, s *agent.Status) error {
	sorted := slices.Clone(s.Problems)
	slices.SortStableFunc(sorted, func(a, b monitor.Problem) int { return -strings.Compare(string(a.Severity), string(b.Severity)) })
	for i, p := range sorted {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%-8s  %s\n", p.Severity, p.Text)
		if p.Hint != "" {
			fmt.Fprintf(w, "          hint: %s\n", p.Hint)
		}
	}
	return nil
}

// certificates says which one ends first, and while the authority is rotated who trusts whom; what ends soon is a problem.
func certificates(w io.Writer, s *agent.Status) {
	var first cluster.Trust
	rotates := false
	for _, t := range s.Certificates {
		if first.First == "" || t.To.Before(first.To) {
			first = t
		}
		rotates = rotates || len(t.Trusts) > 1 || !slices.Equal(t.Trusts, s.Certificates[0].Trusts)
	}
	if first.First != "" {
		fmt.Fprintf(w, "certificates: the first to end is %s of %s, on %s\n", first.First, first.Machine, first.To.Format(time.DateOnly))
	}
	if !rotates {
		return
	}
	for _, t := range s.Certificates {
		fmt.Fprintf(w, "%s trusts %s; its own are from %s\n", t.Machine, strings.Join(t.Trusts, ", "), strings.Join(t.SignedBy, ", "))
	}
}
