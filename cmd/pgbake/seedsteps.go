package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/cluster"
)

// seedNews is what a seed says that the one before did not, for who has machines that run.
type seedNews struct {
	// changes are the keys of cluster.yaml, members and proxies the secrets that machines of that role do not have yet.
	changes          []cluster.Change
	members, proxies []string
	// certificates tells that machines, certificates or authorities are new, which travel.
	certificates bool
}

// ignited tells that the seeds are for Ignition alone, which a machine reads once.
func ignited(forms []string) bool { return !slices.Contains(forms, "cloud-init") }

// say says what each change takes until it is in effect.
func (n seedNews) say(say func(format string, args ...any), forms []string) {
	for _, c := range n.changes {
		effect := string(c.Effect)
		if c.Effect == cluster.NewSeed && ignited(forms) {
			effect = "a machine made anew from its new seed"
		}
		if c.Why != "" {
			effect += ": " + c.Why
		}
		say("%s: %s", c.Path, effect)
	}
	if names := n.secrets(); len(names) > 0 {
		say("secrets %s: they do not travel by `pgha spec accept`", strings.Join(names, ", "))
	}
}

func (n seedNews) secrets() []string {
	all := slices.Concat(n.members, n.proxies)
	slices.Sort(all)
	return slices.Compact(all)
}

// has tells whether a change has one of the effects.
func (n seedNews) has(effects ...cluster.Effect) bool {
	return slices.ContainsFunc(n.changes, func(c cluster.Change) bool { return slices.Contains(effects, c.Effect) })
}

// next are the steps, in their order, on machines that run.
func (n seedNews) next(forms []string) (steps []string) {
	if who := n.who(); who != "" {
		step := "give %s new user-data and reboot it, one machine at a time, the primary last"
		if ignited(forms) {
			step = "make %s anew from its new seed, one machine at a time, the primary last"
		}
		step = fmt.Sprintf(step, who)
		if len(n.secrets()) > 0 && !n.has(cluster.NewSeed) {
			step += "; or bring /etc/pgha/secrets.yaml of its seed there, owned by root with mode 0600, and run: pgha apply"
		}
		steps = append(steps, step)
	}
	if n.certificates || n.has(cluster.Travels, cluster.Restarts) || len(n.changes) == 0 && n.who() == "" {
		steps = append(steps, "boot machines that are new from their seeds; or, on any one machine that runs: pgha spec accept generation.json")
	}
	if n.has(cluster.Restarts) {
		steps = append(steps, "on any one member: pgha restart")
	}
	if n.has(cluster.NewMachine) {
		steps = append(steps, "replace the machines one at a time, the primary last: boot an image of today with the new seed in the place of each, and wait until pgha status is healthy")
	}
	return steps
}

// who are the machines that need new user-data; empty when none does.
func (n seedNews) who() string {
	switch {
	case n.has(cluster.NewSeed) || len(n.members) > 0 && len(n.proxies) > 0:
		return "each machine"
	case len(n.members) > 0:
		return "each member"
	case len(n.proxies) > 0:
		return "each proxy"
	}
	return ""
}
