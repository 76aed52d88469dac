package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Machine is a Node with what it is for.
type Machine struct {
	Node
	Role Role
}

// Machines returns every machine: the database members in their order, then the proxies.
func (c *Cluster) Machines() []Machine {
	all := make([]Machine, 0, len(c.Nodes)+len(c.Proxies))
	for _, n := range c.Nodes {
		all = append(all, Machine{n, DB})
	}
	for _, n := range c.Proxies {
		all = append(all, Machine{n, Proxy})
	}
	return all
}

// Machine returns the machine called name; false when the specification has none.
func (c *Cluster) Machine(name string) (Machine, bool) {
	all := c.Machines()
	i := slices.IndexFunc(all, func(m Machine) bool { return m.Name == name })
	if i < 0 {
		return Machine{}, false
	}
	return all[i], true
}

// Codename returns the release's name in archives.
func (r Release) Codename() string {
	switch r {
	case 12:
		return "bookworm"
	case 13:
		return "trixie"
	}
	return "debian" + strconv.Itoa(int(r))
}

// Patroni4 tells whether the cluster's Patroni is 4.0 or later: everywhere but in Debian 12's own archive (3.0.2).
func (c *Cluster) Patroni4() bool { return c.Postgres.Source == SourcePGDG || c.Debian >= 13 }

// DataDir is PostgreSQL's data directory, where Debian's tools expect it.
func (c *Cluster) DataDir() string {
	return fmt.Sprintf("%s/%d/main", DatabaseHome, c.Postgres.Version)
}

// BinDir is where Debian's packages put PostgreSQL's programs.
func (c *Cluster) BinDir() string {
	return fmt.Sprintf("/usr/lib/postgresql/%d/bin", c.Postgres.Version)
}

// Entries are where applications connect to write: the virtual address, else each proxy. Without proxies it is each
// member, of which one at a time takes writes: target_session_attrs=read-write finds it.
func (c *Cluster) Entries() []netip.AddrPort {
	at := func(port int, addrs ...netip.Addr) (all []netip.AddrPort) {
		for _, a := range addrs {
			all = append(all, netip.AddrPortFrom(a, uint16(port))) //nolint:gosec // validated 1..65535
		}
		return all
	}
	addresses := func(nodes []Node) (all []netip.Addr) {
		for _, n := range nodes {
			all = append(all, n.Address)
		}
		return all
	}
	switch {
	case c.VirtualAddress.IsValid():
		return at(c.Ports.ReadWrite, c.VirtualAddress)
	case len(c.Proxies) > 0:
		return at(c.Ports.ReadWrite, addresses(c.Proxies)...)
	}
	return at(c.Ports.Postgres, addresses(c.Nodes)...)
}

// EtcdInitialCluster is etcd's list of the declared members, "name=https://address:port,…".
func (c *Cluster) EtcdInitialCluster() string {
	return c.join(func(n Node) string { return fmt.Sprintf("%s=https://%s:%d", n.Name, n.Address, c.Ports.EtcdPeer) })
}

// EtcdHosts is the list of etcd's client endpoints, "address:port,…".
func (c *Cluster) EtcdHosts() string {
	return c.join(func(n Node) string { return netip.AddrPortFrom(n.Address, uint16(c.Ports.EtcdClient)).String() }) //nolint:gosec // validated 1..65535
}

func (c *Cluster) join(f func(Node) string) string {
	parts := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		parts[i] = f(n)
	}
	return strings.Join(parts, ",")
}

// SynchronousMode is Patroni's synchronous_mode: "quorum" needs Patroni 4, a lone member has nobody to wait for.
func (c *Cluster) SynchronousMode() string {
	switch {
	case c.Replication.Mode == Async || len(c.Nodes) == 1:
		return "false"
	case c.Replication.Mode == Quorum && c.Patroni4():
		return "quorum"
	}
	return "true"
}

// SynchronousNodes is Patroni's synchronous_node_count: how many replicas have a write before it is acknowledged.
// As many as machines may be lost: with one of four, no replica that is left after the loss of the primary and another
// could know that it has every acknowledged write, and none would be promoted.
func (c *Cluster) SynchronousNodes() int { return max(1, (len(c.Nodes)-1)/2) }

// Timers are the values that one word, failover, drives together. Seconds unless the field says otherwise.
type Timers struct {
	TTL, LoopWait, RetryTimeout int
	Inter, FastInter, DownInter string // HAProxy's durations
	Fall, Rise                  int
	Heartbeat, Election         int // etcd's, milliseconds
}

// Timers returns the values for the chosen speed of failover.
//
// Patroni refuses loop_wait + 2*retry_timeout > ttl since 3.2, and a ttl below 20. An election of etcd must be over well
// before retry_timeout is; that of "safe" leaves room for a longer one, and for TLS handshakes on machines that are slow:
// etcd gives up on a connection a second after an election's time.
func (c *Cluster) Timers() Timers {
	switch c.Failover {
	case Fast:
		return Timers{20, 3, 5, "1s", "250ms", "500ms", 2, 1, 200, 2000}
	case Safe:
		return Timers{60, 10, 20, "3s", "1s", "2s", 3, 2, 500, 5000}
	default:
		return Timers{30, 5, 10, "2s", "500ms", "1s", 3, 2, 200, 2000}
	}
}

// EtcdQuota is how large etcd's database may become, in bytes; then etcd takes no writes any more (NOSPACE).
func (c *Cluster) EtcdQuota() int64 { return EtcdQuota }

// EtcdQuota is the same for every cluster.
const EtcdQuota int64 = 2 << 30

// PostgresSuite is the suite that PostgreSQL comes from, in Debian's archive, PGDG's or the mirror of either.
func (c *Cluster) PostgresSuite() string {
	if c.Postgres.Source == SourcePGDG {
		return c.Debian.Codename() + "-pgdg"
	}
	return c.Debian.Codename()
}

// PackagesFor returns the Debian packages that a machine of the role needs beside pgbake's own.
func (c *Cluster) PackagesFor(r Role) []string {
	if r == Proxy {
		return []string{"haproxy", "keepalived", "socat"}
	}
	packages := []string{
		fmt.Sprintf("postgresql-%d", c.Postgres.Version), fmt.Sprintf("postgresql-client-%d", c.Postgres.Version),
		"patroni", "python3-etcd", "etcd-server", "etcd-client",
	}
	if c.Backup.Repository.Named() {
		packages = append(packages, "pgbackrest")
	}
	return packages
}
