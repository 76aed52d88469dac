package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/render"
)

func (a *app) initCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Write a commented cluster.yaml, and the secrets it needs; what exists is kept",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := a.judgeSecrets(nil); err != nil {
				return err
			}
			made, err := writeNew(a.spec, cluster.Example)
			if err != nil {
				return err
			}
			if made {
				fmt.Fprintln(cmd.OutOrStdout(), a.spec)
			} else {
				a.ui.Say("%s is there already and is kept", a.spec)
			}
			c, err := a.load()
			if err != nil {
				return err
			}
			files, err := cluster.InitSecrets(a.secretsDir(), c, time.Now())
			if err != nil {
				return err
			}
			for _, f := range files {
				fmt.Fprintln(cmd.OutOrStdout(), f)
			}
			a.ui.Next("edit " + a.spec + ", then: " + a.self() + " check")
			return nil
		},
	}
}

// writeNew writes a file that does not exist yet; false when it does.
func writeNew(path string, body []byte) (bool, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // holds the specification, no secret
		return false, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // no secret in it
	if errors.Is(err, os.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, err := f.Write(body); err != nil {
		return false, errors.Join(err, f.Close())
	}
	return true, f.Close()
}

func (a *app) check() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say everything that is wrong with the specification and the secrets, each with its place",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err == nil {
				err = a.judgeChanges(c)
			}
			secrets, wrong := a.judgeSecrets(c)
			if err = both(err, wrong, a.secretsDir()); err != nil {
				err = specError{err}
			}
			var problems cluster.Problems
			if asJSON && (err == nil || errors.As(err, &problems)) {
				if err := printJSON(cmd, slices.Concat([]cluster.Problem{}, problems)); err != nil {
					return err
				}
			}
			if err != nil {
				return err
			}
			if !asJSON {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s is a cluster of %d, PostgreSQL %d on Debian %d\n", a.spec, c.Scope, len(c.Nodes), c.Postgres.Version, c.Debian)
			}
			for _, p := range append(c.Advice(a.spec), secrets.Advice(a.secretsFile(), c)...) {
				a.ui.Say("warning: %s", p)
			}
			a.ui.Next(a.self() + " lab up, or " + a.self() + " seed")
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the complaints as JSON")
	return cmd
}

// both are the complaints about the specification and those about the secrets, as one list where the first are one: what is wrong
// with the folder itself stands in it, too.
func both(spec, secrets error, dir string) error {
	var first, second cluster.Problems
	switch {
	case spec == nil:
		return secrets
	case secrets == nil || !errors.As(spec, &first):
		return spec
	case !errors.As(secrets, &second):
		second = cluster.Problems{{File: dir, Message: secrets.Error()}}
	}
	return slices.Concat(first, second)
}

func (a *app) show() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the cluster with everything that was left to defaults",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, c)
			}
			return show(cmd.OutOrStdout(), c)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// applications says where they connect.
func applications(c *cluster.Cluster) string {
	var entries []string
	for _, e := range c.Entries() {
		entries = append(entries, e.Addr().String())
	}
	hosts := strings.Join(entries, ",")
	switch {
	case len(c.Proxies) > 0:
		return fmt.Sprintf("%s, read-write :%d, read-only :%d", hosts, c.Ports.ReadWrite, c.Ports.ReadOnly)
	case len(c.Nodes) > 1:
		return fmt.Sprintf("%s:%d with target_session_attrs=read-write", hosts, c.Ports.Postgres)
	}
	return fmt.Sprintf("%s:%d", hosts, c.Ports.Postgres)
}

func show(out io.Writer, c *cluster.Cluster) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tROLE\tADDRESS\tRUNS")
	for _, m := range c.Machines() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.Name, m.Role, m.Address, strings.Join(c.PackagesFor(m.Role), " "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	t := c.Timers()
	fmt.Fprintf(w, "cluster\t%s\n", c.Scope)
	fmt.Fprintf(w, "system\tDebian %d (%s), PostgreSQL from %s\n", c.Debian, c.Debian.Codename(), c.Postgres.Source)
	fmt.Fprintf(w, "applications\t%s\n", applications(c))
	if len(c.Nodes) > 1 {
		fmt.Fprintf(w, "replication\t%s (synchronous_mode: %s)\n", c.Replication.Mode, c.SynchronousMode())
	} else {
		fmt.Fprintf(w, "replication\tnone, with one member\n")
	}
	fmt.Fprintf(w, "failover\t%s (ttl %d s, loop_wait %d s, retry_timeout %d s)\n", c.Failover, t.TTL, t.LoopWait, t.RetryTimeout)
	return w.Flush()
}

func (a *app) schema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of cluster.yaml, for editors",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(cluster.Schema)
			return err
		},
	}
}

func (a *app) render() *cobra.Command {
	return &cobra.Command{
		Use:   "render MACHINE",
		Short: "Show every file that the machine will get, without its secrets",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			m, err := machine(c, args[0])
			if err != nil {
				return err
			}
			files, err := render.Node(c, m, render.Preview(c))
			if err != nil {
				return err
			}
			for _, f := range files {
				owner := f.Owner
				if owner == "" {
					owner = "root"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "==> %s  %04o %s\n%s\n", f.Path, f.Mode, owner, f.Body)
			}
			return nil
		},
	}
}

func machine(c *cluster.Cluster, name string) (cluster.Machine, error) {
	m, ok := c.Machine(name)
	if !ok {
		var names []string
		for _, m := range c.Machines() {
			names = append(names, m.Name)
		}
		return m, fmt.Errorf("%s has no machine %q; it has %s", c.Scope, name, strings.Join(names, ", "))
	}
	return m, nil
}

func printJSON(cmd *cobra.Command, v any) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
