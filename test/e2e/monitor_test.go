package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// hook is a webhook on a machine's own loopback that keeps what it gets.
const hook = `
import http.server
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/run/heard.webhook", "ab") as f: f.write(body)
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass # the path is a secret
http.server.HTTPServer(("127.0.0.1", 9999), Hook).serve_forever()
`

// notice is what receivers get.
type notice struct {
	ID, Event, Key string
	SentBy         string `json:"sent_by"`
}

// The monitor sees what is wrong, and tells each alert once, whichever machine tells it; status says the same on any machine.
func TestMonitor(t *testing.T) {
	beside(t)
	const token = "T0000000/hunter2hunter2"
	l := open(t, `scope: watched
network: 10.61.0.0/24
nodes:
  - {name: db1, address: 10.61.0.11}
  - {name: db2, address: 10.61.0.12}
  - {name: db3, address: 10.61.0.13}
proxies:
  - {name: proxy1, address: 10.61.0.21}
postgres:
  databases: [{name: app, owner: app}]
  users: [{name: app}]
alerts:
  webhook: secret
  command: [/bin/sh, -c, "cat >>/run/pgha/heard.command"]
`)
	secrets := filepath.Join(filepath.Dir(l.spec), "secrets", "secrets.yaml")
	body, err := os.ReadFile(secrets)
	if err == nil {
		err = os.WriteFile(secrets, append(body, "webhook: http://127.0.0.1:9999/"+token+"\n"...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.pgbake("lab", "up")
	s := l.healthy(time.Minute)

	// Looks every five seconds, and somebody who listens.
	l.onAll(l.machines, "sh", "-c", "cat >/run/hook.py <<'END'\n"+hook+"END\n"+
		"systemd-run --quiet --unit=hook -p Restart=always python3 /run/hook.py\n"+
		"mkdir -p /run/systemd/system/pgha-monitor.service.d\n"+
		"printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/pgha watch --every 5s\\n' >/run/systemd/system/pgha-monitor.service.d/test.conf\n"+
		"systemctl daemon-reload && systemctl restart pgha-monitor")

	t.Run("status", func(t *testing.T) { l.on(t).statusEverywhere(s.primary()) })
	t.Run("test alert", func(t *testing.T) {
		l := l.on(t)
		l.eventually("both receivers to take a test", 20*time.Second, func() bool {
			out, code := l.exec("proxy1", "pgha", "monitor", "--test-alert")
			return code == 0 && strings.Contains(out, "webhook  took it (json)") && strings.Contains(out, "command  took it (/bin/sh)")
		})
	})
	t.Run("each alert once", func(t *testing.T) { l.on(t).alertsOnce(s.replicas()[1]) })
	t.Run("metrics", func(t *testing.T) {
		l := l.on(t)
		l.healthy(time.Minute)
		// From another machine, through the firewall, and the certificate is the proxy's.
		const ask = `import ssl, urllib.request
print(urllib.request.urlopen("https://10.61.0.21:8010/metrics", context=ssl.create_default_context(cafile="/etc/pgha/tls/ca.crt"), timeout=10).read().decode())`
		wanted := []string{`pgha_postgres_primary{machine="` + s.primary() + `"} 1`, `pgha_etcd_healthy{machine="db3"} 1`, `pgha_proxy_servers{machine="proxy1",port="read_write"} 1`, "pgha_slot_retained_bytes{", "pgha_sends_alerts 1",
			`pgha_transaction_id_age{machine="` + s.primary() + `",id="transaction",database="`, `pgha_oldest_xmin_age{machine="` + s.primary() + `"}`, `pgha_prepared_transactions{machine="` + s.primary() + `"} 0`}
		l.eventually("all that Prometheus wants", 30*time.Second, func() bool {
			out, _ := l.exec("db1", "python3", "-c", ask)
			i := slices.IndexFunc(wanted, func(want string) bool { return !strings.Contains(out, want) })
			if i >= 0 {
				t.Logf("no %s in\n%s", wanted[i], out)
			}
			return i < 0
		})
	})
	t.Run("cost", func(t *testing.T) {
		for _, machine := range l.machines {
			out, _ := l.on(t).exec(machine, "cat", "/run/pgha/report.json")
			var r struct {
				Run int
				CPU float64 `json:"cpu_seconds"`
			}
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %.1f ms of CPU a look, over %d looks", machine, 1000*r.CPU, r.Run)
			if r.Run < 1 {
				t.Errorf("%s has looked %d times", machine, r.Run)
			}
		}
	})
	t.Run("the token is nowhere", func(t *testing.T) {
		for _, machine := range l.machines {
			if out, _ := l.on(t).exec(machine, "sh", "-c", "journalctl --no-pager | grep -c hunter2; grep -rls hunter2 /run/pgha /var/lib/pgha /etc/pgha || :"); out != "0\n/etc/pgha/secrets.yaml\n" {
				t.Errorf("%s: %s", machine, out)
			}
		}
	})
}

// statusEverywhere: a member and a proxy say the same, down to who leads etcd and where the proxy leads.
func (l *lab) statusEverywhere(primary string) {
	for _, machine := range []string{primary, "proxy1"} {
		var s struct {
			EtcdLeader string `json:"etcd_leader"`
			Confirm    []string
			Members    []struct {
				Name, Role string
				LagBytes   *int64   `json:"lag_bytes"`
				LagSeconds *float64 `json:"lag_seconds"`
				Disks      []struct{ Total, Free int64 }
			}
			Proxies []struct {
				ReadWrite []string `json:"read_write"`
				ReadOnly  []string `json:"read_only"`
			}
		}
		// The second replica counts, and is read from, some seconds after the first.
		l.eventually("a whole status on "+machine, 30*time.Second, func() bool {
			out, code := l.exec(machine, "sh", "-c", "pgha status --json 2>/dev/null")
			whole := code == 0 && json.Unmarshal([]byte(out), &s) == nil && len(s.Members) == 3 && len(s.Members[0].Disks) > 0 &&
				s.EtcdLeader != "" && len(s.Confirm) == 2 && len(s.Proxies) == 1 && slices.Equal(s.Proxies[0].ReadWrite, []string{primary}) && len(s.Proxies[0].ReadOnly) == 2
			if !whole {
				l.Logf("seen from %s: exit code %d\n%s", machine, code, out)
			}
			return whole
		})
		for _, m := range s.Members {
			if known := m.LagBytes != nil && m.LagSeconds != nil; known != (m.Name != primary) || m.Disks[0].Total < m.Disks[0].Free || m.Disks[0].Free <= 0 {
				l.Errorf("seen from %s: %+v", machine, m)
			}
		}
		l.eventually("the same in words on "+machine, 30*time.Second, func() bool {
			text, code := l.exec(machine, "pgha", "status")
			for _, want := range []string{"etcd: 3 of 3 healthy, led by db", "writes: confirmed by ", "certificates: the first to end is ", "warning: backup: there is none"} {
				if code != 0 || !strings.Contains(text, want) {
					l.Logf("pgha status on %s: exit code %d, no %q in\n%s", machine, code, want, text)
					return false
				}
			}
			return true
		})
	}
}

// alertsOnce cuts a replica's power while the webhook is down, lets another machine take over from the one that tells, and
// lets all come back.
func (l *lab) alertsOnce(replica string) {
	l.exec("proxy1", "systemctl", "stop", "hook")
	l.pgbake("lab", "fault", "power-cut", replica)
	alive := slices.DeleteFunc(slices.Clone(l.machines), func(m string) bool { return m == replica })
	silent, stands := "silent/"+replica, "monitor/proxy1"
	l.hears(alive, "command", "fired "+silent)
	if out, code := l.exec("proxy1", "pgha", "status"); code != 3 || !strings.Contains(out, replica+" (") || !strings.Contains(out, "does not answer at all") {
		l.Errorf("pgha status without %s: exit code %d\n%s", replica, code, out)
	}
	if n := l.heard([]string{"proxy1"}, "webhook"); strings.Contains(fmt.Sprint(n), silent) {
		l.Errorf("a webhook that is down has heard %v", n)
	}
	l.exec("proxy1", "sh", "-c", "systemctl reset-failed hook; systemd-run --quiet --unit=hook -p Restart=always python3 /run/hook.py")
	l.hears(alive, "webhook", "fired "+silent)

	l.exec("proxy1", "systemctl", "stop", "pgha-monitor")
	l.hears(alive, "webhook", "fired "+stands)
	l.exec("proxy1", "systemctl", "start", "pgha-monitor")
	l.hears(alive, "webhook", "resolved "+stands)
	l.pgbake("lab", "fault", "power-on", replica)
	l.hears(alive, "webhook", "resolved "+silent)
	l.hears(alive, "command", "resolved "+silent)

	for _, receiver := range []string{"webhook", "command"} {
		times, sent := map[string]int{}, map[string]string{}
		for _, n := range l.heard(alive, receiver) {
			times[n.Event+" "+n.Key]++
			if by, twice := sent[n.ID]; twice {
				l.Errorf("%s heard %s twice, from %s and %s", receiver, n.ID, by, n.SentBy)
			}
			sent[n.ID] = n.SentBy
		}
		for _, what := range []string{"fired " + silent, "resolved " + silent, "fired " + stands, "resolved " + stands} {
			if times[what] != 1 {
				l.Errorf("%s heard %q %d times, want once: %v", receiver, what, times[what], times)
			}
		}
	}
}

// hears waits until a receiver has heard something, on whichever machine.
func (l *lab) hears(machines []string, receiver, what string) {
	l.Helper()
	l.eventually(receiver+" to hear "+what, time.Minute, func() bool {
		return slices.ContainsFunc(l.heard(machines, receiver), func(n notice) bool { return n.Event+" "+n.Key == what })
	})
}

// heard is all that a receiver has heard, over all machines.
func (l *lab) heard(machines []string, receiver string) (all []notice) {
	l.Helper()
	for _, machine := range machines {
		out, _ := l.exec(machine, "sh", "-c", "cat /run/heard."+receiver+" /run/pgha/heard."+receiver+" 2>/dev/null; true")
		for dec := json.NewDecoder(strings.NewReader(out)); dec.More(); {
			var n notice
			if err := dec.Decode(&n); err != nil {
				break // it is being written
			}
			all = append(all, n)
		}
	}
	return all
}
