package debs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nothingListens checks that nobody can reach anything before "pgha apply", though an image would have it.
func (l *life) nothingListens(t *testing.T) {
	t.Helper()
	if got := l.Sh(t, `ss -Hltnp | grep -E ':(2379|2380|5432|5433|8008|5000|5001|7000) ' || :`); got != "" {
		t.Errorf("something listens before pgha apply:\n%s", got)
	}
	for _, unit := range []string{"etcd", "patroni", "haproxy", "keepalived", "pgha-firewall"} {
		if got := l.Sh(t, "systemctl show --value -p ActiveState "+unit); got != "inactive" {
			t.Errorf("%s.service is %s before pgha apply", unit, got)
		}
	}
	for _, unit := range []string{"etcd", "patroni", "haproxy", "keepalived", "pgha-firewall", "pgha-apply", "pgha-updates.timer"} {
		if got := l.Sh(t, "systemctl is-enabled "+unit); got != "enabled" {
			t.Errorf("%s is %s: an image would not have it", unit, got)
		}
	}
	if got := l.Sh(t, "pg_lsclusters --no-header; ls -A /var/lib/postgresql /etc/postgresql /var/lib/etcd"); got != "/etc/postgresql:\n\n/var/lib/etcd:\n\n/var/lib/postgresql:" {
		t.Errorf("there is a cluster before pgha apply:\n%s", got)
	}
}

func (l *life) install(t *testing.T) {
	out := l.apt(t, "old", "install pgha-node pgha-proxy")
	if strings.Contains(out, "left alone") {
		t.Errorf("it says that something was here before:\n%s", out)
	}
	l.nothingListens(t)
	for path, want := range map[string]string{
		"/usr/bin/pgha": "755 root:root", "/etc/pgha": "755 root:root", "/var/lib/pgha": "755 root:root",
		"/usr/lib/pgha/post-bootstrap": "755 root:root", "/usr/lib/pgha/patroni-stopped": "755 root:root", "/usr/lib/pgha/haproxy-state": "755 root:root",
		"/usr/lib/systemd/system/patroni.service.d/10-pgha.conf": "644 root:root", "/etc/postgresql-common/createcluster.d/pgha.conf": "644 root:root",
	} {
		if got := l.Sh(t, "stat -c '%a %U:%G' "+path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if got := l.Sh(t, "pgha version"); !strings.Contains(got, "1.0.0") {
		t.Errorf("pgha version says %q", got)
	}
	// systemd reads a drop-in with a mistake in it, and only complains.
	got := l.Sh(t, "cd /usr/lib/systemd/system; systemd-analyze verify --man=no pgha-apply.service pgha-firewall.service etcd.service patroni.service haproxy.service keepalived.service pgha-follow.service pgha-monitor.service pgha-backup.service pgha-proof.service pgha-recopy.service pgha-data-disk.service pgha-restore.service pgha-stop.service pgha-archive.service pgha-room.service pgha-updates.service pgha-updates.timer 2>&1 | grep pgha || :")
	if got != "" {
		t.Errorf("systemd-analyze verify:\n%s", got)
	}
	// Debian 12's udevadm cannot verify.
	if _, err := l.Try("udevadm", "verify", "--help"); err == nil {
		l.Sh(t, "udevadm verify /usr/lib/udev/rules.d/60-pgha-watchdog.rules")
	}
}

// firstBoot: an image that was made with the packages in it boots for the first time, without a seed: it says so,
// starts nothing, and nothing else fails.
func (l *life) firstBoot(t *testing.T) {
	l.Off()
	l.boot()
	l.nothingListens(t)
	if got := l.Sh(t, "systemctl --failed --plain --no-legend | cut -d ' ' -f 1"); got != "pgha-apply.service" {
		t.Errorf("failed units:\n%s", got)
	}
	console, err := os.ReadFile(filepath.Join(l.Disk, "console"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(console), "/etc/pgha/cluster.yaml is missing"); n != 1 {
		t.Errorf("the console says %d times that there is no seed:\n%s", n, console)
	}
}

// firewall: our table comes and goes alone, and outlives Debian's nftables.service, which flushes every table.
func (l *life) firewall(t *testing.T) {
	l.Sh(t, `
		printf 'table inet pgha\ndelete table inet pgha\ntable inet pgha { chain input { type filter hook input priority 0; tcp dport 9 drop; }; }\n' >/etc/pgha/firewall.nft
		touch /var/lib/pgha/configured
		nft add table inet theirs
		systemctl start pgha-firewall
		nft list table inet pgha`)
	for _, verb := range []string{"start", "reload", "restart", "stop"} {
		l.Sh(t, "systemctl "+verb+" nftables")
		l.until("the firewall outlives "+verb+" of nftables.service", func() error {
			_, err := l.Try("nft", "list", "table", "inet", "pgha")
			return err
		})
	}
	// A stop finds a reload at work, which may be one that nftables.service has asked for.
	got := l.Sh(t, `
		nft add table inet theirs
		drop=/run/systemd/system/pgha-firewall.service.d
		mkdir -p $drop
		printf '[Service]\nExecReload=\nExecReload=/bin/sleep 60\n' >$drop/slow.conf
		systemctl daemon-reload
		systemctl reload --no-block pgha-firewall
		for i in $(seq 600); do [ "$(systemctl is-active pgha-firewall)" != reloading ] || break; sleep 0.05; done
		systemctl is-active pgha-firewall
		systemctl stop pgha-firewall
		nft list tables
		rm -r $drop /etc/pgha/firewall.nft
		systemctl daemon-reload`)
	if !strings.HasPrefix(got, "reloading\n") {
		t.Errorf("it was not stopped amid a reload: %q", got)
	}
	if strings.Contains(got, "pgha") || !strings.Contains(got, "theirs") {
		t.Errorf("after the firewall was stopped there are the tables %q", got)
	}
}
