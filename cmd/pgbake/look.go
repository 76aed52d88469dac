package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/step"
	"github.com/pgbake/pgbake/lab"
)

func (a *app) labStatus() *cobra.Command {
	var asJSON bool
	cmd := a.labCmd("status", "Show every machine as it describes itself; exit code 3 when the cluster is not healthy", cobra.NoArgs,
		func(ctx context.Context, cmd *cobra.Command, l *lab.Lab, _ []string) error {
			s := l.Status(ctx)
			problem := s.Problem()
			var err error
			if asJSON {
				err = printJSON(cmd, struct {
					Healthy bool   `json:"healthy"`
					Problem string `json:"problem,omitempty"`
					lab.Status
				}{problem == "", problem, s})
			} else {
				err = printStatus(cmd.OutOrStdout(), s)
			}
			switch {
			case err != nil:
				return err
			case problem != "":
				a.ui.Say("not healthy: %s", problem)
				return errUnhealthy
			}
			return nil
		})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printStatus(out io.Writer, s lab.Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MEMBER\tADDRESS\tROLE\tSTATE\tTL\tLAG")
	for _, m := range s.Members {
		role, state, timeline, lag := m.Role, m.State, fmt.Sprint(m.Timeline), fmt.Sprintf("%d B", m.Lag)
		if role == "" {
			role, timeline = "-", "-"
		}
		switch {
		case !m.On:
			state = "off"
		case m.Role == "" && m.Note != "":
			state = m.Note
		case m.Role == "":
			state = "boots"
		}
		if m.Lag < 0 {
			lag = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", m.Name, m.Address, role, state, timeline, lag)
	}
	if len(s.Proxies) > 0 {
		fmt.Fprintln(w, "\t\t\t\t\t\nPROXY\tADDRESS\tREAD-WRITE\tREAD-ONLY\t\t")
	}
	for _, p := range s.Proxies {
		address := p.Address.String()
		if p.Holds {
			address += ", " + s.VirtualAddress.String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\t\n", p.Name, address, orDash(p.ReadWrite), orDash(p.ReadOnly))
	}
	return w.Flush()
}

func orDash(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ", ")
}

// loginFlags choose who logs in and where; empty fields mean the first database and its owner.
type loginFlags struct {
	user, database string
	readOnly       bool
}

// who is the user and database that the flags mean.
func (a *app) who(c *cluster.Cluster, f loginFlags) (user, database string, err error) {
	if f.database == "" && len(c.Postgres.Databases) > 0 {
		f.database = c.Postgres.Databases[0].Name
	}
	if f.user == "" {
		for _, d := range c.Postgres.Databases {
			if d.Name == f.database {
				f.user = d.Owner
			}
		}
	}
	if f.user == "" && len(c.Postgres.Users) > 0 {
		f.user = c.Postgres.Users[0].Name
	}
	if f.user == "" || f.database == "" {
		return "", "", fmt.Errorf("%s names no database and user to log in with\n      hint: add postgres.databases and postgres.users", a.spec)
	}
	if !slices.ContainsFunc(c.Postgres.Users, func(u cluster.User) bool { return u.Name == f.user }) {
		return "", "", fmt.Errorf("%s is none of the application users in %s", f.user, a.spec)
	}
	return f.user, f.database, nil
}

// login is how an application of the cluster logs in.
func (a *app) login(c *cluster.Cluster, f loginFlags) (lab.Login, error) {
	user, database, err := a.who(c, f)
	if err != nil {
		return lab.Login{}, err
	}
	secrets, err := a.loadSecrets()
	if err != nil {
		return lab.Login{}, err
	}
	password, ok := secrets.Users[user]
	if !ok {
		return lab.Login{}, fmt.Errorf("the password of user %q is missing\n      hint: %s init adds what is missing and changes nothing else", user, a.self())
	}
	ca, err := os.ReadFile(filepath.Join(a.secretsDir(), "ca.crt"))
	return lab.Login{User: user, Password: password, Database: database, CA: ca, ReadOnly: f.readOnly}, err
}

func (a *app) labPsql() *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{
		Use:     "psql [-- ARG...]",
		Short:   "Open psql as the application, through the proxy",
		Example: `  pgbake lab psql -- -c 'SELECT inet_server_addr(), pg_is_in_recovery()'`,
		RunE: func(_ *cobra.Command, args []string) error {
			c, l, err := a.openLab()
			if err != nil {
				return err
			}
			login, err := a.login(c, f)
			if err != nil {
				return err
			}
			command, err := l.Psql(login, args...)
			if err != nil {
				return err
			}
			return lab.Become(command)
		},
	}
	cmd.Flags().StringVar(&f.user, "user", "", "application user (default: the database's owner)")
	cmd.Flags().StringVar(&f.database, "database", "", "database (default: the first)")
	cmd.Flags().BoolVar(&f.readOnly, "read-only", false, "through the read-only port")
	return cmd
}

func (a *app) labExec() *cobra.Command {
	return a.labCmd("exec MACHINE -- PROGRAM [ARG...]", "Run a program on a machine, as root", cobra.MinimumNArgs(2),
		func(_ context.Context, _ *cobra.Command, l *lab.Lab, args []string) error {
			m, err := l.Machine(args[0])
			if err != nil {
				return err
			}
			c, err := m.Command(args[1:]...)
			if err != nil {
				return err
			}
			return lab.Become(c)
		})
}

// labEnter is what the command of a machine in QEMU runs.
func (a *app) labEnter() *cobra.Command {
	return &cobra.Command{
		Use: "enter DIR -- PROGRAM [ARG...]", Short: "Run a program on the machine in QEMU whose directory this is", Hidden: true, Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			code, err := lab.Enter(cmd.Context(), args[0], args[1:])
			if err == nil && code != 0 {
				err = exitError(code)
			}
			return err
		},
	}
}

func (a *app) labForward() *cobra.Command {
	return a.labCmd("forward", "Open the applications' ports on this host's loopback, until Ctrl-C", cobra.NoArgs,
		func(ctx context.Context, _ *cobra.Command, l *lab.Lab, _ []string) error {
			return l.Forward(ctx, func(from, to string) { a.ui.Say("%s leads to %s", from, to) })
		})
}

func (a *app) labLogs() *cobra.Command {
	return a.labCmd("logs MACHINE", "Print a machine's console and its journal since boot", cobra.ExactArgs(1),
		func(ctx context.Context, cmd *cobra.Command, l *lab.Lab, args []string) error {
			return l.Logs(ctx, args[0], cmd.OutOrStdout())
		})
}

func (a *app) labFault() *cobra.Command {
	var long strings.Builder
	long.WriteString("Break a machine, or mend it:\n\n")
	for _, f := range lab.Faults {
		fmt.Fprintf(&long, "  %-13s %s\n", f.Name, f.Does)
	}
	long.WriteString("\nor a program on it, by its name: postgres, patroni, etcd, haproxy:\n\n")
	for _, s := range lab.Signals {
		fmt.Fprintf(&long, "  %-13s %s\n", s.Name+" … NAME", s.Does)
	}
	cmd := a.labCmd("fault FAULT MACHINE [NAME]", "Break a machine, or mend it", cobra.RangeArgs(2, 3),
		func(ctx context.Context, _ *cobra.Command, l *lab.Lab, args []string) error {
			fault, machine := args[0], args[1]
			switch {
			case lab.IsSignal(fault) && len(args) == 3:
				return l.Signal(ctx, fault, machine, args[2])
			case lab.IsSignal(fault):
				return fmt.Errorf("%s wants a program's name: pgbake lab fault %[1]s %s patroni", fault, machine)
			case len(args) == 3:
				return fmt.Errorf("%s is a fault of a whole machine: pgbake lab fault %[1]s %s", fault, machine)
			}
			return l.Inject(ctx, fault, machine)
		})
	cmd.Long = long.String()
	return cmd
}

func (a *app) labDown() *cobra.Command {
	return a.labCmd("down", "Switch every machine off and remove all of the lab", cobra.NoArgs,
		func(ctx context.Context, _ *cobra.Command, l *lab.Lab, _ []string) error {
			return step.Run(ctx, a.ui, step.Step{Name: "take the lab down", Run: l.Down})
		})
}
