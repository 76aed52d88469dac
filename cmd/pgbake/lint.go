package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/lint"
)

func (a *app) lint() *cobra.Command {
	var kind string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Find what is wrong in hand-made files: patroni.yml, haproxy.cfg, etcd, units, pg_hba.conf, scripts",
		Long: `Find what is wrong in the files of a cluster that pgbake has not made: patroni.yml, haproxy.cfg, etcd's environment
file or etcd.conf.yml, systemd units, keepalived.conf, pg_hba.conf, postgresql.conf, the shell scripts that set it up, watch
it and back it up, and the versions that are installed (dpkg --list, patroni --version). Each finding says where, what, what
comes of it and what to write instead.

Give all files of the cluster at once: what they say against each other is found too. "-" is standard input.
Exit code 0: nothing found; 3: something; 1: a file could not be read.`,
		Example: `  pgbake lint /etc/patroni/config.yml /etc/default/etcd /etc/systemd/system/patroni.service
  ssh proxy cat /etc/haproxy/haproxy.cfg | pgbake lint --kind haproxy -
  ssh db1 dpkg --list patroni etcd-server | pgbake lint -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if kind != "" && !strings.Contains("|"+strings.Join(lint.Kinds(), "|")+"|", "|"+kind+"|") {
				return specError{fmt.Errorf("lint: --kind %q is none of %s", kind, strings.Join(lint.Kinds(), ", "))}
			}
			var files []lint.File
			var failed []error
			for _, name := range args {
				f, err := readFile(cmd.InOrStdin(), name)
				if err != nil {
					failed = append(failed, err)
					continue
				}
				f.Kind = lint.Kind(kind)
				files = append(files, f)
			}
			found, err := lint.Check(files)
			if err := a.printFindings(cmd, found, asJSON); err != nil {
				return err
			}
			// Not cluster.Problems, which would be exit code 2.
			if err := errors.Join(append(failed, err)...); err != nil {
				return errors.New(err.Error())
			}
			if len(found) > 0 {
				return errUnhealthy
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "what all of the files are (default: by content and name): "+strings.Join(lint.Kinds(), ", "))
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return cmd
}

// readFile reads one file; of a device or a pipe only so much that it is seen to be no configuration.
func readFile(stdin io.Reader, name string) (f lint.File, err error) {
	const limit = 2 << 20
	f.Name = name
	if name == "-" {
		f.Name = "stdin"
		f.Body, err = io.ReadAll(io.LimitReader(stdin, limit))
		return f, err
	}
	r, err := os.Open(name)
	if err != nil {
		return f, err
	}
	defer r.Close() //nolint:errcheck // only read
	info, err := r.Stat()
	if err != nil {
		return f, err
	}
	f.Mode = info.Mode().Perm()
	if f.Body, err = io.ReadAll(io.LimitReader(r, limit)); err != nil {
		return f, fmt.Errorf("read %s: %w", name, errors.Unwrap(err))
	}
	return f, nil
}

func (a *app) printFindings(cmd *cobra.Command, found []lint.Finding, asJSON bool) error {
	if asJSON {
		return printJSON(cmd, append([]lint.Finding{}, found...))
	}
	shown := map[string]bool{}
	for _, f := range found {
		if shown[f.Why] {
			fmt.Fprintln(cmd.OutOrStdout(), f.Short())
			continue
		}
		shown[f.Why] = true
		fmt.Fprintln(cmd.OutOrStdout(), f)
	}
	switch len(found) {
	case 0:
	case 1:
		a.ui.Say("one finding")
	default:
		a.ui.Say("%d findings", len(found))
	}
	return nil
}
