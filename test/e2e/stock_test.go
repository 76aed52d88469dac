package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestStock gives the same user-data to plain Debian 12 machines with cloud-init and without pgbake's packages, which
// they install from a repository that pgbake made. It comes up later than they do.
func TestStock(t *testing.T) {
	beside(t)
	dir := t.TempDir()
	if _, talk, err := pgbakeIn(t.Context(), dir, "package", "--arch", runtime.GOARCH, "--repository", "apt"); err != nil {
		t.Fatalf("%v\n%s", err, talk)
	}
	key, err := os.ReadFile(filepath.Join(dir, "apt", "pgbake.asc"))
	if err != nil {
		t.Fatal(err)
	}
	// This host stands at the gateway's place.
	l := open(t, fmt.Sprintf(`scope: stock
debian: 12
network: 10.20.1.0/24
gateway: 10.20.1.1
nodes:
  - {name: db1, address: 10.20.1.11}
proxies:
  - {name: proxy1, address: 10.20.1.21}
postgres:
  databases:
    - {name: app, owner: app}
  users:
    - name: app
packages:
  url: http://10.20.1.1:%s
  key: |
    %s
`, repositoryPort, strings.ReplaceAll(strings.TrimSpace(string(key)), "\n", "\n    ")))
	serveInside(t, l.scope, filepath.Join(dir, "apt"))
	l.pgbake("lab", "up", "--stock")
	l.healthy(10 * time.Second)

	packages := map[string]string{"db1": "pgha-node", "proxy1": "pgha-proxy"}
	t.Run("installed", func(t *testing.T) {
		l := l.on(t)
		for machine, name := range packages {
			l.cloudInitDone(machine)
			if out := l.sh(machine, "dpkg-query -W -f '${db:Status-Status} ' pgha-common "+name); out != "installed installed" {
				t.Errorf("%s: pgha-common and %s are %q", machine, name, out)
			}
			out := l.sh(machine, "cat /var/log/cloud-init-output.log")
			if n := strings.Count(out, "Unable to locate package "+name); n != 1 {
				t.Errorf("%s: the repository was out of reach %d times, want once:\n%s", machine, n, out)
			}
			if strings.Contains(out, "left alone") {
				t.Errorf("%s: something was here before our package:\n%s", machine, out)
			}
			if out := l.sh(machine, "systemctl --failed --plain --no-legend"); out != "" {
				t.Errorf("%s: failed units:\n%s", machine, out)
			}
		}
		// Debian's packages start their services when they are installed: none of them was let.
		if out := l.sh("db1", "ls -d /etc/postgresql/*/* /var/lib/etcd/* 2>/dev/null || :"); out != "/var/lib/etcd/pgha" {
			t.Errorf("a cluster or etcd data beside the seed's: %s", out)
		}
		if got := l.sql("SELECT current_user, pg_is_in_recovery()"); got != "app|f" {
			t.Errorf("through the read-write port: %s", got)
		}
	})
	t.Run("secrets", func(t *testing.T) {
		l := l.on(t)
		for machine := range packages {
			out := l.sh(machine, `find /etc/pgha -name '*.key' -printf '%m %U:%G\n' -o -name secrets.yaml -printf '%m %U:%G\n'; stat -c '%a %u:%g' /etc/pgha/secrets.yaml`)
			for mode := range strings.Lines(out) {
				if strings.TrimSpace(mode) != "600 0:0" {
					t.Errorf("%s: secrets have the modes\n%s", machine, out)
					break
				}
			}
		}
	})
	t.Run("no upgrade by itself", func(t *testing.T) {
		l := l.on(t)
		for machine := range packages {
			out := l.sh(machine, "apt-config dump; cat /etc/needrestart/conf.d/*.conf")
			for _, want := range []string{
				`Unattended-Upgrade::Package-Blacklist:: "^patroni";`, `Unattended-Upgrade::Package-Blacklist:: "^postgresql";`,
				`Unattended-Upgrade::Package-Blacklist:: "^etcd";`, `Unattended-Upgrade::Package-Blacklist:: "^haproxy";`,
				`Unattended-Upgrade::Automatic-Reboot "false";`, "$nrconf{override_rc}{qr(^(patroni|postgresql|etcd|haproxy|",
			} {
				if !strings.Contains(out, want) {
					t.Errorf("%s: its configuration has no %s:\n%s", machine, want, out)
				}
			}
			for _, unit := range []string{"apt-daily.service", "apt-daily-upgrade.service"} {
				if got := l.sh(machine, "systemctl start "+unit+"; systemctl show --value -p ConditionResult "+unit); got != "no" {
					t.Errorf("%s: %s runs (its condition: %s)", machine, unit, got)
				}
			}
		}
	})
	t.Run("no secret leaks", l.noLeak)
	t.Run("apply twice", l.applyTwice)
	t.Run("second boot", func(t *testing.T) {
		l := l.on(t)
		for _, fault := range []string{"power-cut", "power-on"} {
			for machine := range packages {
				l.pgbake("lab", "fault", fault, machine)
			}
		}
		l.healthy(time.Minute)
		for machine := range packages {
			l.cloudInitDone(machine)
			if out := l.sh(machine, "journalctl -b --no-pager --grep 'ordering cycle|apt-get' || :"); !strings.Contains(out, "No entries") {
				t.Errorf("%s: %s", machine, out)
			}
		}
		l.applyTwice(t)
	})
	t.Run("two cards", l.twoCards)
}

// twoCards: a proxy whose seed names no card gets another one. Which is meant nobody knows: it is refused, with both of them,
// and goes on when there is one again. What somebody makes on the machine gets nothing.
func (l *lab) twoCards(t *testing.T) {
	l = l.on(t)
	const victim = "proxy1"
	l.sh(victim, `cd /etc/systemd/network
		sed 's/^Name=host0$/Name=!lo/' 10-cloud-init-host0.network >'10-cloud-init-!lo.network'
		grep -qx 'Name=!lo' '10-cloud-init-!lo.network'
		rm 10-cloud-init-host0.network
		ip link add eth7 type veth peer name far7
		ip link add docker0 type bridge
		for card in eth7 far7 docker0; do ip link set $card up; done
		networkctl reload`)
	state := func(card string) string {
		out, _ := l.exec(victim, "networkctl", "--no-pager", "--no-legend", "list", card) // seen when it is there
		return out
	}
	l.eventually("networkd has looked at every card", time.Minute, func() bool {
		return strings.Contains(state("eth7"), " configured") && strings.Contains(state("host0"), " configured") &&
			strings.Contains(state("far7"), " unmanaged") && strings.Contains(state("docker0"), " unmanaged")
	})
	mac := func(card string) string {
		return card + " (" + l.sh(victim, "cat /sys/class/net/"+card+"/address") + ")"
	}
	out, code := l.exec(victim, "sh", "-c", "pgha apply 2>&1")
	if code != 2 || !strings.Contains(out, mac("eth7")+", "+mac("host0")) || !strings.Contains(out, "hint: in cluster.yaml give proxy1 `mac`") {
		t.Errorf("exit code %d: %s", code, out)
	}
	holders := func() string { return l.sh(victim, "ip -4 -oneline address show to 10.20.1.21") }
	if got := holders(); strings.Count(got, "10.20.1.21/24") != 2 {
		t.Errorf("a member was given or has lost an address:\n%s", got)
	}
	// One that never was a member answers on neither.
	l.sh(victim, "mv /var/lib/pgha/configured /root/")
	if out, code := l.exec(victim, "sh", "-c", "pgha apply 2>&1"); code != 2 {
		t.Errorf("exit code %d: %s", code, out)
	}
	if got := holders(); got != "" {
		t.Errorf("it has kept its address:\n%s", got)
	}
	l.sh(victim, `mv /root/configured /var/lib/pgha/
		ip link delete eth7
		ip link delete docker0
		networkctl reconfigure host0`)
	l.applyTwice(t)
}

// sh runs a script on a machine, which must succeed.
func (l *lab) sh(machine, script string) string {
	l.Helper()
	out, code := l.exec(machine, "sh", "-c", script)
	if code != 0 {
		l.Fatalf("%s: %s: exit code %d\n%s", machine, script, code, out)
	}
	return strings.TrimSpace(out)
}

// cloudInitDone waits for cloud-init's end, and that it is a good one.
func (l *lab) cloudInitDone(machine string) {
	l.Helper()
	var result struct{ V1 struct{ Errors []string } }
	out := l.sh(machine, "cloud-init status --wait >/dev/null; cat /run/cloud-init/result.json")
	if err := json.Unmarshal([]byte(out), &result); err != nil || len(result.V1.Errors) > 0 {
		l.Errorf("%s: cloud-init ends with %v: %s", machine, err, out)
	}
	if out := l.sh(machine, "cloud-init status"); out != "status: done" {
		l.Errorf("%s: cloud-init says %q", machine, out)
	}
}

const repositoryPort = "8080"

// serveInside serves a directory in the network of a lab from the moment on when there is one, until the test ends.
func serveInside(t *testing.T, scope, dir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var server sync.WaitGroup
	server.Go(func() {
		for t.Context().Err() == nil {
			cmd := exec.CommandContext(t.Context(), "nsenter", "--net=/run/netns/pgbake-"+scope, "--", self)
			cmd.Env = append(os.Environ(), "PGBAKE_SERVE="+dir)
			_ = cmd.Run() // there is no network yet, or the lab has just ended it with all that was in it
			select {
			case <-t.Context().Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	t.Cleanup(server.Wait)
}

// serve is a web server that is made ready late: whoever comes finds nothing for three seconds. (From one that does
// not answer apt itself would ask again.)
func serve(dir string) error {
	var lock sync.Mutex
	opens := map[string]time.Time{}
	files := http.FileServer(http.Dir(dir))
	server := http.Server{Addr: ":" + repositoryPort, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _, _ := net.SplitHostPort(r.RemoteAddr)
		lock.Lock()
		at, ok := opens[client]
		if !ok {
			at = time.Now().Add(3 * time.Second)
			opens[client] = at
		}
		lock.Unlock()
		if time.Now().Before(at) {
			http.NotFound(w, r)
			return
		}
		files.ServeHTTP(w, r)
	})}
	return server.ListenAndServe()
}
