package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// program is one that the lab starts, and the Debian package that has it.
type program struct{ name, deb string }

var everyProgram = []program{
	{"ip", "iproute2"},
	{"nsenter", "util-linux"},
}

// What it needs besides, for machines of either kind.
var (
	containerPrograms = []program{
		{"systemd-nspawn", "systemd-container"},
		{"mmdebstrap", "mmdebstrap"},
		{"unshare", "util-linux"},
		{"apt-get", "apt"},
	}
	virtualPrograms = []program{
		{emulator, "qemu-system-x86"},
		{"qemu-img", "qemu-utils"},
	}
)

// Ready returns what the lab lacks on this host, with what to do about it.
func Ready() error {
	if os.Geteuid() != 0 {
		return errors.New("run the lab: it boots machines in network and mount namespaces, which needs root" +
			"\n      hint: run it with sudo; without root, `pgbake render` and `pgbake seed` show all that the machines would get")
	}
	return need(everyProgram)
}

func need(programs []program) error {
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
