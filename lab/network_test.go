package lab

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/cluster"
)

func TestHostAddress(t *testing.T) {
	nodes := []cluster.Node{{Name: "a", Address: netip.MustParseAddr("10.0.0.2")}}
	for name, tc := range map[string]struct {
		c    cluster.Cluster
		want string
	}{
		"the gateway":             {cluster.Cluster{Network: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1")}, "10.0.0.1/24"},
		"the last":                {cluster.Cluster{Network: netip.MustParsePrefix("10.0.0.0/24")}, "10.0.0.254/24"},
		"not the virtual address": {cluster.Cluster{Network: netip.MustParsePrefix("10.0.0.0/24"), VirtualAddress: netip.MustParseAddr("10.0.0.254")}, "10.0.0.253/24"},
		"a machine is the gateway": {
			cluster.Cluster{Network: netip.MustParsePrefix("10.0.0.0/23"), Gateway: netip.MustParseAddr("10.0.0.2")}, "10.0.1.254/23"},
		"the one that is left": {cluster.Cluster{Network: netip.MustParsePrefix("10.0.0.0/30")}, "10.0.0.1/30"},
		"none":                 {cluster.Cluster{Network: netip.MustParsePrefix("10.0.0.0/30"), VirtualAddress: netip.MustParseAddr("10.0.0.1")}, ""},
	} {
		tc.c.Nodes = nodes
		got, err := hostAddress(&tc.c)
		if tc.want == "" {
			if err == nil {
				t.Errorf("%s: got %s, want an error", name, got)
			}
			continue
		}
		if err != nil || got.String() != tc.want {
			t.Errorf("%s: got %s, %v; want %s", name, got, err, tc.want)
		}
	}
}

// systemd-nspawn takes machine names of up to 64 characters that could be host names.
func TestLabelsStayShortAndApart(t *testing.T) {
	hostname := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	seen := map[string]bool{}
	for _, m := range [][2]string{
		{"pgbake-main", "node1"}, {"pgbake-main", "node2"},
		{"pgbake-shop", "eu-db1"}, {"pgbake-shop-eu", "db1"},
		{"pgbake-my_app", "db1"}, {"pgbake-my.app", "db1"}, {"pgbake-my-app", "db1"}, {"pgbake-a..b", "db1"}, {"pgbake-a._.b", "db1"},
		{"pgbake-" + strings.Repeat("x", 60), "node1"}, {"pgbake-" + strings.Repeat("x", 60), "node2"},
		{"pgbake-" + strings.Repeat("x", 47), "node1"}, {"pgbake-" + strings.Repeat("x", 46), "a-" + strings.Repeat("y", 30)},
	} {
		l := label(m[0], m[1])
		if len(l) > 64 || !hostname.MatchString(l) || seen[l] {
			t.Errorf("%s of %s is called %q: too long, no host name, or taken", m[1], m[0], l)
		}
		seen[l] = true
	}
	if got := label("pgbake-main", "node1"); got != "pgbake-main.node1" {
		t.Errorf("got %q", got)
	}
}
