package verify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
)

// listen takes connections on every port named; knock makes one from each address to each port, all at once, and
// prints those that came through.
const (
	listen = `
import socket, sys, time
for port in sys.argv[1:]:
    s = socket.create_server(("0.0.0.0", int(port)), backlog=64)
    globals()["s" + port] = s
print("listening", flush=True)
time.sleep(1000)
`
	knock = `
import socket, sys
from concurrent.futures import ThreadPoolExecutor
target, sources, ports = sys.argv[1], sys.argv[2].split(","), sys.argv[3].split(",")
def one(pair):
    try: socket.create_connection((target, int(pair[1])), timeout=2, source_address=(pair[0], 0)).close()
    except OSError: return False
    return True
pairs = [(s, p) for s in sources for p in ports]
for pair, ok in zip(pairs, ThreadPoolExecutor(len(pairs)).map(one, pairs)):
    if ok: print(*pair)
`
)

// TestFirewallLetsInOnlyWhoNeedsIt knocks from a second network namespace, under every kind of address.
func TestFirewallLetsInOnlyWhoNeedsIt(t *testing.T) {
	need(t)
	r := releases[1]
	var site *site
	for _, s := range examples(t) {
		if s.VirtualAddress.IsValid() {
			site = s
		}
	}
	member, proxy := site.of(cluster.DB)[1].Address.String(), site.of(cluster.Proxy)[1].Address.String()
	neighbour, client, admin, stranger := "10.30.0.99", "10.31.7.7", "10.99.0.9", "10.66.0.6"
	p := site.Ports
	ports := []int{p.Postgres, p.Patroni, p.EtcdClient, p.EtcdPeer, p.ReadWrite, p.ReadOnly, p.Stats, p.PGHA, p.Metrics, p.SSH, 111}
	for _, c := range []struct {
		machine cluster.Machine
		want    map[string][]int
	}{
		{site.of(cluster.DB)[0], map[string][]int{
			member:    {p.Postgres, p.Patroni, p.EtcdClient, p.EtcdPeer, p.PGHA},
			proxy:     {p.Postgres, p.Patroni, p.PGHA},
			neighbour: {p.Postgres, p.PGHA}, // the clients' networks hold the cluster's own
			client:    {p.Postgres},
			admin:     {p.SSH, p.Metrics},
		}},
		{site.of(cluster.Proxy)[0], map[string][]int{
			member:    {p.EtcdPeer, p.ReadWrite, p.ReadOnly, p.PGHA},
			proxy:     {p.ReadWrite, p.ReadOnly, p.PGHA},
			neighbour: {p.ReadWrite, p.ReadOnly, p.PGHA},
			client:    {p.ReadWrite, p.ReadOnly},
			admin:     {p.Stats, p.SSH, p.Metrics},
		}},
	} {
		t.Run(string(c.machine.Role), func(t *testing.T) {
			s := r.sandbox(t, c.machine.Address.String())
			s.write(site.files(t, c.machine))
			sources := []string{member, proxy, neighbour, client, admin, stranger}
			outside := s.outside(sources)

			listener := s.start("root", append([]string{"python3", "-c", listen}, words(ports)...)...)
			s.await("listener", func() error {
				if !strings.Contains(listener.log(), "listening") {
					return fmt.Errorf("not yet: %s", listener.log())
				}
				return nil
			})
			knocked := func() []string {
				out := s.run("root", append(outside, "python3", "-c", knock,
					c.machine.Address.String(), strings.Join(sources, ","), strings.Join(words(ports), ","))...)
				return slices.Sorted(strings.Lines(out))
			}
			s.await("without a firewall everything is open, else this test proves nothing", func() error {
				if open := knocked(); len(open) != len(sources)*len(ports) {
					return fmt.Errorf("only %s", open)
				}
				return nil
			})
			s.run("root", "nft", "-f", "/etc/pgha/firewall.nft")
			var want []string
			for source, open := range c.want {
				for _, port := range open {
					want = append(want, fmt.Sprintf("%s %d\n", source, port))
				}
			}
			slices.Sort(want)
			// A busy machine may take longer for a connection than knock waits, but makes none that the firewall forbids.
			s.await("open from where", func() error {
				got := knocked()
				for _, open := range got {
					if !slices.Contains(want, open) {
						t.Fatalf("open, and should not be: %s", open)
					}
				}
				if d := cmp.Diff(want, got); d != "" {
					return fmt.Errorf("(-want +got):\n%s", d)
				}
				return nil
			})
		})
	}
}

// TestFirewallKeepsUserDataFromOthers asks the metadata service as root and as another user.
func TestFirewallKeepsUserDataFromOthers(t *testing.T) {
	need(t)
	site := examples(t)[0]
	m := site.Machines()[0]
	s := releases[1].sandbox(t, m.Address.String(), "169.254.169.254")
	s.write(site.files(t, m))
	listener := s.start("root", "python3", "-c", listen, "80", "53")
	s.await("listener", func() error {
		if !strings.Contains(listener.log(), "listening") {
			return fmt.Errorf("not yet: %s", listener.log())
		}
		return nil
	})
	s.run("root", "nft", "-f", "/etc/pgha/firewall.nft")
	for user, want := range map[string]string{"root": "127.0.0.1 80\n127.0.0.1 53\n", "postgres": "127.0.0.1 53\n"} {
		s.await("what "+user+" reaches", func() error {
			out := s.run(user, "python3", "-c", knock, "169.254.169.254", "127.0.0.1", "80,53")
			for line := range strings.Lines(out) {
				if !strings.Contains(want, line) {
					t.Fatalf("%s reaches %q, want %q", user, out, want)
				}
			}
			if out != want {
				return fmt.Errorf("it reaches %q, want %q", out, want)
			}
			return nil
		})
	}
}

// outside makes a second network at the other end of the sandbox's wire, with all these addresses, and returns the words
// that run a program there.
func (s *sandbox) outside(addresses []string) []string {
	s.t.Helper()
	d := s.start("root", "unshare", "--net", "sh", "-c", "echo $$; exec sleep infinity")
	var pid string
	s.await("a second network", func() error {
		if pid = strings.TrimSpace(d.log()); pid == "" {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	in := []string{"nsenter", "--target", pid, "--net"}
	s.run("root", "ip", "link", "set", "wire", "netns", pid)
	s.run("root", append(in, "ip", "link", "set", "wire", "up")...)
	for _, a := range addresses {
		s.run("root", append(in, "ip", "address", "add", a+"/32", "dev", "wire")...)
	}
	s.run("root", append(in, "ip", "route", "add", "default", "dev", "wire")...)
	s.run("root", "ip", "route", "add", "default", "dev", "eth0")
	return in
}

func words(ports []int) []string {
	var w []string
	for _, p := range ports {
		w = append(w, fmt.Sprint(p))
	}
	return w
}
