package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// What is done to a cluster that works, while an application writes; then what is broken on purpose is named and mended.
func TestUpkeep(t *testing.T) {
	beside(t)
	l := up(t, quickstart(t, "upkeep", 13))
	l.healthy(time.Minute)
	l.nothingFound("db1", "proxy1")
	// Nobody has said that no backup is wanted: that is warned of, and nothing is wrong.
	l.says("db1", 0, "pgha doctor || :", "warning: no backup is configured")
	l.says("proxy1", 0, "pgha status || :", "warning: backup: there is none", "wanted: false")
	stop, file := l.write()
	for _, part := range []struct {
		name string
		run  func(*lab)
	}{
		{"switchover", (*lab).switchover},
		{"restart", (*lab).rollingRestart},
		{"upgrade", (*lab).upgrade},
		{"maintenance", (*lab).maintenance},
		{"a replica is away", (*lab).replicaAway},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(l.on(t)) })
		l.healthy(2 * time.Minute)
	}
	stop()
	a := l.account(file)
	t.Logf("%d rows acknowledged, the longest pause %.1f s", len(a.acknowledged), a.outage().Seconds())
	l.keptAll(a)
	t.Run("broken and mended", func(t *testing.T) { l.on(t).brokenAndMended() })
	l.healthy(time.Minute)
}

// says runs a script on a machine, which must end with the exit code and say everything that is wanted.
func (l *lab) says(machine string, code int, script string, want ...string) string {
	l.Helper()
	began := time.Now()
	out, got := l.exec(machine, "sh", "-c", "exec 2>&1; "+script)
	l.Logf("%s: %s: %.1f s\n%s", machine, script, time.Since(began).Seconds(), out)
	if got != code {
		l.Fatalf("%s: %s: exit code %d, want %d", machine, script, got, code)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			l.Errorf("%s: %s does not say %q", machine, script, text)
		}
	}
	return out
}

func (l *lab) switchover() {
	before := l.healthy(time.Minute)
	old, next := before.primary(), before.replicas()[1]
	l.says("proxy1", 1, "pgha switchover", "proxy1 is a proxy")
	l.says(next, 1, "pgha switchover --to "+old, old+" is the primary already")
	l.says(next, 1, "pgha switchover --to db7", `the cluster has no member "db7"`)
	out := l.says(before.replicas()[0], 0, "pgha switchover --to "+next, "checkpoint on "+old, "checkpoint on "+next, next+" leads, on timeline "+fmt.Sprint(before.Members[0].Timeline+1))
	if !regexp.MustCompile(`no write for \d+\.\d s`).MatchString(out) {
		l.Error("the pause is not shown")
	}
	if now := l.healthy(30 * time.Second); now.primary() != next {
		l.Errorf("%s leads, want %s", now.primary(), next)
	}
}

func (l *lab) rollingRestart() {
	before := l.healthy(time.Minute)
	l.says("db1", 0, "pgha restart --pending", "no member needs a restart")
	started := map[string]string{}
	for _, m := range members {
		started[m] = l.superuser(m, "SELECT pg_postmaster_start_time()")
	}
	out := l.says("db1", 0, "pgha restart")
	replicas := before.replicas()
	at := func(m string) int { return strings.Index(out, "\n"+m+": restarted") }
	if p := at(before.primary()); at(replicas[0]) < 0 || at(replicas[1]) < 0 || p < at(replicas[0]) || p < at(replicas[1]) {
		l.Error("the primary was not restarted last")
	}
	for _, m := range members {
		if l.superuser(m, "SELECT pg_postmaster_start_time()") == started[m] {
			l.Errorf("PostgreSQL of %s was not restarted", m)
		}
	}
}

// newer makes a newer version of a package that is installed, out of its own files and scripts, in an archive on the
// machine's own disk.
const newer = `set -eu
mkdir -p /srv/new && cd /srv/new
r=/srv/tree; rm -rf $r; mkdir -p $r/DEBIAN
dpkg -L $1 | while read -r f; do if [ -f "$f" ] || [ -L "$f" ]; then cp -a --parents "$f" $r; fi; done
for s in preinst postinst prerm postrm conffiles triggers; do [ ! -e /var/lib/dpkg/info/$1.$s ] || cp /var/lib/dpkg/info/$1.$s $r/DEBIAN/; done
dpkg-query -W -f 'Package: ${Package}\nVersion: ${Version}+new1\nArchitecture: ${Architecture}\nMaintainer: nobody <root@localhost>\nDepends: ${Depends}\nDescription: the same once more\n' $1 >$r/DEBIAN/control
dpkg-deb -Znone -b $r $1.deb >/dev/null
{ dpkg-deb -f $1.deb; echo "Filename: ./$1.deb"; echo "Size: $(stat -c %s $1.deb)"; echo "SHA256: $(sha256sum $1.deb | cut -d' ' -f1)"; echo; } >>Packages
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/new ./' >/etc/apt/sources.list.d/new.list
apt-get -q update`

// upgrade gives a replica and the primary a newer Patroni: the primary has to wait for both replicas. The proxy gets a
// newer HAProxy.
func (l *lab) upgrade() {
	before := l.healthy(time.Minute)
	first, primary := before.replicas()[0], before.primary()
	script := base64.StdEncoding.EncodeToString([]byte(newer))
	for _, m := range []string{first, primary} {
		l.sh(m, "echo "+script+" | base64 -d | sh -s patroni")
	}
	l.says(primary, 3, "pgha upgrade --check", "patroni 4.", "+new1")
	l.says(primary, 1, "pgha upgrade", "it is the primary, and comes last: not upgraded yet: "+strings.Join(before.replicas(), ", "), "hint: on "+first+": pgha upgrade")
	pid := func() string {
		return l.sh(first, "systemctl show --value -p MainPID patroni")
	}
	was := pid()
	l.says(first, 0, "pgha upgrade", first+": patroni 4.", "next: on ")
	if pid() == was {
		l.Error("the old Patroni runs on")
	}
	l.says(first, 0, "pgha upgrade", first+": nothing to upgrade")
	l.says(primary, 1, "pgha upgrade", "not upgraded yet: "+before.replicas()[1]+"\n")

	l.sh("proxy1", "echo "+script+" | base64 -d | sh -s haproxy")
	runs := l.sh("proxy1", "systemctl show --value -p ActiveEnterTimestampMonotonic haproxy")
	l.says("proxy1", 0, "pgha upgrade", "HAProxy is restarted", "install haproxy\n", "proxy1: haproxy ", "+new1")
	if l.sh("proxy1", "systemctl show --value -p ActiveEnterTimestampMonotonic haproxy") == runs {
		l.Error("the old HAProxy runs on")
	}
	l.says("proxy1", 0, "pgha upgrade", "proxy1: nothing to upgrade")
}

func (l *lab) maintenance() {
	l.says("db1", 1, "pgha maintenance on --for 0s", "--for must be more than nothing")
	l.says("db1", 0, "pgha maintenance on --for 1h --why 'new disks'", "when it ends by itself")
	l.says("db2", 1, "pgha switchover", "hint: pgha maintenance off")
	l.says("db3", 1, "pgha restart", "hint: pgha maintenance off")
	l.eventually("the proxy to show the maintenance", 20*time.Second, func() bool {
		out, _ := l.exec("proxy1", "pgha", "status")
		return strings.Contains(out, "maintenance by db1 (new disks) until")
	})
	l.says("db1", 0, "pgha maintenance on --for 1s --why 'new disks'", "when it ends by itself") // the same one, shorter
	l.eventually("the maintenance to end by itself", time.Minute, func() bool {
		s := l.statusJSON("db2")
		return s != "" && !strings.Contains(s, `"maintenance"`) && !strings.Contains(s, `"paused"`)
	})
	patronictl := "runuser -u postgres -- patronictl -c /etc/patroni/config.yml "
	l.says("db1", 0, patronictl+"pause --wait")
	l.says("db2", 3, "pgha doctor", "Patroni is paused, and nobody said for how long", "mend: pgha maintenance off")
	// In pause Patroni leaves PostgreSQL running: it is ended before its directory gets another name, and cleanly.
	now := l.healthy(time.Minute)
	m := now.replicas()[0]
	l.says(now.primary(), 1, "pgha member set-aside postgres", "in maintenance nobody takes over from it")
	l.says(m, 0, "pgha member set-aside postgres", "main.aside-")
	l.says(m, 0, "cd /var/lib/postgresql/17; /usr/lib/postgresql/17/bin/pg_controldata main.aside-* | grep state; ls main.aside-*/postmaster.pid || :; readlink /proc/[0-9]*/cwd | grep aside || echo nobody",
		"shut down in recovery", "No such file or directory", "nobody")
	l.says("db3", 0, "pgha maintenance off")
	l.healthy(2 * time.Minute)
	l.says(m, 0, "rm -r /var/lib/postgresql/17/main.aside-*")
	l.nothingFound("db1")
	l.says(m, 0, "systemctl start pgha-room; systemctl show -p Result pgha-room", "Result=success")
}

// replicaAway stops Patroni of a replica: its slot fills, and the other replica is the last that could take over. The slot keeps WAL for
// it, and soon no more than that.
func (l *lab) replicaAway() {
	before := l.healthy(time.Minute)
	primary, away, other := before.primary(), before.replicas()[0], before.replicas()[1]
	keeps := func(what string) bool {
		return l.superuser(primary, "SELECT restart_lsn IS NOT NULL AND "+what+" FROM pg_catalog.pg_replication_slots WHERE slot_name = '"+away+"'") == "t"
	}
	l.eventually("the slot to keep rows for the replica's queries", 20*time.Second, func() bool { return keeps("xmin IS NOT NULL") })
	l.superuser(primary, "CHECKPOINT") // what the replica can make one of its own at
	l.says(away, 0, "systemctl stop patroni")
	// A reboot, and whoever stops Patroni, finds little left to write.
	if said := l.sh(away, `journalctl -u patroni -o cat | grep -oE 'restartpoint starting: .*|received fast shutdown request' | tail -n 3`); !strings.HasSuffix(strings.TrimSpace(said), " wait\nreceived fast shutdown request") {
		l.Errorf("no checkpoint of its own came before the stop:\n%s", said)
	}
	if keeps("xmin IS NULL") {
		l.Error("the slot keeps no rows, and the replica has only just stopped: what this test looks for cannot be seen")
	}
	l.says(away, 3, "pgha doctor", "patroni.service does not run", "mend: systemctl start patroni")
	for range 9 {
		l.superuser(primary, "SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()")
	}
	l.eventually("doctor to name the slot", 20*time.Second, func() bool {
		out, code := l.exec(primary, "pgha", "doctor")
		return code == 3 && strings.Contains(out, "the slot "+away+" keeps ") && strings.Contains(out, "mend: on "+away+": systemctl restart patroni")
	})
	// One thing at a time, also where that one waits; ended, it leaves nothing behind.
	l.says(primary, 0, "pgha switchover --timeout 1m --to "+away+" >/run/switchover 2>&1 & p=$!; "+
		"timeout 30 sh -c 'until pgha status | grep -q \": switchover, since\"; do sleep 0.2; done'; "+
		"pgha reinit "+away+" && exit 9; kill $p; wait $p && exit 9; cat /run/switchover; "+
		"timeout 90 sh -c 'while pgha status | grep -q \": switchover, since\"; do sleep 1; done'", // at most a lease of etcd
		"this is at work: "+primary+": switchover, since ")
	l.says(primary, 1, "pgha switchover --timeout 3s --to "+away, "nothing was changed")
	l.says(primary, 1, "pgha restart --timeout 3s", "nothing was begun")
	l.eventually("the other replica to be the last", 20*time.Second, func() bool {
		out, code := l.exec(primary, "sh", "-c", "pgha reinit "+other+" 2>&1")
		return code == 1 && strings.Contains(out, "--even-the-last-copy")
	})
	l.eventually("the slot to keep WAL and no rows", 3*time.Minute, func() bool { return keeps("xmin IS NULL") })
	l.says(away, 0, "systemctl restart patroni")
	l.healthy(time.Minute)
	l.eventually("the slot to keep rows for the replica's queries again", 20*time.Second, func() bool { return keeps("xmin IS NOT NULL") })
	l.says(primary, 1, "pgha reinit "+primary, "it is the primary")
	made := "stat -c %w /var/lib/postgresql/*/main/PG_VERSION"
	was := l.sh(away, made)
	l.says(primary, 0, "pgha reinit "+away, away+" streams after")
	if l.sh(away, made) == was {
		l.Errorf("the data of %s is the old one", away)
	}
}

type finding struct {
	Check, What string
	Mend        []string
}

// isHostsDisk tells that doctor has found a file system that is nearly full: the machines' is this host's.
func isHostsDisk(what string) bool { return strings.Contains(what, " % full, ") }

// doctor is what `pgha doctor` finds, but for the disk.
func (l *lab) doctor(machine string) (found []finding) {
	l.Helper()
	began := time.Now()
	out, code := l.exec(machine, "sh", "-c", "pgha doctor --json 2>/dev/null")
	if took := time.Since(began); took > 15*time.Second*slow { // it waits for nobody who is silent
		l.Errorf("doctor took %s", took)
	}
	out = out[:strings.LastIndex(out, "]")+1]
	if err := json.Unmarshal([]byte(out), &found); err != nil || (code == 3) != (len(found) > 0) {
		l.Fatalf("%s: pgha doctor: exit code %d, %v\n%s", machine, code, err, out)
	}
	return slices.DeleteFunc(found, func(f finding) bool { return isHostsDisk(f.What) })
}

// nothingFound waits until doctor finds nothing on the machines.
func (l *lab) nothingFound(machines ...string) {
	l.Helper()
	for _, m := range machines {
		var found []finding
		l.eventually("doctor to find nothing on "+m, 30*time.Second, func() bool {
			found = l.doctor(m)
			if len(found) > 0 {
				l.Logf("%s: %+v", m, found)
			}
			return len(found) == 0
		})
	}
}

// brokenAndMended breaks a replica and the proxy in many ways, and does what doctor says until it says nothing.
func (l *lab) brokenAndMended() {
	m := l.healthy(time.Minute).replicas()[0]
	for _, tt := range []struct{ breaks, check, what, mend string }{
		{"systemctl stop etcd", "units", "etcd.service does not run", "systemctl start etcd"},
		{"systemctl mask --now chrony", "units", "chrony.service is masked", "systemctl unmask chrony"},
		{"printf '[Service]\\nExecStart=/usr/bin/test -e /run/fixed\\n' >/run/systemd/system/nightly.service; systemctl daemon-reload; systemctl start nightly; timeout 60 sh -c 'until systemctl is-failed -q nightly; do sleep 0.1; done'; touch /run/fixed", "units", "nightly.service has failed", "systemctl restart nightly"},
		{"mkdir -p /etc/systemd/system/etcd.service.d; printf '[Service]\\nRestart=no\\n' >/etc/systemd/system/etcd.service.d/x.conf; systemctl daemon-reload", "units", "etcd.service has Restart=no", "systemctl revert etcd"},
		{"chmod 644 /etc/pgha/tls/etcd-client.key", "secrets", "/etc/pgha/tls/etcd-client.key has the mode 0644", "chmod 600 /etc/pgha/tls/etcd-client.key"},
		{"chmod 644 /etc/patroni/config.yml", "files", "/etc/patroni/config.yml: mode 0644 would be 0600", "pgha apply"},
		{"echo '# mine' >>/etc/default/etcd", "files", "/etc/default/etcd is not as pgha writes it", "pgha apply"},
		{"rm /etc/sysctl.d/60-pgha.conf", "files", "/etc/sysctl.d/60-pgha.conf is missing", "pgha apply"},
		{"nft delete table inet pgha", "firewall", "packet filter is not loaded", "systemctl restart pgha-firewall"},
		{"echo 'local all all trust' >>/var/lib/postgresql/17/main/pg_hba.conf; runuser -u postgres -- psql -qc 'SELECT pg_reload_conf()'", "access", "lets people in without a password", "sed -i"},
		{"runuser -u postgres -- patronictl -c /etc/patroni/config.yml edit-config --force --quiet --pg wal_keep_size=2GB --set loop_wait=7", "settings", "loop_wait is 7, and should be 5", "--set 'loop_wait=5'"},
		{"runuser -u postgres -- patronictl -c /etc/patroni/config.yml edit-config --force --quiet --pg work_mem=64mb", "settings", "work_mem is 4096 kB, and should be 64mb", "--pg work_mem=null"},
		{"echo \"statement_timeout = '1h'\" >>/var/lib/postgresql/17/main/postgresql.auto.conf; runuser -u postgres -- patronictl -c /etc/patroni/config.yml edit-config --force --quiet --pg statement_timeout=2h; runuser -u postgres -- psql -qc 'SELECT pg_reload_conf()'", "settings", "statement_timeout is 1h, and should be 2h", "sed -i '/^statement_timeout *=/d'"},
		// The last: PostgreSQL is away for a moment.
		{"touch /usr/lib/pgha/pgha_corrections.py", "patroni", "was started before the corrections", "systemctl restart patroni"},
		{"mkdir -p /etc/systemd/system/patroni.service.d; printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/patroni /etc/patroni/config.yml\\n' >/etc/systemd/system/patroni.service.d/x.conf; systemctl daemon-reload; systemctl restart patroni", "patroni", "somebody changed patroni.service", "systemctl revert patroni"},
	} {
		l.says(m, 0, tt.breaks)
		var found []finding
		l.eventually(tt.what, 20*time.Second, func() bool {
			found = l.doctor(m)
			return slices.ContainsFunc(found, func(f finding) bool {
				return f.Check == tt.check && strings.Contains(f.What, tt.what) && slices.ContainsFunc(f.Mend, func(s string) bool { return strings.HasPrefix(s, tt.mend) || strings.Contains(s, tt.mend) })
			})
		})
	}
	// The worst that can be: without a seed, without Patroni, without etcd it still says what it sees.
	l.says(m, 3, "systemctl stop patroni; mv /etc/pgha/cluster.yaml /etc/pgha/cluster.old; pgha doctor", "/etc/pgha/cluster.yaml is missing", "patroni.service does not run", "etcd.service does not run")
	l.says(m, 0, "mv /etc/pgha/cluster.old /etc/pgha/cluster.yaml")
	l.says("proxy1", 0, "systemctl stop haproxy")
	l.says("proxy1", 3, "pgha doctor", "haproxy.service does not run", "mend: systemctl start haproxy")
	l.mend("proxy1")
	l.mend(m)
	l.healthy(time.Minute)
	l.mend(m) // what PostgreSQL runs with is seen once it runs
	l.nothingFound(append(slices.Clone(members), "proxy1")...)
}

// mend does on a machine what doctor says there, once.
func (l *lab) mend(machine string) {
	l.Helper()
	for _, f := range l.doctor(machine) {
		for _, command := range f.Mend {
			on := machine
			if rest, ok := strings.CutPrefix(command, "on "); ok {
				on, command, _ = strings.Cut(rest, ": ")
			}
			if strings.Contains(command, "    #") || strings.HasPrefix(command, "pgha diff") || strings.HasPrefix(command, "pgha doctor") {
				continue // for when a person sees that it is needed; or they only say what is wrong
			}
			l.says(on, 0, command)
		}
	}
}
