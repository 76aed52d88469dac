package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pgbake/pgbake/internal/run"
)

// Where the host runs systemd, each machine is a scope unit of its own below machine.slice.

const machineSlice = "machine.slice"

// hostSystemd tells whether this host's first process is systemd, which then owns the cgroups: sd_booted(3).
func hostSystemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// inScope is the command that runs args in a scope with a cgroup that is handed over to it.
func inScope(label string, args ...string) []string {
	return append([]string{
		"systemd-run", "--quiet", "--scope", "--collect", "--slice=" + machineSlice, "--unit=" + label,
		"--description=pgbake lab machine " + label, "--property=Delegate=yes",
		// Else a host that shuts down waits 90 seconds: a SIGTERM only makes the machine's systemd start anew.
		"--property=KillSignal=SIGKILL", "--",
	}, args...)
}

// scopesGone waits until the host's systemd has forgotten the scopes of the machines. It does so only after the
// last process of each has ended, which a dying PostgreSQL draws out, and takes no unit of the same name before.
func scopesGone(ctx context.Context, r run.Runner, labels ...string) error {
	if !hostSystemd() || len(labels) == 0 {
		return nil
	}
	ask := run.Command("systemctl", "list-units", "--all", "--full", "--plain", "--no-legend", "--no-pager")
	for _, l := range labels {
		ask.Args = append(ask.Args, l+".scope")
	}
	return until(ctx, "wait for the machines' scopes to end", func() error {
		for _, l := range labels {
			for _, root := range cgroupRoots {
				dir := filepath.Join(root, machineSlice, l+".scope")
				if _, err := os.Stat(dir); err == nil {
					return fmt.Errorf("%s is still there", dir)
				}
			}
		}
		out, err := r.Output(ctx, ask)
		if err != nil {
			return err
		}
		if units := strings.Fields(string(out)); len(units) > 0 {
			return fmt.Errorf("systemd still has %s", units[0])
		}
		return nil
	})
}
