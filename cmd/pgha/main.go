// Command pgha is the agent on every machine of a cluster that pgbake made: it turns the machine's seed into
// a running member or proxy, and says how it stands.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/agent"
	"github.com/pgbake/pgbake/agent/safety"
	"github.com/pgbake/pgbake/internal/run"
)

// version is set by the build.
var version = "devel"

// Exit codes: 0 done, 1 failed, 2 usage or seed, 3 unhealthy or would change.
const (
	exitFailed    = 1
	exitUsage     = 2
	exitUnhealthy = 3
)

// errUnhealthy ends a command with exit code 3; what is wrong stands in its output.
var errUnhealthy = errors.New("")

func main() { os.Exit(pgha(os.Args[1:])) }

func pgha(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := root()
	cmd.SetArgs(args)
	ran := false
	cmd.PersistentPreRun = func(*cobra.Command, []string) { ran = true }
	err := cmd.ExecuteContext(ctx)
	var seed *agent.SeedError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUnhealthy):
		return exitUnhealthy
	}
	fmt.Fprintln(os.Stderr, "pgha:", err)
	if !ran || errors.As(err, &seed) {
		return exitUsage
	}
	return exitFailed
}

type options struct {
	root    string
	verbose bool
}

func (o *options) agent() *agent.Agent {
	sys := run.System{}
	if o.verbose {
		sys.Trace = os.Stderr
	}
	return &agent.Agent{Root: o.root, Runner: sys, Say: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "pgha: "+format+"\n", args...)
	}}
}

func root() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:           "pgha",
		Short:         "The agent of a pgbake machine: etcd, Patroni and HAProxy as the seed in /etc/pgha says",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.PersistentFlags().StringVar(&o.root, "root", "/", "the machine's root directory")
	cmd.PersistentFlags().BoolVarP(&o.verbose, "verbose", "v", false, "show the commands that run")
	_ = cmd.PersistentFlags().MarkHidden("root")
	cmd.AddCommand(switchover(o), restart(o), reinit(o), maintenance(o), upgrade(o), updates(o), doctorCommand(o))
	cmd.AddCommand(apply(o), diff(o), status(o), bootstrap(o), member(o), spec(o), adoption(o), cutover(o), monitors(o), follow(o), recopy(o), stopDatabase(o), dataDisk(o), checkpoint(o), followRoom(o), watch(o), archiveGet(), closeArchive(o), backups(o), restore(o), &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), version) },
	})
	sayWhatIsFinal(cmd)
	return cmd
}

// sayWhatIsFinal adds to the help of each command what of it cannot be taken back.
func sayWhatIsFinal(cmd *cobra.Command) {
	if final := safety.Help(cmd.CommandPath()); final != "" {
		cmd.Long = cmp.Or(cmd.Long, cmd.Short+".") + "\n" + final
	}
	for _, each := range cmd.Commands() {
		sayWhatIsFinal(each)
	}
}
