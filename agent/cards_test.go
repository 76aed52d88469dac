package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// netDir is a /sys/class/net of cards, each with its files.
func netDir(t *testing.T, cards map[string]map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, files := range cards {
		put(t, dir, name+"/uevent", "INTERFACE="+name+"\n"+files["uevent"])
		for file, body := range files {
			if file != "uevent" {
				put(t, dir, name+"/"+file, body+"\n")
			}
		}
	}
	return dir
}

// What a seed without `mac` may mean, and what it never does.
func TestEthernetCards(t *testing.T) {
	type m = map[string]string
	for name, c := range map[string]struct {
		cards map[string]m
		want  []ethernetCard
	}{
		"one card, and what was made beside it": {
			map[string]m{
				"lo":      {"type": "772", "address": "00:00:00:00:00:00", "iflink": "1", "ifindex": "1"},
				"ens3":    {"type": "1", "address": "52:54:00:00:00:01", "device": "", "iflink": "2", "ifindex": "2"},
				"docker0": {"type": "1", "address": "02:42:00:00:00:01", "uevent": "DEVTYPE=bridge", "iflink": "3", "ifindex": "3"},
				"veth9ab": {"type": "1", "address": "02:42:00:00:00:02", "iflink": "5", "ifindex": "4"},
				"ens3.7":  {"type": "1", "address": "52:54:00:00:00:09", "uevent": "DEVTYPE=vlan", "iflink": "2", "ifindex": "6"},
				"eth0.5":  {"type": "1", "address": "52:54:00:00:00:08", "uevent": "DEVTYPE=vlan", "iflink": "2", "ifindex": "8"},
				"wg0":     {"type": "65534", "iflink": "7", "ifindex": "7"},
			},
			[]ethernetCard{{"ens3", "52:54:00:00:00:01"}},
		},
		"two cards": {
			map[string]m{
				"enp1s0": {"type": "1", "address": "52:54:00:00:00:02", "device": ""},
				"eno1":   {"type": "1", "address": "52:54:00:00:00:01", "device": ""},
			},
			[]ethernetCard{{"eno1", "52:54:00:00:00:01"}, {"enp1s0", "52:54:00:00:00:02"}},
		},
		"a card twice, as Azure shows it": {
			map[string]m{
				"eth0":    {"type": "1", "address": "00:0d:3a:00:00:01", "device": ""},
				"enP1s1":  {"type": "1", "address": "00:0d:3a:00:00:01", "device": "", "master": ""},
				"enP2s1":  {"type": "1", "address": "00:0d:3a:00:00:01", "device": ""},
				"enslave": {"type": "1", "address": "00:0d:3a:00:00:07", "device": "", "master": ""},
			},
			[]ethernetCard{{"enP2s1", "00:0d:3a:00:00:01"}},
		},
		"a container": {
			map[string]m{
				"host0": {"type": "1", "address": "52:54:00:00:00:01", "iflink": "9", "ifindex": "2"},
				"eth7":  {"type": "1", "address": "52:54:00:00:00:02", "iflink": "11", "ifindex": "3"},
				"dummy": {"type": "1", "address": "52:54:00:00:00:03", "iflink": "4", "ifindex": "4"},
			},
			[]ethernetCard{{"eth7", "52:54:00:00:00:02"}, {"host0", "52:54:00:00:00:01"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, ethernetCards(netDir(t, c.cards)), cmp.AllowUnexported(ethernetCard{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// networkctl's words are the same on Debian 12 and 13 (252 and 257), but for the drop-ins below the file.
func TestNetworkFile(t *testing.T) {
	ignition := filepath.Join(t.TempDir(), ignitionNetwork)
	if err := os.WriteFile(ignition, []byte("[Match]\nName=en* eth* host0\nType=ether\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{
		"/etc/systemd/network/10-cloud-init-!lo.network":  true,
		"/run/systemd/network/10-netplan-!lo.network":     true,
		"/run/systemd/network/10-netplan-%21lo.network":   true,
		"/run/systemd/network/10-netplan-cluster.network": false,
		"/etc/systemd/network/10-cloud-init-ens3.network": false,
		"/etc/systemd/network/05-storage.network":         false,
		ignition: true,
		filepath.Join(filepath.Dir(ignition), "n.network"): false,
	} {
		status := "● 2: ens3\n                     Link File: /usr/lib/systemd/network/99-default.link\n                  Network File: " + file +
			"\n                                └─/usr/lib/systemd/network/x.network.d/50-pgha.conf\n                         Type: ether\n"
		if got := networkFile([]byte(status)); got != file || matchesAny(got) != want {
			t.Errorf("%s is read as %q, any card: %t", file, got, matchesAny(got))
		}
	}
	if got := networkFile([]byte("● 2: ens3\n Network File: n/a\n")); matchesAny(got) {
		t.Errorf("no file is read as %q", got)
	}
}

// Both cards are named, so that their owner can choose on the console.
func TestAmbiguous(t *testing.T) {
	err := ambiguous("db1", "10.0.0.11", []ethernetCard{{"ens3", "52:54:00:00:00:01"}, {"ens4", "52:54:00:00:00:02"}})
	var seed *SeedError
	if !errors.As(err, &seed) {
		t.Errorf("%T: the agent would try again every ten seconds", err)
	}
	for _, want := range []string{"10.0.0.11, the address of db1", "ens3 (52:54:00:00:00:01), ens4 (52:54:00:00:00:02)", "hint: in cluster.yaml give db1 `mac`"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
}
