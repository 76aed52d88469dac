// Command pgbake turns one cluster.yaml into everything a self-healing PostgreSQL cluster needs before its
// first boot: packages, a seed for each machine, and a lab that boots the whole of it on this machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/ui"
)

// version is set by the build.
var version = "0.0.0~devel"

// Exit codes: 0 done, 1 failed, 2 usage or specification, 3 unhealthy or would change.
const (
	exitFailed    = 1
	exitUsage     = 2
	exitUnhealthy = 3
)

// errUnhealthy ends a command with exit code 3; what is wrong stands in its output.
var errUnhealthy = errors.New("")

// exitError ends a command with its exit code; a run of pgbake inside of this one has said why.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() { os.Exit(pgbake(os.Args[1:])) }

func pgbake(args []string) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		s := <-signals
		cancel(fmt.Errorf("stopped by %s", unix.SignalName(s.(syscall.Signal)))) //nolint:forcetypeassert // all are, on Linux
		signal.Stop(signals)                                                     // a second Ctrl-C ends it at once
	}()
	a := &app{}
	cmd := a.root()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	var problems cluster.Problems
	var said exitError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUnhealthy):
		return exitUnhealthy
	case errors.As(err, &said):
		return int(said)
	case errors.As(err, &problems):
		fmt.Fprintln(os.Stderr, problems)
		return exitUsage
	}
	fmt.Fprintln(os.Stderr, "pgbake:", err)
	var spec specError
	switch {
	case errors.As(err, &spec):
		return exitUsage
	case !a.ran:
		fmt.Fprintln(os.Stderr, "      hint: pgbake --help")
		return exitUsage
	}
	return exitFailed
}

// app is what the flags of every command say.
type app struct {
	spec, secrets, out string
	verbose, quiet     bool
	ran                bool
	ui                 *ui.UI
}

func (a *app) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pgbake",
		Short: "Bake highly available PostgreSQL: packages, seeds and images that configure themselves at first boot",
		Long: `pgbake turns one cluster.yaml into everything a self-healing PostgreSQL cluster needs before its first boot.
The machines do the rest by themselves: etcd, Patroni and HAProxy, without a controller and without ssh.`,
		Example: `  pgbake init                # cluster.yaml and secrets/
  pgbake check               # is it right?
  pgbake lab up              # the whole cluster, booted on this machine
  pgbake image               # disk images that become its machines
  pgbake seed                # the user-data of every machine, for the real ones`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.ran = true
			level := ui.Normal
			switch {
			case a.quiet:
				level = ui.Quiet
			case a.verbose:
				level = ui.Verbose
			}
			a.ui = ui.New(os.Stderr, level)
		},
	}
	f := cmd.PersistentFlags()
	f.StringVarP(&a.spec, "file", "f", "cluster.yaml", "the specification")
	f.StringVar(&a.secrets, "secrets", "", `passwords and the CA (default "secrets" beside the specification)`)
	f.StringVarP(&a.out, "out", "o", "dist", "where results go")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "show the commands that run")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "only errors")
	cmd.AddCommand(
		a.initCmd(), a.check(), a.show(), a.schema(), a.render(), a.pack(), a.seed(), a.adoptCmd(), a.connect(), a.lint(), a.ca(), a.machine(),
		a.image(), a.lock(), a.cache(), a.packer(), a.export(), a.lab(), a.verify(), a.docs(), a.metrics(), a.version(),
	)
	return cmd
}

// specError is a specification that cannot be read or is wrong.
type specError struct{ error }

func (e specError) Unwrap() error { return e.error }

// load reads the specification. Its error is a specError.
func (a *app) load() (*cluster.Cluster, error) {
	c, err := cluster.Load(a.spec)
	if err != nil {
		return nil, specError{err}
	}
	return c, nil
}

// judgeChanges refuses what cannot change in a cluster whose machines were seeded already.
func (a *app) judgeChanges(c *cluster.Cluster) error {
	before, err := cluster.LastSeeded(a.secretsDir())
	if err != nil {
		return specError{err}
	}
	if before == nil {
		return nil
	}
	wrong := c.Refused(a.spec, before)
	if wrong == nil {
		return nil
	}
	wrong[len(wrong)-1].Hint += "; " + cluster.NeverBooted(a.secretsDir())
	return specError{wrong}
}

// loadSecrets reads the operator's secrets. Its error is a specError: they are written by a person, as the specification is.
func (a *app) loadSecrets() (cluster.Secrets, error) {
	s, err := cluster.LoadSecrets(a.secretsDir())
	if err != nil {
		return s, specError{err}
	}
	return s, nil
}

// judgeSecrets refuses secrets that are wrong, or missing for c unless that is nil. Where there are none yet it says nothing:
// pgbake init makes them.
func (a *app) judgeSecrets(c *cluster.Cluster) (cluster.Secrets, error) {
	if _, err := os.Stat(a.secretsFile()); errors.Is(err, fs.ErrNotExist) {
		return cluster.Secrets{}, nil
	}
	s, err := cluster.LoadSecretsFor(a.secretsDir(), c)
	if err != nil {
		return s, specError{err}
	}
	return s, nil
}

func (a *app) secretsFile() string { return filepath.Join(a.secretsDir(), "secrets.yaml") }

func (a *app) secretsDir() string {
	if a.secrets != "" {
		return a.secrets
	}
	return filepath.Join(filepath.Dir(a.spec), "secrets")
}

// self is what to type to call pgbake again for the same specification.
func (a *app) self() string {
	args := []string{os.Args[0]}
	if name := filepath.Base(args[0]); found(name) {
		args[0] = name
	}
	if a.spec != "cluster.yaml" {
		args = append(args, "-f", a.spec)
	}
	if a.secrets != "" {
		args = append(args, "--secrets", a.secrets)
	}
	return run.Line(args)
}

// found tells whether the shell finds this very program by its name alone.
func found(name string) bool {
	path, err := exec.LookPath(name)
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	if err != nil {
		return false
	}
	here, err := os.Stat("/proc/self/exe")
	return err == nil && os.SameFile(there, here)
}

func (a *app) runner() run.Runner {
	return run.System{Trace: a.ui.Trace(), Leashed: true}
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), version) },
	}
}

// buildTime is the time that files in packages carry, so that the same source gives the same bytes:
// SOURCE_DATE_EPOCH, else the time of the commit, else 1 January 2026.
func buildTime() time.Time {
	if s, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(s, 0).UTC()
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil && s.Key == "vcs.time" {
				return t
			}
		}
	}
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
}
