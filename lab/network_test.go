package lab

import (
	"net/netip"
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

// systemd-nspawn takes machine names of up to 64 characters.
func TestLabelsStayShortAndApart(t *testing.T) {
	long := strings.Repeat("x", 60)
	a, b := label("pgbake-"+long, "node1"), label("pgbake-"+long, "node2")
	if len(a) > 64 || len(b) > 64 || a == b {
		t.Errorf("labels %q and %q are too long or the same", a, b)
	}
	if got := label("pgbake-main", "node1"); got != "pgbake-main-node1" {
		t.Errorf("got %q", got)
	}
}
