package verify

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/cluster"
)

func TestHAProxyAcceptsItsConfiguration(t *testing.T) {
	each(t, func(t *testing.T, r release) {
		s := r.sandbox(t)
		s.packaged("pgha-proxy", "/usr/lib/pgha/cut-sessions.lua")
		// A state of no server: 2.6 warns without a file, and both warn of servers that are down.
		s.run("root", "sh", "-c", "echo 1 >/var/lib/haproxy/server-state")
		for _, site := range examples(t) {
			for _, m := range site.of(cluster.Proxy) {
				s.write(site.files(t, m))
				// -dW: a warning is an error.
				s.run("root", "haproxy", "-dW", "-c", "-f", "/etc/haproxy/haproxy.cfg")
			}
		}
	})
}

func TestKeepalivedAcceptsItsConfiguration(t *testing.T) {
	each(t, func(t *testing.T, r release) {
		s := r.sandbox(t)
		s.packaged("pgha-proxy", "/usr/lib/pgha/haproxy-serves")
		tested := 0
		for _, site := range examples(t) {
			for _, m := range site.of(cluster.Proxy) {
				if !site.VirtualAddress.IsValid() {
					continue
				}
				s.write(site.files(t, m))
				// Its exit code says nothing: 2.2.7 ends -t of any configuration with a script by a SIGTERM to itself.
				check := func() string {
					out, _ := s.try("root", "keepalived", "-t", "-l", "-f", "/etc/keepalived/keepalived.conf")
					return strings.TrimSuffix(out, "Terminated\n")
				}
				if out := check(); out != "" {
					t.Errorf("%s: keepalived says\n%s", m.Name, out)
				}
				s.run("root", "sed", "-i", "s/priority/prioritee/", "/etc/keepalived/keepalived.conf")
				if out := check(); !strings.Contains(out, "prioritee") {
					t.Errorf("keepalived would not complain: %s", out)
				}
				tested++
			}
		}
		if tested == 0 {
			t.Error("no example has a virtual address")
		}
	})
}

func TestNftablesLoadsTheFirewall(t *testing.T) {
	each(t, func(t *testing.T, r release) {
		s := r.sandbox(t)
		for _, site := range examples(t) {
			for _, m := range site.Machines() {
				s.write(site.files(t, m))
				s.run("root", "nft", "-c", "-f", "/etc/pgha/firewall.nft")
				s.run("root", "nft", "-f", "/etc/pgha/firewall.nft")
				first := s.run("root", "nft", "list", "ruleset")
				s.run("root", "nft", "-f", "/etc/pgha/firewall.nft")
				if again := s.run("root", "nft", "list", "ruleset"); again != first {
					t.Errorf("%s: loading the firewall twice changes it\n%s", m.Name, again)
				}
			}
		}
	})
}

func TestChronyReadsItsConfiguration(t *testing.T) {
	each(t, func(t *testing.T, r release) {
		for _, site := range examples(t) {
			m := site.Machines()[0]
			s := r.sandbox(t, m.Address.String())
			s.write(site.files(t, m))
			// -x: leaves this machine's clock alone.
			d := s.start("root", "chronyd", "-x", "-d", "-f", "/etc/chrony/chrony.conf")
			s.await("chronyd's sources", func() error {
				out, err := s.try("root", "chronyc", "-N", "sources", "-a")
				for _, server := range site.TimeServers {
					if !strings.Contains(out, server) {
						return fmt.Errorf("no %s in\n%s", server, out)
					}
				}
				return err
			})
			// Its commands, for pgha's monitor, on the loopback alone; the time is nobody else's to ask for.
			for line := range strings.Lines(s.run("root", "ss", "-Hlun")) {
				if !strings.Contains(line, " 127.0.0.1:323 ") && !strings.Contains(line, " [::1]:323 ") {
					t.Errorf("%s: chronyd listens on\n%s", m.Name, line)
				}
			}
			if strings.Contains(d.log(), "Fatal") || strings.Contains(d.log(), "Could not parse") {
				t.Errorf("%s: %s", m.Name, d.log())
			}
		}
	})
}

func TestPatroniAcceptsItsConfiguration(t *testing.T) {
	each(t, func(t *testing.T, r release) {
		site := quickstart(t, r, 3)
		m := site.of(cluster.DB)[0]
		var addresses []string
		for _, n := range site.Nodes {
			addresses = append(addresses, n.Address.String())
		}
		s := r.sandbox(t, addresses...)
		site.Backup.Repository = cluster.Repository{Type: cluster.RepositoryPath, Path: "/srv/pgbackrest"}
		s.write(site.files(t, m))
		// The daemon honours quorum; the validator of 4.0.7 does not know the word.
		s.run("root", "sed", "-i", "s/synchronous_mode: quorum/synchronous_mode: true/", "/etc/patroni/config.yml")
		s.run("root", "install", "-d", "-o", "postgres", "-m", "0700", site.DataDir())
		// The validator wants to reach etcd.
		s.start("nobody", "socat", fmt.Sprintf("TCP-LISTEN:%d,fork", site.Ports.EtcdClient), "OPEN:/dev/null")
		s.await("no complaint of patroni --validate-config", func() error {
			// Its exit code only repeats whether it said something.
			out, _ := s.try("postgres", "patroni", "--validate-config", "/etc/patroni/config.yml")
			// 3.0.2's wants a section that is only read where postgresql.pg_hba is absent.
			out = strings.TrimPrefix(out, "bootstrap.pg_hba  is not defined.\n")
			if out != "" {
				return errors.New(out)
			}
			return nil
		})
	})
}
