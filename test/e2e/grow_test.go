package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Three members become five, and three again, while a client writes: nobody commands those that run.
func TestGrow(t *testing.T) {
	beside(t)
	l := up(t, quickstart(t, "grow", 13))
	three := l.text
	before := l.healthy(time.Minute)
	first := l.seed(three)
	processes := l.processes()
	stop, file := l.write()

	five := replaceOnce(t, three, "  - {name: db3, address: 10.20.0.13}\n",
		"  - {name: db3, address: 10.20.0.13}\n  - {name: db4, address: 10.20.0.14}\n  - {name: db5, address: 10.20.0.15}\n")
	second := l.seed(five)
	mend := l.blindMember(before)
	began := time.Now()
	l.pgbake("lab", "up")
	mend()
	l.eventually("pgha status on db1 to show five healthy members", time.Minute, func() bool {
		out, code := l.exec("db1", "pgha", "status", "--json")
		return code == 0 && strings.Count(out, `"state"`) == 5
	})
	l.Logf("five members healthy %.1f s after `pgbake lab up` for the two new machines", time.Since(began).Seconds())
	l.servers(5)
	l.sameProcesses(processes)
	if now := l.healthy(time.Minute); now.primary() != before.primary() {
		t.Errorf("the primary has moved from %s to %s", before.primary(), now.primary())
	}
	since := time.Now()
	l.eventually("rows since", 10*time.Second, func() bool { return l.account(file).after(since) > 10 })
	l.calm(l.account(file).Account)
	l.keptAll(l.account(file))

	t.Run("refused", func(t *testing.T) {
		l := l.on(t)
		l.refuses(first, "generation 1 is older than the one that db1 has, 2")
		l.refuses(tampered(t, second), "does not bear the signature of this cluster's operator")
		l.refusesRemoval("db5", "generation 2 of the specification lists it")
	})
	t.Run("stale user-data", func(t *testing.T) { l.on(t).stale(before.replicas()[0]) })
	l.sameProcesses(map[string]string{before.primary(): processes[before.primary()]})
	t.Run("shrink", func(t *testing.T) { l.on(t).shrink(three, before) })
	stop()
	l.keptAll(l.account(file))
	l.applyTwice(t)
}

// blindMember cuts etcd of db1 and of another member off from each other, until mend is called. The third leads, and is seen by
// both: etcd works, but whoever asks db1 to add a member is refused.
func (l *lab) blindMember(s status) (mend func()) {
	l.Helper()
	replicas := slices.DeleteFunc(s.replicas(), func(m string) bool { return m == "db1" })
	l.eventually("etcd to be led by "+replicas[0], 30*time.Second, func() bool { return l.moveEtcd(replicas[0]) })
	other := slices.DeleteFunc(slices.Clone(members), func(m string) bool { return m == "db1" || m == replicas[0] })[0]
	from, cut := l.addresses()[other], time.Now().Unix()
	l.sh("db1", "nft add table inet blind && nft add chain inet blind in '{ type filter hook input priority -10; }' && "+
		"nft add chain inet blind out '{ type filter hook output priority -10; }' && "+
		"for p in dport sport; do nft add rule inet blind in iifname != lo ip saddr "+from+" tcp $p 2380 drop && "+
		"nft add rule inet blind out ip daddr "+from+" tcp $p 2380 reject with tcp reset || exit 1; done")
	l.eventually("etcd of db1 to miss the other one", time.Minute, func() bool {
		_, code := l.exec("db1", "sh", "-c", fmt.Sprintf("journalctl -u etcd --since=@%d | grep -q 'peer became inactive'", cut))
		return code == 0
	})
	if out, code := l.etcdctl("db1", "etcdctl --endpoints=$own member add db4 --learner --peer-urls=https://10.20.0.14:2380"); code == 0 || !strings.Contains(out, "unhealthy cluster") {
		l.Fatalf("db1 does not refuse a member: %s", out)
	}
	l.Logf("etcd of db1 and of %s do not see each other", other)
	return func() { l.sh("db1", "nft delete table inet blind") }
}

// stale gives a machine a new disk and its first user-data, which knows of three members: it takes the newer specification
// before it asks for its place in the cluster.
func (l *lab) stale(victim string) {
	l.Helper()
	on := time.Now()
	l.newDisks(victim)
	l.powerOn(victim)
	l.healthy(2 * time.Minute)
	l.Logf("%s: whole again %.1f s after it was destroyed, with stale user-data", victim, time.Since(on).Seconds())
	said, _ := l.exec(victim, "journalctl", "-b", "-o", "cat", "-u", "pgha-follow", "-u", "pgha-apply")
	taken, added := strings.Index(said, "generation 2 is taken"), strings.Index(said, "add "+victim+" to etcd as a learner")
	if taken < 0 || added < taken {
		l.Errorf("%s has not taken the newer specification before it joined:\n%s", victim, said)
	}
	if out, _ := l.exec(victim, "grep", "-c", "10.20.0.15", "/etc/pgha/cluster.yaml", "/etc/pgha/firewall.nft"); strings.Contains(out, ":0") {
		l.Errorf("%s goes by the old specification: %s", victim, out)
	}
}

// seed makes the specification the operator's, and returns the generation that `pgbake seed` makes of it.
func (l *lab) seed(spec string) (generation []byte) {
	l.Helper()
	if err := os.WriteFile(l.spec, []byte(spec), 0o600); err != nil {
		l.Fatal(err)
	}
	dist := l.TempDir()
	l.pgbake("-o", dist, "seed")
	generation, err := os.ReadFile(filepath.Join(dist, "seeds", "generation.json"))
	if err != nil {
		l.Fatal(err)
	}
	return generation
}

// processes are those of etcd, Patroni and PostgreSQL on each of the first three members.
func (l *lab) processes() map[string]string {
	l.Helper()
	all := map[string]string{}
	for _, m := range members {
		pids, code := l.exec(m, "systemctl", "show", "--value", "-p", "MainPID", "etcd", "patroni")
		if code != 0 {
			l.Fatal(pids)
		}
		all[m] = pids + l.superuser(m, "SELECT pg_postmaster_start_time()")
	}
	return all
}

func (l *lab) sameProcesses(before map[string]string) {
	l.Helper()
	now := l.processes()
	for m, was := range before {
		if now[m] != was {
			l.Errorf("something was restarted on %s: %q, was %q", m, now[m], was)
		}
	}
}

// servers waits until HAProxy knows so many members.
func (l *lab) servers(n int) {
	l.Helper()
	l.eventually("HAProxy's servers", 30*time.Second, func() bool {
		out, _ := l.exec("proxy1", "sh", "-c", "echo show stat postgres_rw 4 -1 | socat - UNIX-CONNECT:/run/haproxy/admin.sock | grep -c ^postgres_rw,")
		return strings.TrimSpace(out) == string(rune('0'+n))
	})
}

// accept gives a generation to a machine by hand.
func (l *lab) accept(machine string, generation []byte) (string, int) {
	l.Helper()
	return l.exec(machine, "sh", "-c", "echo "+base64.StdEncoding.EncodeToString(generation)+" | base64 -d >/run/generation.json; pgha spec accept /run/generation.json 2>&1")
}

func (l *lab) refuses(generation []byte, want string) {
	l.Helper()
	const sums = "sha256sum /etc/pgha/*.* /etc/pgha/tls/* /var/lib/pgha/generation.json /etc/patroni/config.yml"
	before, _ := l.exec("db1", "sh", "-c", sums)
	if out, code := l.accept("db1", generation); code != 1 || !strings.Contains(out, want) {
		l.Errorf("exit code %d, want %q in\n%s", code, want, out)
	}
	if after, _ := l.exec("db1", "sh", "-c", sums); after != before {
		l.Errorf("something has changed:\n%s\nwas\n%s", after, before)
	}
}

func (l *lab) refusesRemoval(name, want string) {
	l.Helper()
	if out, code := l.exec("db1", "sh", "-c", "pgha member remove "+name+" 2>&1"); code != 1 || !strings.Contains(out, want) {
		l.Errorf("pgha member remove %s: exit code %d, want %q in\n%s", name, code, want, out)
	}
}

// tampered is a generation with a higher number and the old signature.
func tampered(t *testing.T, generation []byte) []byte {
	t.Helper()
	var g map[string]any
	if err := json.Unmarshal(generation, &g); err != nil {
		t.Fatal(err)
	}
	statement, err := base64.StdEncoding.DecodeString(g["statement"].(string))
	if err != nil {
		t.Fatal(err)
	}
	g["statement"] = base64.StdEncoding.EncodeToString([]byte(replaceOnce(t, string(statement), `"number":2`, `"number":9`)))
	body, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// counted prints who confirms commits, as Patroni has it in etcd.
const counted = `
import base64, json, socket, ssl, sys, urllib.request
tls = ssl.create_default_context(cafile="/etc/patroni/tls/ca.crt")
tls.load_cert_chain("/etc/patroni/tls/etcd-client.crt", "/etc/patroni/tls/etcd-client.key")
ask = json.dumps({"key": base64.b64encode(sys.argv[1].encode()).decode()}).encode()
url = "https://%s:2379/v3/kv/range" % socket.gethostbyname(socket.gethostname())
print(base64.b64decode(json.load(urllib.request.urlopen(url, ask, context=tls))["kvs"][0]["value"]).decode())
`

// shrink takes db4 and db5 out again.
func (l *lab) shrink(three string, before status) {
	l.Helper()
	all := *l // sees all five, as the specification before did
	all.spec = filepath.Join(filepath.Dir(l.spec), "five.yaml")
	body, err := os.ReadFile(l.spec)
	if err == nil {
		err = os.WriteFile(all.spec, body, 0o600)
	}
	if err != nil {
		l.Fatal(err)
	}
	out, code := l.accept(before.primary(), l.seed(three))
	if code != 0 || !strings.Contains(out, "next: pgha member remove db4") {
		l.Fatalf("pgha spec accept: exit code %d\n%s", code, out)
	}
	l.eventually("everybody to have the third generation", time.Minute, func() bool {
		return !slices.ContainsFunc(l.machines, func(m string) bool {
			out, _ := l.exec(m, "pgha", "status", "--json")
			var s struct{ Generation int }
			return json.Unmarshal([]byte(out), &s) != nil || s.Generation != 3
		})
	})
	// An apply that still runs would start an etcd again that is stopped below. It is ready after a while of waiting, too:
	// only one that has ended waits for nothing.
	for _, m := range members {
		l.eventually(m+" to have applied it", time.Minute, func() bool {
			_, code := l.exec(m, "sh", "-c", `! grep -q db4 /etc/pgha/cluster.yaml && test "$(systemctl show --value -p SubState pgha-apply)" = exited`)
			return code == 0
		})
	}

	// Two of five etcd members at once: an election of etcd's, which the primary may take for worse than it is, and lead anew.
	off := before.replicas()
	l.onAll(off, "systemctl", "stop", "etcd")
	l.eventually("a quorum of the three that are left", 30*time.Second, func() bool {
		out, _ := l.exec(before.primary(), "sh", "-c", "pgha member remove db4 2>&1")
		return strings.Contains(out, "of the 4 voters that would be left 3 must be healthy, and 2 are: no answer from")
	})
	l.onAll(off, "systemctl", "start", "etcd")
	l.healthy(2 * time.Minute)
	processes := l.processes()

	for _, name := range []string{"db4", "db5"} {
		l.eventually(name+" to be removed", 30*time.Second, func() bool {
			out, code := l.exec(before.primary(), "sh", "-c", "pgha member remove "+name+" 2>&1")
			return code == 0 && strings.Contains(out, name)
		})
		out, _ := l.exec(before.primary(), "python3", "-c", counted, "/service/"+l.scope+"/sync")
		if !strings.Contains(out, "sync_standby") || strings.Contains(out, name) {
			l.Errorf("a failover still needs %s: %s", name, out)
		}
	}
	l.oneCluster()
	l.servers(3)
	l.sameProcesses(map[string]string{before.primary(): processes[before.primary()]})
	for _, name := range []string{"db4", "db5"} {
		l.eventually(name+" to end its services", time.Minute, func() bool {
			out, _ := all.exec(name, "systemctl", "is-active", "etcd", "patroni")
			return strings.Count(out, "inactive") == 2
		})
		for _, data := range []string{"var/lib/etcd/pgha/member/wal", "var/lib/postgresql/17/main/PG_VERSION"} {
			if _, err := os.Stat(l.disk(name, data)); err != nil {
				l.Errorf("%s has lost its data: %v", name, err)
			}
		}
		l.eventually(name+" to say so", 10*time.Second, func() bool {
			out, _ := all.exec(name, "pgha", "status")
			return strings.Contains(out, name+" was removed from cluster "+l.scope)
		})
	}
	// Its next boot starts nothing.
	all.pgbake("lab", "fault", "power-cut", "db5")
	all.pgbake("lab", "fault", "power-on", "db5")
	l.eventually("db5 to say why it starts nothing", time.Minute, func() bool {
		out, _ := all.exec("db5", "sh", "-c", "journalctl -b -u pgha-apply -o cat; systemctl is-active etcd patroni")
		return strings.Contains(out, "db5 was removed from cluster "+l.scope) && strings.Count(out, "inactive") == 2
	})
	l.healthy(time.Minute)
}
