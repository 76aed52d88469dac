package cluster

import (
	"fmt"
	"net/netip"
	"strings"
)

// Programs as root calls them on a member, up to their own arguments: what runbooks, alerts and hints tell people to type.

// Patronictl is patronictl with the machine's own configuration.
const Patronictl = "patronictl -c " + PatroniConfig

// Psql is psql as the superuser, on the machine's own socket. It is told the port where that is not the one that it takes by
// itself.
func (p Ports) Psql() string { return p.client("psql") }

// Vacuumdb is vacuumdb in the same way.
func (p Ports) Vacuumdb() string { return p.client("vacuumdb") }

func (p Ports) client(program string) string {
	line := "runuser -u postgres -- " + program
	if p.Postgres == PostgresPort {
		return line
	}
	return fmt.Sprintf("%s -p %d", line, p.Postgres)
}

// Etcdctl is etcdctl for etcd's members at some addresses, the machine's own one where none is named. The machine's own
// certificate opens each of them.
func (p Ports) Etcdctl(members ...netip.Addr) string {
	if len(members) == 0 {
		members = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, "https://"+netip.AddrPortFrom(m, uint16(p.EtcdClient)).String()) //nolint:gosec // validated 1..65535
	}
	return "etcdctl --endpoints=" + strings.Join(endpoints, ",") +
		" --cacert=" + PatroniTLS + "/ca.crt --cert=" + PatroniTLS + "/etcd-client.crt --key=" + PatroniTLS + "/etcd-client.key"
}
