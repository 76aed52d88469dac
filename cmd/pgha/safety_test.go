package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/agent/safety"
)

// changeNothing are the commands that change no cluster, and those that only what follows from them does.
var changeNothing = []string{
	"pgha", "pgha adopt", "pgha apply", "pgha archive-close", "pgha archive-get", "pgha backup list", "pgha checkpoint", "pgha data-disk", "pgha diff", "pgha doctor", "pgha follow", "pgha follow-room", "pgha stop-database", "pgha maintenance", "pgha maintenance off",
	"pgha member", "pgha monitor", "pgha recopy", "pgha spec", "pgha spec accept", "pgha status", "pgha updates", "pgha version", "pgha watch",
}

// Every command that changes a cluster says in its help what cannot be taken back, and every operation's command is one.
func TestCommandsSayWhatIsFinal(t *testing.T) {
	all := map[string]bool{}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		all[c.CommandPath()] = true
		has := strings.Contains(c.Long, "What cannot be taken back: ")
		if has == slices.Contains(changeNothing, c.CommandPath()) {
			t.Errorf("%s: it says what is final: %t", c.CommandPath(), has)
		}
		for _, each := range c.Commands() {
			walk(each)
		}
	}
	walk(root())
	for _, o := range safety.Operations {
		if name := strings.TrimSuffix(o.Command, " --yes"); name != "" && !all[name] {
			t.Errorf("there is no command %s", name)
		}
	}
}
