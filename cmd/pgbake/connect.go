package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/connection"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/rootfs"
)

// printable are the connections that --print prints: they hold no secret.
var printable = map[string]func(*cluster.Cluster, connection.Login, string) string{
	"libpq":   connection.Libpq,
	"url":     connection.URL,
	"jdbc":    connection.JDBC,
	"service": func(c *cluster.Cluster, l connection.Login, _ string) string { return connection.Service(c, l) },
}

func (a *app) connect() *cobra.Command {
	var f loginFlags
	var at, form string
	cmd := &cobra.Command{
		Use:   "connect",
		Short: "Write what applications need to connect: libpq, JDBC, GlobalServer, DBeaver, pgpass, queries",
		Long: `Write what applications need to connect, below -o dist/connect:

  ca.crt                      the authority that the cluster's certificates are verified by
  pgpass                      the passwords, 0600
  pg_service.conf             psql service=DATABASE, or DATABASE.ro for reading
  libpq.txt                   URLs and keywords for everything that is built on libpq
  jdbc.txt                    URLs for Java
  globalserver.xml            the <database> of global3.config.xml, with the password, 0600
  dbeaver/data-sources.json   the connections of a DBeaver project
  monitoring.sql              how the cluster is: runs anywhere, changes nothing
  write-test.sql              does a write arrive?

Each connection knows the proxies and, behind them, every member: without a proxy it finds the primary by itself.`,
		Example: `  pgbake connect --at /etc/myapp/db          # where the files will lie on the application's machine
  psql "$(pgbake connect --print libpq)"
  pgbake connect --print jdbc --database billing --read-only`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			dir := filepath.Join(a.out, "connect")
			if at == "" {
				if at, err = filepath.Abs(dir); err != nil {
					return err
				}
			}
			if !filepath.IsAbs(at) || strings.ContainsFunc(at, unicode.IsControl) {
				return specError{fmt.Errorf("write connections: --at %q is not an absolute path", at)}
			}
			if form != "" {
				return a.printConnection(cmd, c, form, f, at)
			}
			return a.writeConnections(cmd, c, dir, at)
		},
	}
	forms := slices.Sorted(maps.Keys(printable))
	cmd.Flags().StringVar(&at, "at", "", "absolute path of the folder on the application's machine (default: where it is written)")
	cmd.Flags().StringVar(&form, "print", "", "only print one connection, without its password: "+strings.Join(forms, ", "))
	cmd.Flags().StringVar(&f.user, "user", "", "with --print: application user (default: the database's owner)")
	cmd.Flags().StringVar(&f.database, "database", "", "with --print: database (default: the first)")
	cmd.Flags().BoolVar(&f.readOnly, "read-only", false, "with --print: for reading, from replicas")
	return cmd
}

// printConnection prints one connection, for scripts. It needs no secrets.
func (a *app) printConnection(cmd *cobra.Command, c *cluster.Cluster, form string, f loginFlags, at string) error {
	write, ok := printable[form]
	if !ok {
		return specError{fmt.Errorf("print connection: %q is none of %s", form, strings.Join(slices.Sorted(maps.Keys(printable)), ", "))}
	}
	user, database, err := a.who(c, f)
	if err != nil {
		return specError{err}
	}
	fmt.Fprintln(cmd.OutOrStdout(), write(c, connection.Login{User: user, Database: database, ReadOnly: f.readOnly}, at))
	return nil
}

func (a *app) writeConnections(cmd *cobra.Command, c *cluster.Cluster, dir, at string) error {
	secrets, err := a.loadSecrets()
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(a.secretsDir(), "ca.crt"))
	if err != nil {
		return fmt.Errorf("read the cluster's certificate: %w\n      hint: %s init makes it", err, a.self())
	}
	files, err := connection.Files(c, connection.Input{CA: ca, Passwords: secrets.Users, Dir: at})
	if err != nil {
		return fmt.Errorf("write connections: %w", err)
	}
	if err := outOfGit(dir); err != nil {
		return err
	}
	for _, file := range files {
		path := filepath.Join(dir, file.Path)
		if err := writeResult(path, file); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), path)
	}
	service := connection.Service(c, connection.Logins(c)[0])
	next := "PGSERVICEFILE=" + run.Line([]string{filepath.Join(dir, "pg_service.conf")}) + " psql service=" + service
	if here, err := filepath.Abs(dir); err == nil && here != filepath.Clean(at) {
		next = "copy " + dir + " to " + at + " of the application's machine; there: PGSERVICEFILE=" + run.Line([]string{filepath.Join(at, "pg_service.conf")}) + " psql service=" + service
	}
	a.ui.Next(next)
	return nil
}

// outOfGit has git pass over what is in dir, where there are secrets; the operator's own word on that is kept.
func outOfGit(dir string) error {
	path := filepath.Join(dir, ".gitignore")
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	return writeResult(path, rootfs.File{Body: []byte("*\n"), Mode: 0o644})
}

// writeResult puts a file in the place of an older one, all of it or nothing, its mode before its body.
func writeResult(path string, file rootfs.File) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // secrets have modes of their own
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(file.Body) // CreateTemp's mode is 0600
	if err = errors.Join(err, f.Chmod(file.Mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
