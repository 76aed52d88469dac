package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
)

// lookedUp is a host that the machines connect to.
type lookedUp struct{ path, host string }

// lookedUp lists the hosts outside the cluster that the specification names, by name or by address.
func (c *Cluster) lookedUp() []lookedUp {
	var all []lookedUp
	for i, s := range c.TimeServers {
		all = append(all, lookedUp{fmt.Sprintf("time_servers[%d]", i), s})
	}
	relay, _, _ := net.SplitHostPort(c.Alerts.Relay)
	r := c.Backup.Repository
	return append(
		all,
		lookedUp{"adopt.remote.host", c.Adopt.Remote.Host},
		lookedUp{"backup.repository.endpoint", r.Endpoint},
		lookedUp{"backup.repository.host", r.Host},
		lookedUp{"alerts.webhook", hostOf(c.Alerts.Webhook)},
		lookedUp{"alerts.relay", relay},
		lookedUp{"packages.url", hostOf(c.Packages.URL)},
		lookedUp{"postgres.mirror.url", hostOf(c.Postgres.Mirror.URL)},
	)
}

// reachable tells whether the machines reach a host, as far as names and addresses go, and else why not. That is advice: a machine
// may have a resolver, or an IPv6 address, from elsewhere: from a cloud that took the seed's user-data alone, or because it ran
// before pgbake came.
func (c *Cluster) reachable(host string) (hint, why string, ok bool) {
	a, err := netip.ParseAddr(host)
	switch {
	case err == nil && a.Is6() && !a.IsLoopback():
		return "its name, or its IPv4 address", "its address is IPv6, and the machines get no IPv6 address", false
	case err == nil, host == "", host == "localhost", len(c.NameServers) > 0:
		return "", "", true
	case slices.ContainsFunc(c.Machines(), func(m Machine) bool { return m.Name == host }):
		return "", "", true // /etc/hosts has it
	}
	return "name_servers: [the address of a resolver], or the host's address here",
		"its host is a name, and without name_servers the machines find no name's address", false
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// Advice is what hardly anybody wants of the secrets as the specification uses them; name stands in it as their file's. It repeats
// no secret.
func (s Secrets) Advice(name string, c *Cluster) []Problem {
	hint, why, ok := c.reachable(hostOf(s.Webhook))
	if ok || c.Alerts.Webhook != SecretWebhook {
		return nil
	}
	return []Problem{{File: name, Path: "webhook", Message: why, Hint: hint}}
}
