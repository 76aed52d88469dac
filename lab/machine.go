package lab

import (
	"context"
	"net"
	"net/netip"

	"github.com/pgbake/pgbake/internal/run"
)

// Machine is one machine of the lab. Its disk stays until the lab goes down, whatever happens to its power.
type Machine interface {
	// Start switches the power on and returns when the first process of the machine runs.
	Start(ctx context.Context) error
	// Alive tells whether the power is on.
	Alive() bool
	// Command is the command that runs args inside the machine, as root.
	Command(args ...string) (run.Cmd, error)
	// Stop asks the machine to shut down and returns when the power is off.
	Stop(ctx context.Context) error
	// Kill cuts the power: the peers hear nothing of it, not even the end of a connection.
	Kill(ctx context.Context) error
	// SetLink plugs the network cable in, or pulls it.
	SetLink(ctx context.Context, up bool) error
	// SetFrozen stops every process of the machine as a hung machine does, or lets them go on.
	SetFrozen(ctx context.Context, frozen bool) error
	// Console is the file that the machine's console writes into.
	Console() string

	// The machine is asked from its own inside, where no firewall stands and no cable can be pulled.

	// Dial connects to an address as the machine itself would, or to a socket among its files.
	Dial(ctx context.Context, network, addr string) (net.Conn, error)
	// ReadFile returns what a small file of the machine's holds.
	ReadFile(ctx context.Context, name string) ([]byte, error)
	// Addresses are those of its network cards.
	Addresses(ctx context.Context) ([]netip.Addr, error)
}
