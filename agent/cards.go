package agent

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/internal/run"
)

// anyCard are networkd's files of a seed without `mac`, as cloud-init makes them, netplan on Debian 12, and netplan on
// Debian 13. They match every Ethernet card, since they cannot count.
var anyCard = []string{"10-cloud-init-!lo.network", "10-netplan-!lo.network", "10-netplan-%21lo.network"}

// ignitionNetwork is the one file that Ignition's seed has, with `mac` or without.
const ignitionNetwork = "10-pgbake.network"

// oneCard refuses a machine with several cards when its seed does not say which one is meant: each of them has the
// machine's address. A machine that never was a member loses it on all of them, for none of them may be the one. A member
// keeps what it has until its owner says more.
func (w *work) oneCard(ctx context.Context) error {
	m := w.seed.Machine
	if w.Root != "/" || m.MAC != "" {
		return nil
	}
	cards := ethernetCards("/sys/class/net")
	if len(cards) < 2 {
		return nil
	}
	var meant []ethernetCard
	for _, c := range cards {
		// Without networkd something else has configured the machine, as its owner wants it.
		out, _ := w.Runner.Output(ctx, run.Command("networkctl", "--no-pager", "--lines=0", "status", c.name))
		if matchesAny(networkFile(out)) {
			meant = append(meant, c)
		}
	}
	if len(meant) < 2 {
		return nil
	}
	if !w.gateWasOpen {
		for _, c := range meant {
			if address := fmt.Sprintf("%s/%d", m.Address, w.seed.Cluster.Network.Bits()); has(c.name, m.Address) {
				if err := w.Runner.Run(ctx, run.Command("ip", "address", "delete", address, "dev", c.name)); err != nil {
					return err
				}
			}
		}
	}
	return ambiguous(m.Name, m.Address.String(), meant)
}

// ambiguous is a *SeedError that names the cards.
func ambiguous(machine, address string, cards []ethernetCard) error {
	var each []string
	for _, c := range cards {
		each = append(each, fmt.Sprintf("%s (%s)", c.name, c.mac))
	}
	return &SeedError{fmt.Errorf("this machine has several network cards, and %s does not say which one gets %s, the address of %s: %s\n"+
		"      hint: in cluster.yaml give %[3]s `mac`, the hardware address of the card that is meant, as it stands here; then `pgbake seed`, and boot this machine with the new seed",
		specFile, address, machine, strings.Join(each, ", "))}
}

// ethernetCard is a network card that a seed without `mac` may mean.
type ethernetCard struct{ name, mac string }

// ethernetCards are those below dir, /sys/class/net on a machine, in the order of their names. What somebody made here is
// none: a bridge, a tunnel, the end of a container's cable. Nor is what belongs to another card, as the port of a bond.
func ethernetCards(dir string) (cards []ethernetCard) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		at := func(name string) string { return filepath.Join(dir, e.Name(), name) }
		read := func(name string) string {
			body, _ := os.ReadFile(at(name))
			return strings.TrimSpace(string(body))
		}
		const ethernet = "1" // ARPHRD_ETHER
		if read("type") != ethernet || exists(at("master")) {
			continue
		}
		// A container's own card has no device, but another end outside.
		container := (e.Name() == "host0" || strings.HasPrefix(e.Name(), "eth")) && read("iflink") != read("ifindex") && !strings.Contains(read("uevent"), "DEVTYPE=")
		mac := read("address")
		same := func(c ethernetCard) bool { return c.mac == mac }
		if (exists(at("device")) || container) && !slices.ContainsFunc(cards, same) {
			cards = append(cards, ethernetCard{e.Name(), mac})
		}
	}
	return cards
}

// networkFile is the file that networkd has for a card, of what networkctl status says; empty when it has none.
func networkFile(status []byte) string {
	for line := range strings.Lines(string(status)) {
		if _, file, ok := strings.Cut(line, "Network File: "); ok {
			return strings.TrimSpace(file)
		}
	}
	return ""
}

// matchesAny tells whether networkd's file is that of a seed that names no card.
func matchesAny(file string) bool {
	if path.Base(file) == ignitionNetwork {
		body, _ := os.ReadFile(file)
		return strings.Contains(string(body), "\nType=ether\n")
	}
	return slices.Contains(anyCard, path.Base(file))
}
