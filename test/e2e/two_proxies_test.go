package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Nothing is single here: two proxies that share an address, five members that survive two failures, and strict
// replication, which rather does not write than write what one failure could lose.
func TestTwoProxies(t *testing.T) {
	beside(t)
	spec := example(t, "two-proxies.yaml")
	spec = replaceOnce(t, spec, "\nscope: shop\n", "\nscope: two-proxies\n")
	spec = replaceOnce(t, spec, "storage:\n  data_disk: /dev/vdb\n", "") // a container has no disk of its own
	l := up(t, spec)
	s := l.healthy(time.Minute)
	if len(s.Members) != 5 || s.holder() == "" {
		t.Fatalf("want five members and one holder of the virtual address: %+v", s)
	}

	t.Run("no password in the statistics", l.statistics)
	t.Run("strangers at the door", l.strangers)
	t.Run("apply twice", l.applyTwice)
	t.Run("only proxies speak VRRP", l.vrrpFirewall)
	t.Run("power cut of the holder", l.holderPowerCut)
	t.Run("HAProxy killed on the holder", l.haproxyKilled)
	t.Run("strict", l.strict)
	t.Run("two members at once", l.twoFailures)
}

// statistics reads what pg_stat_statements has kept since before the first user was made.
func (l *lab) statistics(t *testing.T) {
	l = l.on(t)
	l.superuser(l.healthy(time.Minute).primary(), "CREATE EXTENSION pg_stat_statements")
	kept := l.superuser(l.healthy(time.Minute).primary(), "SELECT query FROM pg_stat_statements")
	if !strings.Contains(kept, "SELECT") || strings.Contains(kept, "PASSWORD '") {
		t.Errorf("kept are:\n%s", kept)
	}
}

// strangers hold as many connections as they can to a machine's pgha-follow: a third of them silent, a third in the middle of
// a request, a third of an offer.
func (l *lab) strangers(t *testing.T) {
	l = l.on(t)
	s := l.healthy(time.Minute)
	from, at := s.Members[4].Name, []string{s.Members[0].Name, s.Proxies[0].Name}
	const follow = "systemctl show --property=MainPID --value pgha-follow.service"
	for _, machine := range at {
		before := l.sh(machine, follow)
		const flood = `
import socket, ssl, sys, time
context = ssl._create_unverified_context()
says = [b"", b"GET /state HTTP/1.1\r\nHost: x\r\nX-Much: ", b"POST /generation HTTP/1.1\r\nHost: x\r\nContent-Length: 131000\r\n\r\n" + b"x" * 100000]
held = []
for i in range(1000):
    held.append(socket.create_connection((sys.argv[1], 8009), timeout=10))
    if says[i % 3]:
        try:
            held[-1] = context.wrap_socket(held[-1])
            held[-1].sendall(says[i % 3])
        except OSError:
            pass
open("/run/flooded", "w")
time.sleep(1000)
`
		l.sh(from, "rm -f /run/flooded")
		if out, code := l.exec(from, "systemd-run", "--quiet", "--collect", "--unit=flood", "python3", "-c", flood, l.addresses()[machine]); code != 0 {
			t.Fatal(out)
		}
		l.eventually("a thousand connections to "+machine, time.Minute, func() bool {
			_, code := l.exec(from, "test", "-e", "/run/flooded")
			return code == 0
		})
		const ask = "import ssl, sys, urllib.request as u; print(u.urlopen(sys.argv[1], context=ssl._create_unverified_context(), timeout=5).read().decode())"
		l.eventually(machine+" to answer another machine", 20*time.Second, func() bool {
			out, code := l.exec(s.Members[1].Name, "python3", "-c", ask, "https://"+l.addresses()[machine]+":8009/state")
			return code == 0 && strings.Contains(out, `"machine":"`+machine+`"`)
		})
		// Not its control group's word: not every host of a lab counts memory by control group.
		peak, err := strconv.Atoi(l.sh(machine, "awk '$1 == \"VmHWM:\" {print $2}' /proc/"+before+"/status"))
		if err != nil || peak >= 64<<10 {
			t.Errorf("%s: pgha-follow took %d KiB, %v", machine, peak, err)
		}
		t.Logf("%s: pgha-follow took %d MiB", machine, peak>>10)
		if after := l.sh(machine, follow); after != before {
			t.Errorf("%s: pgha-follow was started anew: %s, then %s", machine, before, after)
		}
		l.sh(from, "systemctl stop flood.service")
	}
}

// takeover waits until another proxy than the one that had it holds the virtual address.
func (l *lab) takeover(from string, since time.Time) (holder string) {
	l.Helper()
	l.eventually("another holder than "+from, 15*time.Second, func() bool {
		s, err := l.status()
		holder = s.holder()
		return err == nil && holder != "" && holder != from
	})
	l.Logf("%s has the virtual address after %.1f s", holder, time.Since(since).Seconds())
	return holder
}

// vrrpFirewall sends packets of keepalived's protocol to a proxy, from a member, which stands in the client networks
// too, and from the other proxy. Only the latter may arrive.
func (l *lab) vrrpFirewall(t *testing.T) {
	l = l.on(t)
	s := l.healthy(time.Minute)
	to, from := s.Proxies[0].Name, s.Proxies[1].Name
	address := l.addresses()[to]
	if out, code := l.exec(to, "systemd-run", "--quiet", "--collect", "--unit=listen", "socat", "-u", "IP4-RECV:112", "CREATE:/run/heard"); code != 0 {
		t.Fatal(out)
	}
	send := func() {
		const raw = "import socket as s, sys; s.socket(s.AF_INET, s.SOCK_RAW, 112).sendto(b'by a member', (sys.argv[1], 0))"
		if out, code := l.exec(s.Members[0].Name, "python3", "-c", raw, address); code != 0 {
			t.Fatal(out)
		}
		if out, code := l.exec(from, "sh", "-c", "echo by a proxy | socat -u - IP4-SENDTO:"+address+":112"); code != 0 {
			t.Fatal(out)
		}
	}
	heard := func(what string) bool {
		_, code := l.exec(to, "grep", "-qaF", what, "/run/heard")
		return code == 0
	}
	l.eventually("a packet of the other proxy", 10*time.Second, func() bool { send(); return heard("by a proxy") })
	send() // now the listener surely is there
	l.eventually("the last packet", 5*time.Second, func() bool {
		_, code := l.exec(to, "sh", "-c", "test $(grep -oaF 'by a proxy' /run/heard | wc -l) -ge 2")
		return code == 0
	})
	if heard("by a member") {
		t.Error("a machine that is no proxy reaches keepalived")
	}
	if out, code := l.exec(to, "systemctl", "stop", "listen.service"); code != 0 {
		t.Error(out)
	}
}

// holderPowerCut switches the proxy that has the virtual address off while an application writes. When it comes back
// it leaves the address where it is: each move cuts sessions.
func (l *lab) holderPowerCut(t *testing.T) {
	l = l.on(t)
	before := l.healthy(time.Minute)
	started := l.superuser(before.primary(), "SELECT pg_postmaster_start_time()")
	stop, file := l.write()
	victim, cut := before.holder(), time.Now()
	l.pgbake("lab", "fault", "power-cut", victim)
	holder := l.takeover(victim, cut)
	moved := time.Now()
	l.eventually("writes through the other proxy", 15*time.Second, func() bool { return l.account(file).after(moved) > 50 })
	t.Logf("outage %.1f s for a client that waits five seconds for an answer", l.account(file).outage().Seconds())

	back := time.Now()
	l.pgbake("lab", "fault", "power-on", victim)
	after := l.healthy(time.Minute)
	if after.holder() != holder {
		t.Errorf("%s has the virtual address, want it to stay on %s", after.holder(), holder)
	}
	stop()
	a := l.account(file)
	l.calm(a.Since(back)) // while the victim came back
	l.keptAll(a)
	if now := l.superuser(before.primary(), "SELECT pg_postmaster_start_time()"); after.primary() != before.primary() || now != started {
		t.Errorf("primary %s, and PostgreSQL of %s runs since %s; want %[2]s, since %[4]s", after.primary(), before.primary(), now, started)
	}
	for machine, since := range map[string]time.Time{victim: cut, holder: moved} {
		if out, code := l.exec(machine, "sh", "-c", fmt.Sprintf("journalctl -u keepalived --since=@%d -o cat | grep 'Entering'", since.Unix()+1)); code == 0 && (machine == holder || strings.Contains(out, "MASTER")) {
			t.Errorf("%s: keepalived moved about:\n%s", machine, out)
		}
	}
}

// haproxyKilled: an address whose HAProxy is dead is of no use, even for the second until it is started again.
func (l *lab) haproxyKilled(t *testing.T) {
	l = l.on(t)
	victim := l.healthy(time.Minute).holder()
	stop, file := l.write()
	killed := time.Now()
	l.pgbake("lab", "fault", "kill", victim, "haproxy")
	l.takeover(victim, killed)
	moved := time.Now()
	l.eventually("writes through the other proxy", 15*time.Second, func() bool { return l.account(file).after(moved) > 50 })
	stop()
	t.Logf("outage %.1f s", l.account(file).outage().Seconds())
	l.keptAll(l.account(file))
	l.healthy(30 * time.Second) // its HAProxy is back, and the address is in one place
}

// votes waits until Patroni lets all replicas vote and wants two votes beside the candidate's own. It takes a round of its
// loop for each replica that has come back.
func (l *lab) votes(s status) {
	l.Helper()
	l.eventually("four voters in /sync", time.Minute, func() bool {
		out, code := l.exec(s.primary(), "sh", "-c", "cd /etc/patroni/tls && etcdctl --endpoints=https://127.0.0.1:2379 "+
			"--cacert=ca.crt --cert=etcd-client.crt --key=etcd-client.key get --print-value-only /service/"+l.scope+"/sync")
		return code == 0 && strings.Contains(out, `"quorum":2`) && strings.Count(out, ",shop-db") == 3
	})
}

// strict: with no replica to confirm it, a write waits, and is done as soon as one is there.
func (l *lab) strict(t *testing.T) {
	l = l.on(t)
	before := l.healthy(time.Minute)
	holder := before.holder()
	ask := func(query string) string { return l.superuser(before.primary(), query) }
	l.votes(before)
	standbys := ask("SHOW synchronous_standby_names")
	for _, name := range before.replicas() {
		if !strings.HasPrefix(standbys, "ANY 2 (") || !strings.Contains(standbys, name) {
			t.Errorf("synchronous_standby_names = %s, want any two of %s", standbys, before.replicas())
		}
	}

	l.sql("CREATE TABLE promise(i int)")
	l.onAll(before.replicas(), "systemctl", "stop", "patroni")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute*slow)
	defer cancel()
	written := make(chan error, 1)
	go func() {
		_, err := l.try(ctx, "lab", "psql", "--", "-XAtc", "INSERT INTO promise VALUES (42)")
		written <- err
	}()
	l.eventually("Patroni to want any replica at all", 30*time.Second, func() bool { return ask("SHOW synchronous_standby_names") == "ANY 1 (*)" })
	since := ask("SELECT now()")
	// Longer than Patroni takes (loop_wait is 3 s) to see that nobody is left to wait for, and not to care.
	l.eventually("a write that waits for a replica", 30*time.Second, func() bool {
		return ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND greatest(query_start, '"+since+"') < now() - interval '7 s'") == "1"
	})
	select {
	case err := <-written:
		t.Fatalf("a write that no replica has was acknowledged: %v", err)
	default:
	}
	l.onAll(before.replicas()[:1], "systemctl", "start", "patroni")
	if err := <-written; err != nil {
		t.Errorf("with a replica back the write should be done: %v", err)
	}
	l.onAll(before.replicas()[1:], "systemctl", "start", "patroni")
	after := l.healthy(time.Minute)
	if after.primary() != before.primary() || after.holder() != holder {
		t.Errorf("primary %s and holder %s, want %s and %s as before", after.primary(), after.holder(), before.primary(), holder)
	}
}

// twoFailures cuts the power of the primary and of a replica at the same time. The virtual address stays where it is:
// keepalived looks at its own HAProxy, not at PostgreSQL.
func (l *lab) twoFailures(t *testing.T) {
	l = l.on(t)
	before := l.healthy(time.Minute)
	l.votes(before)
	stop, file := l.write()
	victims, cut := []string{before.primary(), before.replicas()[0]}, time.Now()
	l.together(victims, func(machine string) []string { return []string{"lab", "fault", "power-cut", machine} })
	l.eventually("writes after two power cuts", 90*time.Second, func() bool { return l.account(file).after(cut.Add(5*time.Second)) > 50 })
	stop()
	a := l.account(file)
	t.Logf("%d rows acknowledged, outage %.1f s", len(a.acknowledged), a.outage().Seconds())
	l.keptAll(a)
	after, err := l.status()
	if err != nil || slices.Contains(victims, after.primary()) {
		t.Errorf("status without %s: %v, %+v", victims, err, after)
	}
	if after.holder() != before.holder() {
		t.Errorf("%s has the virtual address, want it to stay on %s", after.holder(), before.holder())
	}
}
