package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// hung is for how long a machine or a program hangs: more than twice the lease of `failover: fast`.
const hung = 45 * time.Second

// TestHang lets the primary's machine, or a program on it, hang and go on, on Debian 13.
func TestHang(t *testing.T) {
	beside(t)
	l := up(t, quickstart(t, "hang13", 13)+"failover: fast\n")
	l.hangs(
		hang{"frozen, where etcd leads", []string{"freeze"}, []string{"thaw"}, true},
		hang{"Patroni and etcd stopped, where etcd leads", []string{"stop patroni", "stop etcd"}, []string{"cont etcd", "cont patroni"}, true},
		hang{"Patroni stopped", []string{"stop patroni"}, []string{"cont patroni"}, false},
	)
}

// TestHangDebian12 is the same with what Debian 12 has itself: Patroni 3.0.2, etcd 3.4.
func TestHangDebian12(t *testing.T) {
	beside(t)
	l := up(t, quickstart(t, "hang12", 12)+"failover: fast\n")
	l.hangs(
		hang{"frozen", []string{"freeze"}, []string{"thaw"}, false},
		hang{"Patroni stopped, where etcd leads", []string{"stop patroni"}, []string{"cont patroni"}, true},
		hang{"etcd stopped, where it leads", []string{"stop etcd"}, []string{"cont etcd"}, true},
	)
}

// hang is how a primary comes to hang, and to go on.
type hang struct {
	name           string
	stops, goesOn  []string
	whereEtcdLeads bool
}

func (l *lab) hangs(all ...hang) {
	for _, h := range all {
		l.Run(h.name, func(t *testing.T) { l.on(t).hang(h) })
	}
}

// hang has applications write through the proxy and to each member: no row that was acknowledged is lost, no two members
// acknowledge at one time, who has hung does not lead again by itself, and the cluster is whole again without a command.
func (l *lab) hang(h hang) {
	before := l.healthy(2 * time.Minute)
	primary := before.primary()
	l.eventually("etcd led apart from the primary", 30*time.Second, func() bool { return l.etcdLeadsOn(primary) == 0 })
	if h.whereEtcdLeads {
		// The agent would give it away again.
		l.sh(primary, "systemctl stop pgha-follow")
		l.eventually("etcd led where the primary is", 30*time.Second, func() bool { return l.moveEtcd(primary) == 0 })
	}
	writers := append([]string{"proxy"}, members...)
	address := l.addresses()
	for _, w := range writers {
		l.sql(fmt.Sprintf("CREATE SCHEMA IF NOT EXISTS %s; CREATE TABLE IF NOT EXISTS %[1]s.ledger(n bigint PRIMARY KEY); TRUNCATE %[1]s.ledger", w))
	}
	files, stops := map[string]string{}, map[string]func(){}
	for _, w := range writers {
		host := l.entry() + ":5000"
		if w != "proxy" {
			host = address[w] + ":5432"
		}
		dsn := l.dsn(host)
		dsn.RawQuery += "&search_path=" + w
		stops[w], files[w] = l.writer(dsn)
	}
	for _, w := range []string{"proxy", primary} {
		l.eventually("rows by "+w, 30*time.Second, func() bool { return len(l.account(files[w]).acknowledged) > 100 })
	}

	began := time.Now()
	for _, f := range h.stops {
		l.fault(f, primary)
	}
	select {
	case <-time.After(time.Until(began.Add(hung))):
	case <-l.Context().Done():
	}
	awake := time.Now()
	for _, f := range h.goesOn {
		l.fault(f, primary)
	}
	after := l.healthy(2 * time.Minute)
	if h.whereEtcdLeads {
		l.sh(primary, "systemctl start pgha-follow")
	}
	l.eventually("rows after it all", 30*time.Second, func() bool { return l.account(files["proxy"]).after(awake) > 100 })
	for _, stop := range stops {
		stop()
	}

	total, lost := 0, 0
	for _, w := range writers {
		a := l.account(files[w])
		n := l.lost(a, w+".ledger")
		total, lost = total+len(a.acknowledged), lost+n
	}
	l.Logf("%s, by %s: %d rows acknowledged, %d lost; %s leads", h.name, primary, total, lost, after.primary())
	if lost > 0 {
		l.Errorf("%d of %d acknowledged rows are lost", lost, total)
	}
	successor := after.primary()
	if successor == primary {
		// Nobody took the lead, or it came back.
		for _, m := range members {
			if m != primary && len(l.account(files[m]).acknowledged) > 0 {
				l.Errorf("%s has led meanwhile, and %s leads again", m, primary)
			}
		}
		return
	}
	led := l.account(files[successor])
	if len(led.acknowledged) == 0 {
		l.Fatalf("no row by %s, which leads", successor)
	}
	if n := l.account(files[primary]).after(led.Account[0].At); n > 0 {
		l.Errorf("%s has acknowledged %d rows after %s has its first", primary, n, successor)
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
func (l *lab) etcdctl(machine, script string) int {
	l.Helper()
	var all []string
	for _, m := range members {
		all = append(all, "https://"+l.addresses()[m]+":2379")
	}
	_, code := l.exec(machine, "sh", "-c", "cd /etc/patroni/tls; export ETCDCTL_API=3 ETCDCTL_CACERT=ca.crt ETCDCTL_CERT=etcd-client.crt ETCDCTL_KEY=etcd-client.key; "+
		"all='"+strings.Join(all, " ")+"'; own=https://"+l.addresses()[machine]+":2379; "+script)
	return code
}

// etcdLeadsOn ends with 0 when the member does not lead etcd, and etcd is led.
func (l *lab) etcdLeadsOn(machine string) int {
	return l.etcdctl(machine, "etcdctl --endpoints=$own endpoint status | cut -d, -f5 | grep -q false && etcdctl --endpoints=$own endpoint health")
}

// moveEtcd has etcd led on this member; only the leader itself may give it away.
func (l *lab) moveEtcd(machine string) int {
	return l.etcdctl(machine, "id=$(etcdctl --endpoints=$own endpoint status | cut -d, -f2 | tr -d ' '); "+
		"for e in $all; do etcdctl --endpoints=$e move-leader $id >/dev/null 2>&1 || :; done; etcdctl --endpoints=$own endpoint status | cut -d, -f5 | grep -q true")
}
