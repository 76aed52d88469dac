package e2e

import (
	"strings"
	"testing"
	"time"
)

// fullDisk fills the file system of the primary's data while an application writes, until PostgreSQL ends. Another member leads,
// nothing that was acknowledged is lost, and with room again the member follows without a command.
func (l *lab) fullDisk(t *testing.T) {
	l.on(t).withoutRoom("")
}

// fullDiskKilled is the same, and Patroni ends with it: it starts a PostgreSQL of which it knows nothing.
func (l *lab) fullDiskKilled(t *testing.T) {
	l.on(t).withoutRoom("systemctl kill --signal=KILL patroni")
}

// withoutRoom is both: the script, if any, runs on the primary's machine when its disk is full.
func (l *lab) withoutRoom(script string) {
	l.Helper()
	// Whoever leads then.
	for _, m := range l.members() {
		l.ownFileSystem(m, "patroni", "/var/lib/postgresql")
		l.healthy(2 * time.Minute)
	}
	victim := l.healthy(2 * time.Minute).primary()
	stop, file := l.write()

	// The segments that PostgreSQL keeps for later are used up, too.
	room := l.fill(victim, "/var/lib/postgresql")
	full := time.Now()
	if script != "" {
		l.sh(victim, script)
	}
	l.eventually("another member to lead", 3*time.Minute, func() bool {
		l.exec(victim, "timeout", "5", "runuser", "-u", "postgres", "--", "psql", "-XAtqc", "SELECT pg_catalog.pg_switch_wal() FROM pg_catalog.pg_logical_emit_message(true, 'pgha', 'x')")
		s, err := l.status()
		return err == nil && s.primary() != "" && s.primary() != victim
	})
	l.Logf("another member leads %.0f s after the disk was full", time.Since(full).Seconds())
	l.eventually("writes", 90*time.Second, func() bool { return l.account(file).after(time.Now().Add(-5*time.Second)) > 50 })
	stop()
	l.keptAll(l.account(file))

	room()
	if after := l.healthy(3 * time.Minute); after.primary() == victim {
		l.Errorf("%s leads again at once", victim)
	}
	l.keptAll(l.account(file))
}

// fullEtcd fills the file system of etcd's data on the primary's machine: two members are a quorum, nothing changes hands, and
// with room again the third is back without a command.
func (l *lab) fullEtcd(t *testing.T) {
	l = l.on(t)
	victim := l.healthy(2 * time.Minute).primary()
	l.ownFileSystem(victim, "etcd", "/var/lib/etcd")
	victim = l.healthy(2 * time.Minute).primary()
	stop, file := l.write()
	room := l.fill(victim, "/var/lib/etcd")
	l.eventually("etcd to run out of room", time.Minute, func() bool {
		l.etcdctl(victim, "head -c 1000000 /dev/urandom | base64 -w 0 >/run/value; for i in $(seq 20); do timeout 5 etcdctl --endpoints=$(echo $all | tr ' ' ,) put large$i </run/value; done; rm /run/value")
		_, code := l.exec(victim, "sh", "-c", "journalctl --boot --unit etcd | grep -i 'no space left'")
		return code == 0
	})
	seen := time.Now()
	l.eventually("writes", 90*time.Second, func() bool { return l.account(file).after(seen.Add(20*time.Second)) > 50 })
	stop()
	a := l.account(file)
	l.Logf("the longest pause in writing: %.1f s", a.outage().Seconds())
	l.keptAll(a)
	room()
	if after := l.healthy(3 * time.Minute); after.primary() != victim {
		t.Errorf("%s leads, and %s could have gone on", after.primary(), victim)
	}
}

// fill takes all the room that a machine's file system has, until room gives it back.
func (l *lab) fill(machine, dir string) (room func()) {
	l.Helper()
	large := dir + "/large"
	l.sh(machine, "! dd if=/dev/zero of="+large+" bs=1M status=none")
	return func() { l.sh(machine, "rm "+large) }
}

// ownFileSystem gives a service's data on a machine a file system that is not this host's, with 300 MB of room, until the
// machine is off.
func (l *lab) ownFileSystem(machine, service, dir string) {
	l.Helper()
	l.sh(machine, strings.Join([]string{
		"set -e", "systemctl stop " + service, "mkdir /run/" + service + ".own", "cd " + dir,
		"mount -t tmpfs -o size=$(($(du --summarize --block-size=1M . | cut -f 1) + 300))M own /run/" + service + ".own",
		"chown --reference=. /run/" + service + ".own", "chmod --reference=. /run/" + service + ".own",
		"cp --archive . /run/" + service + ".own", "cd /", "mount --bind /run/" + service + ".own " + dir, "systemctl start " + service,
	}, "\n"))
}
