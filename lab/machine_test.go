package lab

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/ui"
)

func TestTry(t *testing.T) {
	c := &cluster.Cluster{
		Scope: "try", Debian: 12, Network: netip.MustParsePrefix("192.168.184.0/24"),
		Nodes: []cluster.Node{
			{Name: "node1", Address: netip.MustParseAddr("192.168.184.151")}, {Name: "node2", Address: netip.MustParseAddr("192.168.184.152")},
			{Name: "node3", Address: netip.MustParseAddr("192.168.184.153")}},
		Proxies:  []cluster.Node{{Name: "proxy1", Address: netip.MustParseAddr("192.168.184.129")}},
		Postgres: cluster.Postgres{Version: 15, Source: "debian"},
	}
	h := NewHost(run.System{Trace: os.Stderr}, ui.New(os.Stderr, ui.Verbose))
	l, err := Open(c, h)
	if err != nil {
		t.Fatal(err)
	}
	load := Load{Seeds: map[string]string{}}
	for _, m := range c.Machines() {
		d := t.TempDir()
		for n, b := range map[string]string{
			"user-data":      "#cloud-config\nlocale: C.UTF-8\nssh_genkeytypes: [ed25519]\n",
			"meta-data":      "instance-id: i-" + m.Name + "\nlocal-hostname: " + m.Name + "\n",
			"network-config": "version: 2\nethernets:\n  host0:\n    addresses: [" + m.Address.String() + "/24]\n"} {
			os.WriteFile(filepath.Join(d, n), []byte(b), 0o600)
		}
		load.Seeds[m.Name] = d
	}
	if os.Getenv("DOWN") != "" {
		if err := l.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		return
	}
	if _, err := l.Up(t.Context(), load); err != nil {
		t.Fatal(err)
	}
	m, _ := l.Machine("node1")
	c2, err := m.Command("cat", "/proc/1/comm")
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.Run.Output(t.Context(), c2)
	t.Log(strings.TrimSpace(string(out)), err, bytes.Count(out, []byte("x")))
}
