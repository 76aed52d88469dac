package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/verify"
)

// hung is for how long a machine or a program hangs: more than twice the lease of `failover: fast`.
const hung = 45 * time.Second

// hang is how a primary comes to hang, and to go on.
type hang struct {
	name          string
	stops, goesOn []string
	// whereEtcdLeads tells that etcd is led by the primary's machine, though the agent sees to it that it is not.
	whereEtcdLeads bool
	// lasts is for how long; whole, how long the cluster may take to be whole after it.
	lasts, whole time.Duration
}

var (
	frozen         = hang{name: "frozen", stops: []string{"freeze"}, goesOn: []string{"thaw"}, lasts: hung, whole: 2 * time.Minute}
	patroniStopped = hang{name: "Patroni stopped", stops: []string{"stop patroni"}, goesOn: []string{"cont patroni"}, lasts: hung, whole: 2 * time.Minute}
	etcdStopped    = hang{name: "etcd stopped", stops: []string{"stop etcd"}, goesOn: []string{"cont etcd"}, lasts: hung, whole: 2 * time.Minute}
	bothStopped    = hang{
		name: "Patroni and etcd stopped", stops: []string{"stop patroni", "stop etcd"}, goesOn: []string{"cont etcd", "cont patroni"},
		lasts: hung, whole: 2 * time.Minute,
	}
)

// ledByEtcd is the same on the machine that leads etcd, too.
func (h hang) ledByEtcd() hang {
	h.name, h.whereEtcdLeads = h.name+", where etcd leads", true
	return h
}

// TestHang lets the primary's machine, or a program on it, hang and go on, on Debian 13.
func TestHang(t *testing.T) {
	beside(t)
	l := up(t, quickstart(t, "hang13", 13)+"failover: fast\n")
	l.hangs(frozen.ledByEtcd(), bothStopped.ledByEtcd(), patroniStopped)
	t.Run("behind, and not to be rewound", l.behindForGood)
	t.Run("full disk of etcd", l.fullEtcd)
	t.Run("full disk, and Patroni killed", l.fullDiskKilled)
}

// TestHangDebian12 is the same with what Debian 12 has itself: Patroni 3.0.2, etcd 3.4.
func TestHangDebian12(t *testing.T) {
	beside(t)
	l := up(t, quickstart(t, "hang12", 12)+"failover: fast\n")
	l.hangs(frozen, patroniStopped.ledByEtcd(), etcdStopped.ledByEtcd())
	t.Run("behind", l.behind)
	t.Run("full disk", l.fullDisk)
}

// TestHangPGDG is the same with PGDG's Patroni, 4.0.7, beside the etcd 3.4 of Debian 12. In `make test` that etcd hangs in
// TestHangDebian12, and that Patroni in TestHang.
func TestHangPGDG(t *testing.T) {
	if os.Getenv("PGBAKE_LARGE")+os.Getenv("PGBAKE_QEMU")+os.Getenv("PGBAKE_SOAK") == "" {
		t.Skip("make test-all: each of its programs hangs in another test, too")
	}
	beside(t)
	spec := fromPGDG(t, replaceOnce(t, quickstart(t, "hangpgdg", 12), "\npostgres:\n", "\npostgres:\n  version: 17\n  source: pgdg\n"))
	l := up(t, spec+"failover: fast\n")
	l.hangs(etcdStopped, bothStopped)
}

// hangs lets each of them happen once, or where `make soak` asks for rounds, so many times every hang that there is.
func (l *lab) hangs(some ...hang) {
	rounds := 1
	if soak := os.Getenv("PGBAKE_SOAK"); soak != "" {
		var err error
		if rounds, err = strconv.Atoi(soak); err != nil {
			l.Fatalf("PGBAKE_SOAK is a number of rounds: %v", err)
		}
		some = nil
		for _, h := range []hang{frozen, patroniStopped, etcdStopped, bothStopped} {
			some = append(some, h, h.ledByEtcd())
		}
	}
	for range rounds {
		for _, h := range some {
			l.Run(h.name, func(t *testing.T) { l.on(t).hang(h) })
		}
	}
}

// hang has four applications write through the proxy, and one to each member: no row that was acknowledged is lost, no two
// members acknowledge at one time, who has hung does not lead again by itself, and the cluster is whole again without a command.
func (l *lab) hang(h hang) {
	before := l.healthy(h.whole)
	primary := before.primary()
	l.eventually("etcd led apart from the primary", 30*time.Second, func() bool { return l.etcdLedElsewhere(primary) })
	if h.whereEtcdLeads {
		// The agent would give it away again.
		l.sh(primary, "systemctl stop pgha-follow")
		l.eventually("etcd led where the primary is", 30*time.Second, func() bool { return l.moveEtcd(primary) })
	}
	writers := append([]string{"proxy_1", "proxy_2", "proxy_3", "proxy_4"}, members...)
	address := l.addresses()
	for _, w := range writers {
		l.sql(fmt.Sprintf("CREATE SCHEMA IF NOT EXISTS %s; CREATE TABLE IF NOT EXISTS %[1]s.ledger(n bigint PRIMARY KEY); TRUNCATE %[1]s.ledger", w))
	}
	pause, enough := many, 20
	if os.Getenv("PGBAKE_SOAK") != "" {
		pause, enough = busy, 100
	}
	files, stops := map[string]string{}, map[string]func(){}
	for _, w := range writers {
		host := l.entry() + ":5000"
		if at, ok := address[w]; ok {
			host = at + ":5432"
		}
		dsn := l.dsn(host)
		dsn.RawQuery += "&search_path=" + w
		stops[w], files[w] = l.writer(dsn, pause)
	}
	for _, w := range []string{writers[0], primary} {
		l.eventually("rows by "+w, 30*time.Second, func() bool { return len(l.account(files[w]).acknowledged) > enough })
	}

	began := time.Now()
	for _, f := range h.stops {
		l.fault(f, primary)
	}
	select {
	case <-time.After(time.Until(began.Add(h.lasts))):
	case <-l.Context().Done():
	}
	awake := time.Now()
	for _, f := range h.goesOn {
		l.fault(f, primary)
	}
	after := l.healthy(h.whole)
	if h.whereEtcdLeads {
		l.sh(primary, "systemctl start pgha-follow")
	}
	l.eventually("rows after it all", 30*time.Second, func() bool { return l.account(files[writers[0]]).after(awake) > enough })
	for _, stop := range stops {
		stop()
	}

	total, lost := 0, 0
	for _, w := range writers {
		a := l.account(files[w])
		n := l.lost(a, w+".ledger")
		total, lost = total+len(a.acknowledged), lost+n
	}
	// Whoever has led and is followed leads no more: else two have, or the one that hung has taken the lead back.
	type row struct {
		by string
		verify.Row
	}
	var rows []row
	for _, m := range members {
		for _, r := range l.account(files[m]).Account {
			rows = append(rows, row{m, r})
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return a.At.Compare(b.At) })
	rows = slices.CompactFunc(rows, func(a, b row) bool { return a.by == b.by })
	led := map[string]bool{}
	var order []string
	for _, r := range rows {
		order = append(order, fmt.Sprintf("%s from %.1f s", r.by, r.At.Sub(began).Seconds()))
		if led[r.by] {
			l.Errorf("%s acknowledges again: %s", r.by, strings.Join(order, ", "))
		}
		led[r.by] = true
	}
	l.Logf("%s, by %s: %d rows acknowledged, %d lost; acknowledged by %s", h.name, primary, total, lost, strings.Join(order, ", "))
	if lost > 0 {
		l.Errorf("%d of %d acknowledged rows are lost", lost, total)
	}
	if last := rows[len(rows)-1].by; last != after.primary() {
		l.Errorf("%s leads, and %s has acknowledged last", after.primary(), last)
	}
}

// fault is one of `pgbake lab fault`: "freeze", or "stop patroni".
func (l *lab) fault(fault, machine string) {
	l.Helper()
	name, program, _ := strings.Cut(fault, " ")
	args := []string{"lab", "fault", name, machine}
	if program != "" {
		args = append(args, program)
	}
	l.pgbake(args...)
}

// etcdctl runs on a member, for all of etcd, in a shell that has them as $all.
func (l *lab) etcdctl(machine, script string) (out string, code int) {
	l.Helper()
	var all []string
	for _, m := range members {
		all = append(all, "https://"+l.addresses()[m]+":2379")
	}
	return l.exec(machine, "sh", "-c", "cd /etc/patroni/tls; export ETCDCTL_API=3 ETCDCTL_CACERT=ca.crt ETCDCTL_CERT=etcd-client.crt ETCDCTL_KEY=etcd-client.key; "+
		"all='"+strings.Join(all, " ")+"'; own=https://"+l.addresses()[machine]+":2379; "+script)
}

// etcdLedElsewhere tells that the member does not lead etcd, and etcd is led.
func (l *lab) etcdLedElsewhere(machine string) bool {
	_, code := l.etcdctl(machine, "etcdctl --endpoints=$own endpoint status | cut -d, -f5 | grep -q false && etcdctl --endpoints=$own endpoint health")
	return code == 0
}

// moveEtcd has etcd led on this member, and tells whether it is; only the leader itself may give it away.
func (l *lab) moveEtcd(machine string) bool {
	_, code := l.etcdctl(machine, "id=$(etcdctl --endpoints=$own endpoint status | cut -d, -f2 | tr -d ' '); "+
		"for e in $all; do etcdctl --endpoints=$e move-leader $id >/dev/null 2>&1 || :; done; etcdctl --endpoints=$own endpoint status | cut -d, -f5 | grep -q true")
	return code == 0
}
