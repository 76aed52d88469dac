package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// network is a network namespace with one bridge, which the machines' cables end in. It has no way out.
type network struct {
	run  run.Runner
	name string
}

const bridge = "br0"

// file stands for the namespace: where iproute2 keeps the ones with a name.
func (n network) file() string { return filepath.Join("/run/netns", n.name) }

func (n network) exists() bool {
	_, err := os.Stat(n.file())
	return err == nil
}

// up makes the network, with an address of the host's in it, and the cables that end in taps.
func (n network) up(ctx context.Context, host netip.Prefix, taps ...string) error {
	if err := n.run.Run(ctx, run.Command("ip", "netns", "add", n.name)); err != nil {
		return err
	}
	// Without spanning tree and snooping a port forwards from its first moment on.
	lines := []string{
		"link set lo up",
		"link add " + bridge + " type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
		fmt.Sprintf("address add %s dev %s", host, bridge),
		"link set " + bridge + " up",
	}
	for _, tap := range taps {
		lines = append(lines, "tuntap add "+tap+" mode tap", fmt.Sprintf("link set %s master %s up", tap, bridge))
	}
	return n.ip(ctx, lines...)
}

// down removes the network; it may be gone already.
func (n network) down(ctx context.Context) error {
	if !n.exists() {
		return nil
	}
	err := n.run.Run(ctx, run.Command("ip", "netns", "delete", n.name))
	if err != nil {
		// "ip netns add" that was killed between its two steps leaves a plain file.
		if rm := os.Remove(n.file()); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			return errors.Join(err, rm)
		}
	}
	return nil
}

// inside is the command that runs args on the host's side of the network. Not "ip netns exec", which hides the cgroups.
func (n network) inside(args ...string) []string {
	return append([]string{"nsenter", "--net=" + n.file(), "--"}, args...)
}

// ip runs iproute2 commands in the network, all by one process.
func (n network) ip(ctx context.Context, lines ...string) error {
	c := run.Command("ip", "-netns", n.name, "-batch", "-")
	c.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	return n.run.Run(ctx, c)
}

// hostAddress is where the host stands in the cluster's network: at the gateway's place, since the machines
// answer strangers through it, else on the last address that no machine has.
func hostAddress(c *cluster.Cluster) (netip.Prefix, error) {
	taken := map[netip.Addr]bool{c.VirtualAddress: true}
	for _, m := range c.Machines() {
		taken[m.Address] = true
	}
	if c.Gateway.IsValid() && !taken[c.Gateway] {
		return netip.PrefixFrom(c.Gateway, c.Network.Bits()), nil
	}
	// The last address of an IPv4 network is for broadcasts.
	for a := lastAddress(c.Network).Prev(); c.Network.Contains(a) && a != c.Network.Masked().Addr(); a = a.Prev() {
		if !taken[a] {
			return netip.PrefixFrom(a, c.Network.Bits()), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("find an address for this host: network %s has no free one", c.Network)
}

func lastAddress(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
