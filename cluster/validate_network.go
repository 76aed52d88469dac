package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
)

func networkUsable(k *checker) {
	n := k.Network
	switch a := n.Addr(); {
	case !n.IsValid():
	case a.Is6():
		k.say("network", "", "%s is IPv6: the cluster's own network must be IPv4", n)
	case a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast():
		k.say("network", "such as 192.168.1.0/24", "%s is no network that machines can stand in", n)
	case n.Bits() > 30:
		k.say("network", "", "%s has no room for a cluster", n)
	}
}

// inNetwork says why an address cannot be one of the cluster's network; "" when it can.
func (k *checker) inNetwork(a netip.Addr) string {
	n := k.Network
	switch {
	case !n.IsValid() || !a.IsValid() || n.Addr().Is6() || n.Bits() > 30:
		return "" // complained about already
	case a.Is6():
		return fmt.Sprintf("%s is IPv6, and the network %s is not", a, n)
	case !n.Contains(a):
		return fmt.Sprintf("%s is outside the network %s", a, n)
	case a == n.Addr():
		return fmt.Sprintf("%s is the network itself", a)
	case a == broadcast(n):
		return fmt.Sprintf("%s is the network's broadcast address", a)
	}
	return ""
}

// broadcast is an IPv4 network's last address.
func broadcast(n netip.Prefix) netip.Addr {
	b := n.Addr().As4()
	for i := n.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

func gatewayPlace(k *checker) {
	if why := k.inNetwork(k.Gateway); why != "" {
		k.say("gateway", "", "%s", why)
	}
}

func nameServers(k *checker) {
	for i, a := range k.NameServers {
		if nobody(a) {
			k.say(fmt.Sprintf("name_servers[%d]", i), "", "%s is nobody's address", a)
		}
	}
}

func nobody(a netip.Addr) bool { return a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() }

// ipv6Servers refuses servers that no machine reaches.
func ipv6Servers(k *checker) {
	const why = "%s is IPv6, and the machines have no IPv6 address"
	for i, a := range k.NameServers {
		if a.Is6() && !nobody(a) {
			k.say(fmt.Sprintf("name_servers[%d]", i), "the resolver's IPv4 address", why, a)
		}
	}
	for i, s := range k.TimeServers {
		if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
			// A zone may hold anything.
			k.say(fmt.Sprintf("time_servers[%d]", i), "the server's name, or its IPv4 address", why, a.WithZone(""))
		}
	}
}

// networksApart refuses networks inside others: nftables takes no overlapping ranges, and two lines that say
// the same only wait to say different things.
func networksApart(k *checker) {
	for _, list := range []struct {
		key  string
		nets []netip.Prefix
	}{{"client_networks", k.ClientNetworks}, {"admin_networks", k.AdminNetworks}} {
		if len(list.nets) > 1000 {
			k.say(list.key, "", "more than 1000 networks")
			continue
		}
		for i, n := range list.nets {
			path := fmt.Sprintf("%s[%d]", list.key, i)
			if n.Addr().Is6() && k.Network.Addr().Is4() {
				k.say(path, "", "%s is IPv6, and the network %s is not", n, k.Network)
			}
			for j, m := range list.nets[:i] {
				if n.IsValid() && n.Overlaps(m) {
					k.say(path, "keep the wider one", "%s overlaps %s[%d], %s", n, list.key, j, m)
					break
				}
			}
		}
	}
}

func nodeCount(k *checker) {
	switch n := len(k.Nodes); {
	case !k.given("nodes") || n == 1 || n == 3 || n == 5:
	case n == 0:
		k.say("nodes", "one, three or five", "a cluster without database machines")
	case n > 5:
		k.say("nodes", "five at most", "%d nodes: every write to etcd waits for more than half of them", n)
	default:
		k.say("nodes", fmt.Sprintf("%d or %d", n-1, n+1),
			"%d nodes: an even number of etcd members survives no more failures than one fewer", n)
	}
}

func proxyCount(k *checker) {
	if n := len(k.Proxies); n > 2 {
		k.say("proxies", "two at most", "%d proxies: a virtual address moves between two", n)
	}
}

func machineNames(k *checker) {
	first := map[string]string{}
	for _, m := range k.machines() {
		path := m.path + ".name"
		switch {
		case !k.given(path):
		case !hostSyntax.MatchString(m.Name) || strings.Trim(m.Name, "0123456789") == "":
			k.say(path, hostHint(m.Name), "%s is no host name", brief(m.Name))
		case m.Name == "localhost":
			k.say(path, "", "localhost is every machine's name for itself")
		case first[m.Name] != "":
			k.say(path, "", "%s is also the name of %s", m.Name, first[m.Name])
		default:
			first[m.Name] = m.path
		}
	}
}

func machineAddresses(k *checker) {
	first := map[netip.Addr]string{}
	if k.Gateway.IsValid() {
		first[k.Gateway] = "the gateway"
	}
	for _, m := range k.machines() {
		path := m.path + ".address"
		if !k.given(path) {
			continue
		}
		if why := k.inNetwork(m.Address); why != "" {
			k.say(path, "", "%s", why)
		} else if other := first[m.Address]; other != "" {
			k.say(path, "", "%s is also the address of %s", m.Address, other)
		} else {
			first[m.Address] = m.path
		}
	}
}

var macSyntax = regexp.MustCompile(`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`)

func hardwareAddresses(k *checker) {
	first := map[string]string{}
	for _, m := range k.machines() {
		path := m.path + ".mac"
		hw, err := net.ParseMAC(m.MAC)
		switch {
		case !k.given(path):
		case err != nil || len(hw) != 6:
			k.say(path, "such as 52:54:00:12:34:56", "%s is no hardware address", brief(m.MAC))
		case !macSyntax.MatchString(m.MAC):
			k.say(path, "write "+hw.String(), "%s is not in small letters with colons", brief(m.MAC))
		case hw[0]&1 == 1 || hw.String() == "00:00:00:00:00:00":
			k.say(path, "", "%s is no single card's address", m.MAC)
		case first[m.MAC] != "":
			k.say(path, "", "%s is also the hardware address of %s", m.MAC, first[m.MAC])
		default:
			first[m.MAC] = m.path
		}
	}
}

func virtualAddress(k *checker) {
	a := k.VirtualAddress
	if !a.IsValid() {
		return
	}
	if len(k.Proxies) != 2 && k.sound("proxies") {
		k.say("virtual_address", "add a second one under proxies, or take virtual_address out",
			"it moves between two proxies, and here are %d", len(k.Proxies))
	}
	if why := k.inNetwork(a); why != "" {
		k.say("virtual_address", "", "%s", why)
		return
	}
	if a == k.Gateway {
		k.say("virtual_address", "", "%s is also the address of the gateway", a)
	}
	for _, m := range k.machines() {
		if m.Address == a {
			k.say("virtual_address", "it needs an address of its own", "%s is also the address of %s", a, m.path)
		}
	}
}
