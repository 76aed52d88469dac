package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// refusals are connections that must fail, each for its own reason.
func (l *lab) refusals(t *testing.T, app application) {
	l = l.on(t)
	password := "PGPASSWORD=" + l.password(app.user)
	first := l.member(1)
	address := l.addresses()[first]
	proxy, member := "host="+l.entry()+" port=5000", "host="+address+" port=5432"
	for _, tt := range []struct{ name, conn, want string }{
		{"superuser through the proxy", proxy + " user=postgres dbname=postgres sslmode=require", "pg_hba.conf rejects"},
		{"superuser at the member", member + " user=postgres dbname=postgres sslmode=require", "pg_hba.conf rejects"},
		{"plain text", proxy + " sslmode=disable user=" + app.user + " dbname=" + app.database, "no encryption"},
	} {
		out, err := l.inside([]string{password}, "psql", "-XAtc", "SELECT 1", tt.conn)
		if err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %v, want %q in\n%s", tt.name, err, tt.want, out)
		}
	}
	// D13, D14: nobody without a certificate reads etcd, nobody without a password changes Patroni's configuration.
	// The firewall keeps this host from both, so a machine of the cluster tries.
	const ask = "import ssl, sys, urllib.request as u\n" +
		"r = u.Request(sys.argv[2], method=sys.argv[1], data=b'{\"ttl\": 40}' if sys.argv[1] == 'PATCH' else None)\n" +
		"print(u.urlopen(r, context=ssl._create_unverified_context(), timeout=5).status)"
	if out, code := l.exec(first, "python3", "-c", ask, "GET", "https://"+address+":2379/version"); code == 0 || !strings.Contains(out, "certificate required") && !strings.Contains(out, "bad certificate") {
		t.Errorf("etcd without a certificate: exit code %d\n%s", code, out)
	}
	if out, code := l.exec(first, "python3", "-c", ask, "PATCH", "https://"+address+":8008/config"); code == 0 || !strings.Contains(out, "401") {
		t.Errorf("PATCH /config without a password: exit code %d, want a 401 in\n%s", code, out)
	}
}

// firewall: this host stands in the client networks, so PostgreSQL and the proxy answer it, and nothing else does.
func (l *lab) firewall(t *testing.T) {
	l = l.on(t)
	reaches := func(address string, port int) bool {
		_, err := l.inside(nil, "timeout", "2", "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", address, port))
		return err == nil
	}
	member := l.addresses()[l.member(1)]
	for port, open := range map[int]bool{5432: true, 2379: false, 2380: false, 8008: false} {
		if got := reaches(member, port); got != open {
			t.Errorf("a client reaches port %d of a member: %t, want %t", port, got, open)
		}
	}
	// Loaded anew it cuts nothing, not even streams that connection tracking never saw begin.
	last := l.member(3)
	if out, code := l.exec(last, "sh", "-c", "systemctl stop pgha-firewall && systemctl start pgha-firewall"); code != 0 {
		t.Fatal(out)
	}
	if out, code := l.exec(last, "sh", "-c", "timeout 5 pgha apply 2>&1"); code != 0 {
		t.Errorf("after the firewall was loaded anew: %s", out)
	}
	l.healthy(15 * time.Second)
}

func (l *lab) applyTwice(t *testing.T) {
	l = l.on(t)
	for _, machine := range l.machines {
		if out, code := l.exec(machine, "sh", "-c", "pgha apply 2>&1"); code != 0 || !strings.Contains(out, "nothing to change") {
			t.Errorf("%s: apply again: exit code %d\n%s", machine, code, out)
		}
		if out, code := l.exec(machine, "pgha", "diff"); code != 0 {
			t.Errorf("%s: diff after apply: exit code %d\n%s", machine, code, out)
		}
	}
}

// killedApply changes files behind pgha's back, kills an apply at several moments and lets the next one finish.
func (l *lab) killedApply(t *testing.T) {
	l = l.on(t)
	last := l.member(3)
	for _, after := range []string{"0.01", "0.03", "0.06", "0.1"} {
		out, code := l.exec(last, "sh", "-c", "echo '# by hand' >>/etc/patroni/config.yml; echo '# by hand' >>/etc/pgha/firewall.nft; "+
			"timeout -s KILL "+after+" pgha apply >/dev/null 2>&1; pgha apply 2>&1 && pgha diff && test ! -e /var/lib/pgha/pending.json")
		if code != 0 {
			t.Errorf("killed after %s s, then applied: exit code %d\n%s", after, code, out)
		}
	}
	// A broken seed is one message, exit code 2, and nothing touched.
	out, code := l.exec(last, "sh", "-c", "cp -a /etc/pgha/cluster.yaml /tmp/ && sed -i 's/^scope:/scoop:/' /etc/pgha/cluster.yaml; pgha apply 2>&1; r=$?; cp -a /tmp/cluster.yaml /etc/pgha/; exit $r")
	if code != 2 || !strings.Contains(out, `unknown key "scoop"`) {
		t.Errorf("broken seed: exit code %d, want 2\n%s", code, out)
	}
	l.healthy(time.Minute)
}

// noLeak looks for the secrets, as nobody, in every file below the places where they could be.
func (l *lab) noLeak(t *testing.T) {
	l = l.on(t)
	first := l.member(1)
	for user, password := range l.passwords() {
		out, code := l.exec(first, "sh", "-c", "setpriv --reuid=65534 --regid=65534 --clear-groups grep -rlsF "+password+" /etc /run /var /tmp /usr/lib/pgha 2>/dev/null || :") // its exit code speaks of what it could not read
		if strings.TrimSpace(out) != "" || code != 0 {
			t.Errorf("anybody can read the password of %s in\n%s", user, out)
		}
		if out, code := l.exec(first, "sh", "-c", "journalctl -b --no-pager | grep -cF "+password); code == 0 {
			t.Errorf("the journal has the password of %s %s times", user, out)
		}
	}
}

// powerCut switches the primary's machine off while an application writes.
func (l *lab) powerCut(t *testing.T) {
	l = l.on(t)
	before := l.healthy(time.Minute)
	stop, file := l.write()

	victim, cut := before.primary(), time.Now()
	l.pgbake("lab", "fault", "power-cut", victim)
	l.eventually("writes after the power cut", 90*time.Second, func() bool { return l.account(file).after(cut.Add(5*time.Second)) > 50 })
	stop()

	a := l.account(file)
	t.Logf("%d rows acknowledged, outage %.1f s", len(a.acknowledged), a.outage().Seconds())
	l.keptAll(a)

	l.pgbake("lab", "fault", "power-on", victim)
	after := l.healthy(2 * time.Minute)
	for _, m := range after.Members {
		// Soon it counts for commits: "quorum standby", or "sync standby".
		follows := m.Role == "replica" || strings.HasSuffix(m.Role, " standby")
		if m.Name == victim && (!follows || m.State != "streaming" && m.State != "running") {
			t.Errorf("%s came back as %s, %s; want a replica", victim, m.Role, m.State)
		}
	}
	if after.primary() == victim {
		t.Errorf("%s leads again at once", victim)
	}
}
