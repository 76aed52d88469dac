package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// faultTime is how long one fault may take to happen: a shutdown of a database that QEMU translates is the longest.
const faultTime = 2 * time.Minute

// Fault is something that goes wrong with a machine, or is put right.
type Fault struct {
	Name string
	// Does says what it does, in a few words.
	Does   string
	inject func(m Machine, ctx context.Context) error
}

// Faults are all of them.
var Faults = []Fault{
	{"power-cut", "the power is gone at once; the disk stays", Machine.Kill},
	{"power-on", "the machine boots again from its disk", Machine.Start},
	{"disk-lost", "a machine that is off gets a new disk: its image and its seed are all it has", loseDisk},
	{"shutdown", "the machine shuts down in order", Machine.Stop},
	{"link-cut", "the network cable is pulled", func(m Machine, ctx context.Context) error { return m.SetLink(ctx, false) }},
	{"link-restore", "the network cable is back", func(m Machine, ctx context.Context) error { return m.SetLink(ctx, true) }},
	{"freeze", "nothing on the machine runs any more", func(m Machine, ctx context.Context) error { return m.SetFrozen(ctx, true) }},
	{"thaw", "a frozen machine goes on", func(m Machine, ctx context.Context) error { return m.SetFrozen(ctx, false) }},
}

// Inject makes the fault called name happen to a machine.
func (l *Lab) Inject(ctx context.Context, name, machine string) error {
	m, err := l.Machine(machine)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(Faults, func(f Fault) bool { return f.Name == name })
	if i < 0 {
		names := make([]string, len(Faults))
		for i, f := range Faults {
			names[i] = f.Name
		}
		return fmt.Errorf("find fault %s: there are %s", name, strings.Join(names, ", "))
	}
	if err := l.needNetwork(); err != nil {
		return err
	}
	ctx, cancel := limit(ctx, faultTime)
	defer cancel()
	return Faults[i].inject(m, ctx)
}

// Signals are the faults of a program on a machine, which Signal makes happen.
var Signals = []struct{ Name, Does, signal string }{
	{"kill", "every process of that name is killed, by SIGKILL", "KILL"},
	{"stop", "every process of that name hangs, by SIGSTOP", "STOP"},
	{"cont", "a program that hangs goes on, by SIGCONT", "CONT"},
}

// IsSignal tells that a fault wants a program's name.
func IsSignal(fault string) bool { return signalOf(fault) != "" }

func signalOf(fault string) string {
	for _, s := range Signals {
		if s.Name == fault {
			return s.signal
		}
	}
	return ""
}

// Signal sends a fault's signal to every process of a machine that has the name: "postgres", "patroni", "etcd".
func (l *Lab) Signal(ctx context.Context, fault, machine, process string) error {
	m, err := l.Machine(machine)
	if err != nil {
		return err
	}
	c, err := m.Command("pkill", "--signal", signalOf(fault), "--exact", process)
	if err != nil {
		return err
	}
	return l.host.Run.Run(ctx, c)
}
