package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/internal/step"
	"github.com/pgbake/pgbake/lab"
	"github.com/pgbake/pgbake/render"
	"github.com/pgbake/pgbake/verify"
)

// verifyFlags say what is looked at, and how the primary is made to fail.
type verifyFlags struct {
	asJSON, inLab              bool
	failover, interrupts, hand bool
	command                    string
	patience                   time.Duration
}

func (a *app) verify() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check a running cluster as its client: roles, routing, logins, replication; on request let its primary fail",
		Long: `Check a running cluster, from this host, over the network, as its applications see it: where the ports lead, who gets in
and who does not, whether a row reaches the replicas. It needs cluster.yaml and secrets/, and to stand in client_networks.
Exit code 3 when a check fails. The report lies in dist/verify/: report.txt, report.json, and report.html, one page.

What it writes lies in a schema of its own, pgbake_verify_…, in the first database, and is removed at the end, also after
Ctrl-C. No other table is touched.

--failover lets the primary switch, crash, and come back, while an application writes: writes stop for seconds, with a
crash for up to a minute. It counts the acknowledged rows that are lost (there must be none) and how long nobody could write.
How the primary is made to fail is for you to choose:

  --lab                 in the lab of cluster.yaml, by itself
  --by-hand             you are told what to do on which machine; it is noticed when it has happened
  --fault-command FILE  a program of yours, called with what to do (switchover, crash or return) and the machine`,
		Example: `  pgbake verify
  pgbake verify --lab --failover --i-know-that-it-interrupts
  pgbake verify --failover --by-hand --i-know-that-it-interrupts`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runVerify(cmd, f) },
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.asJSON, "json", false, "print JSON")
	fl.BoolVar(&f.inLab, "lab", false, "look at the lab of cluster.yaml, from inside its network (root)")
	fl.BoolVar(&f.failover, "failover", false, "let the primary switch, crash, and come back")
	fl.BoolVar(&f.interrupts, "i-know-that-it-interrupts", false, "with --failover: applications cannot write for a while, three times")
	fl.BoolVar(&f.hand, "by-hand", false, "with --failover: say what to do on which machine, and watch")
	fl.StringVar(&f.command, "fault-command", "", "with --failover: a program that does it")
	fl.DurationVar(&f.patience, "patience", 10*time.Minute, "with --failover: how long to wait for each thing to happen, and to heal")
	return cmd
}

func (a *app) runVerify(cmd *cobra.Command, f verifyFlags) (err error) {
	c, err := a.load()
	if err != nil {
		return err
	}
	t := verify.Target{Cluster: c, StatsUser: render.StatsUser}
	var l *lab.Lab
	if f.inLab {
		if _, l, err = a.openLab(); err != nil {
			return err
		}
		t.Dial = l.Dial
	}
	fault, err := a.fault(f, l)
	if err != nil {
		return err
	}
	if t.Secrets, err = a.loadSecrets(); err != nil {
		return err
	}
	if t.CA, err = os.ReadFile(filepath.Join(a.secretsDir(), "ca.crt")); err != nil {
		return err
	}
	if t.Host, err = os.Hostname(); err != nil {
		return err
	}
	v, err := verify.Open(t)
	if err != nil {
		return specError{err}
	}
	r := v.Begin()
	ctx := cmd.Context()
	defer func() {
		if left := v.Close(ctx); left != nil {
			err = left // more urgent than what was found
		}
	}()
	checks := step.Step{Name: "checks", Run: func(ctx context.Context) error {
		return v.Checks(ctx, r, func(one verify.Result) { step.Note(ctx, "%s: %s", one.Check, one.Verdict) })
	}}
	if err := step.Run(ctx, a.ui, checks); err != nil {
		return err
	}
	switch {
	case fault == nil:
	case !r.Passed:
		a.ui.Say("not every check has passed: the failover tests are left out")
	default:
		trials := step.Step{Name: "failover", Run: func(ctx context.Context) error {
			return v.Failover(ctx, r, fault, f.patience, func(what string) { step.Note(ctx, "%s", what) })
		}}
		if err := step.Run(ctx, a.ui, trials); err != nil {
			return err
		}
	}
	return a.report(cmd, r, f.asJSON)
}

// report prints what was seen, and writes it into files.
func (a *app) report(cmd *cobra.Command, r *verify.Report, asJSON bool) error {
	dir := filepath.Join(a.out, "verify")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // no secret in it
		return err
	}
	full := func(w io.Writer) error { return r.WriteText(w, true) }
	for name, write := range map[string]func(io.Writer) error{"report.txt": full, "report.json": r.WriteJSON, "report.html": r.WriteHTML} {
		if err := writeWhole(filepath.Join(dir, name), write); err != nil {
			return err
		}
	}
	show := func(w io.Writer) error { return r.WriteText(w, a.verbose) }
	if asJSON {
		show = r.WriteJSON
	}
	if err := show(cmd.OutOrStdout()); err != nil {
		return err
	}
	a.ui.Say("the report: %s", filepath.Join(dir, "report.html"))
	if !r.Passed {
		return errUnhealthy
	}
	return nil
}

// writeWhole replaces a file, never by half of one.
func writeWhole(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it has another name where all went well
	if err := errors.Join(write(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
