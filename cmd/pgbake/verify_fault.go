package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/lab"
	"github.com/pgbake/pgbake/verify"
)

// switchover is what is typed on a member: the same option names in Patroni 3 and 4.
func switchover(primary string) []string {
	return []string{"runuser", "-u", "postgres", "--", "patronictl", "-c", cluster.PatroniConfig, "switchover", "--leader", primary, "--force"}
}

// fault is how the primary is made to fail; nil when it is not to.
func (a *app) fault(f verifyFlags, l *lab.Lab) (verify.Fault, error) {
	hint := "\n      hint: " + a.self() + " verify --help"
	switch {
	case !f.failover && (f.hand || f.command != "" || f.interrupts):
		return nil, specError{errors.New("verify: --by-hand, --fault-command and --i-know-that-it-interrupts go with --failover" + hint)}
	case !f.failover:
		return nil, nil //nolint:nilnil // nothing is to fail
	case !f.interrupts:
		return nil, specError{errors.New("verify: the failover tests stop all writes for some seconds, with a crash for up to a minute\n      hint: --i-know-that-it-interrupts, when that is agreed upon")}
	case f.hand && f.command != "" || !f.hand && f.command == "" && !f.inLab:
		return nil, specError{errors.New("verify: say how the primary is to fail: one of --lab, --by-hand and --fault-command" + hint)}
	case f.hand:
		return a.faultByHand, nil
	case f.command != "":
		return func(ctx context.Context, do verify.Action, machine string) error {
			return a.runner().Run(ctx, run.Command(f.command, string(do), machine))
		}, nil
	}
	return func(ctx context.Context, do verify.Action, machine string) error {
		return a.faultInLab(ctx, l, do, machine)
	}, nil
}

func (a *app) faultInLab(ctx context.Context, l *lab.Lab, do verify.Action, machine string) error {
	switch do {
	case verify.Crash:
		return l.Inject(ctx, "power-cut", machine)
	case verify.Return:
		return l.Inject(ctx, "power-on", machine)
	}
	m, err := l.Machine(machine)
	if err != nil {
		return err
	}
	c, err := m.Command(switchover(machine)...)
	if err != nil {
		return err
	}
	return a.runner().Run(ctx, c)
}

// faultByHand says what to do. That it has happened is seen from outside.
func (a *app) faultByHand(_ context.Context, do verify.Action, machine string) error {
	what := map[verify.Action]string{
		verify.Switchover: "on " + machine + ", as root:  " + run.Line(switchover(machine)),
		verify.Crash:      "take the power of " + machine + ": at its hypervisor, or there, as root:  echo o >/proc/sysrq-trigger",
		verify.Return:     "switch " + machine + " on again",
	}[do]
	if what == "" {
		return fmt.Errorf("nobody knows how to %s %s", do, machine)
	}
	a.ui.Say("NOW  %s", what)
	return nil
}
