package debs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/test/debian"
)

// machine is a clean Debian with no network but its loopback.
type machine struct{ *debian.Machine }

// newMachine returns a machine that is off.
func newMachine(t *testing.T, root string) *machine {
	t.Helper()
	disk := debian.Dir(t)
	m := &machine{debian.New(debian.Machine{
		T: t, Name: filepath.Base(disk), Root: root, Disk: disk,
		Flags: []string{"--hostname=machine", "--private-network"},
	})}
	// Not "starting": every unit of the boot has had its turn. A failed one is "degraded".
	m.Up = func() error {
		state, err := m.Try("systemctl", "is-system-running")
		if s := strings.TrimSpace(state); s != "running" && s != "degraded" {
			return fmt.Errorf("it is %q (%w)", s, err)
		}
		return nil
	}
	return m
}

// boot switches the machine on, as a first boot (an empty machine-id: systemd applies presets), and waits until it is up.
func (m *machine) boot() {
	m.T.Helper()
	if err := os.WriteFile(filepath.Join(m.Disk, "upper/etc/machine-id"), nil, 0o644); err != nil {
		m.T.Fatal(err)
	}
	m.Boot()
}

func (m *machine) until(what string, ok func() error) {
	m.T.Helper()
	m.Until(what, 3*time.Minute, ok)
}
