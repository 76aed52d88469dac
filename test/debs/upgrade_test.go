package debs

import (
	"fmt"
	"strings"
	"testing"
)

// upgrade replaces the agent under a running database, and keeps what the administrator changed.
func (l *life) upgrade(t *testing.T) {
	const conf = "/etc/postgresql-common/createcluster.d/pgha.conf"
	l.Sh(t, "echo '# mine' >>"+conf+"; systemctl disable --quiet pgha-apply")
	etcd := l.Sh(t, "systemctl show --value -p MainPID etcd patroni haproxy")
	l.apt(t, "next", "install pgha-node pgha-proxy")
	if got := l.Sh(t, "pgha version"); !strings.Contains(got, "1.1.0") {
		t.Errorf("pgha version says %q", got)
	}
	if got := l.Sh(t, "tail -n 1 "+conf); got != "# mine" {
		t.Errorf("%s lost what was changed: %q", conf, got)
	}
	if got, _ := l.Try("systemctl", "is-enabled", "pgha-apply"); strings.TrimSpace(got) != "disabled" {
		t.Errorf("pgha-apply was disabled and is %s", got)
	}
	l.apt(t, "next", "install --reinstall pgha-common pgha-node pgha-proxy")
	if got := l.Sh(t, "systemctl show --value -p MainPID etcd patroni haproxy"); got != etcd {
		t.Errorf("services were restarted: processes %q before, %q after", etcd, got)
	}
	l.sameDatabase(t)
}

func (l *life) remove(t *testing.T) {
	before := l.Sh(t, "systemctl show --value -p MainPID etcd patroni haproxy")
	out := l.apt(t, "next", "remove pgha-common")
	for _, want := range []string{"PostgreSQL, Patroni and etcd go on running", "HAProxy and keepalived go on running"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if got := l.Sh(t, "systemctl show --value -p MainPID etcd patroni haproxy"); got != before {
		t.Errorf("removing stopped something: processes %q before, %q after", before, got)
	}
	l.sameDatabase(t)
	if got := l.Sh(t, "systemctl show -p DropInPaths patroni etcd haproxy | grep pgha || :"); got != "" {
		t.Errorf("drop-ins of a removed package: %s", got)
	}
}

func (l *life) purge(t *testing.T) {
	l.Sh(t, "mkdir -p /etc/chrony/conf.d /etc/pgha; touch /etc/pgha/secrets.yaml /etc/chrony/conf.d/pgha.conf")
	l.apt(t, "next", "purge pgha-common pgha-node pgha-proxy")
	l.sameDatabase(t)
	if got := l.Sh(t, "systemctl is-active etcd patroni"); got != "active\nactive" {
		t.Errorf("etcd and Patroni are %q", got)
	}
	left := l.Sh(t, `find /etc /usr /var /run -path /var/log -prune -o -path /var/lib/apt -prune -o -path '/etc/apt/sources.list.d/pgbake.list' -o '(' -name '*pgha*' -o -name '*pgbake*' ')' -print`)
	if left != "" {
		t.Errorf("left behind:\n%s", left)
	}
	if got := l.Sh(t, "dpkg-query -W -f '${db:Status-Abbrev}' pgha-common pgha-node pgha-proxy 2>/dev/null || :"); strings.Contains(got, "c") || strings.Contains(got, "i") {
		t.Errorf("dpkg still has them: %q", got)
	}
	for _, dir := range []string{"/var/lib/postgresql/" + l.postgres + "/main/base", "/var/lib/etcd/default/member", "/etc/patroni/config.yml"} {
		l.Sh(t, "test -e "+dir)
	}
}

// stock installs over a cluster that Debian's tools made and an etcd that serves somebody.
func (l *life) stock(t *testing.T) {
	l.Sh(t, fmt.Sprintf(`
		systemctl disable --quiet --now patroni
		pg_createcluster --port 5433 --start %s main2 >/dev/null
		runuser -u postgres -- psql -p 5433 -qc 'create table mine (x int); insert into mine values (42)'`, l.postgres))
	postmaster := l.Sh(t, "head -n 1 /var/lib/postgresql/"+l.postgres+"/main2/postmaster.pid")
	etcd := l.Sh(t, "systemctl show --value -p MainPID etcd")
	out := l.apt(t, "old", "install pgha-node")
	want := fmt.Sprintf("pgha-node: found, and left alone: PostgreSQL cluster %s/main2; etcd data in /var/lib/etcd/default.", l.postgres)
	if !strings.Contains(out, want) {
		t.Errorf("it does not say %q:\n%s", want, out)
	}
	if got := l.Sh(t, "runuser -u postgres -- psql -p 5433 -Atc 'select x from mine'"); got != "42" {
		t.Errorf("the stock cluster has %q", got)
	}
	if got := l.Sh(t, "head -n 1 /var/lib/postgresql/"+l.postgres+"/main2/postmaster.pid"); got != postmaster {
		t.Errorf("the stock cluster was restarted")
	}
	if got := l.Sh(t, "systemctl show --value -p MainPID etcd"); got != etcd {
		t.Errorf("the stock etcd was restarted")
	}
}

// sameDatabase checks that PostgreSQL was neither stopped nor restarted.
func (l *life) sameDatabase(t *testing.T) {
	t.Helper()
	if got := l.pid(t); got != l.postmaster {
		t.Errorf("PostgreSQL's process was %s and is %s", l.postmaster, got)
	}
	if got := l.Sh(t, `runuser -u postgres -- psql -Atc 'select pg_is_in_recovery()'`); got != "f" {
		t.Errorf("PostgreSQL answers %q", got)
	}
}
