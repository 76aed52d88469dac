package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// programs the lab starts, and the Debian packages that have them.
var programs = []struct{ name, deb string }{
	{"systemd-nspawn", "systemd-container"},
	{"mmdebstrap", "mmdebstrap"},
	{"ip", "iproute2"},
	{"nsenter", "util-linux"},
	{"unshare", "util-linux"},
	{"apt-get", "apt"},
}

// Ready returns what the lab lacks on this host, with what to do about it.
func Ready() error {
	if os.Geteuid() != 0 {
		return errors.New("run the lab: it boots machines in network and mount namespaces, which needs root" +
			"\n      hint: run it with sudo; without root, `pgbake render` and `pgbake seed` show all that the machines would get")
	}
	var missing, debs []string
	for _, p := range programs {
		if _, err := exec.LookPath(p.name); err != nil {
			missing, debs = append(missing, p.name), append(debs, p.deb)
		}
	}
	if len(missing) > 0 {
		slices.Sort(debs)
		return fmt.Errorf("run the lab: not found: %s\n      hint: apt-get install %s",
			strings.Join(missing, ", "), strings.Join(slices.Compact(debs), " "))
	}
	return nil
}
