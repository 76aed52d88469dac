package debs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// upgraders are the programs that upgrade and restart by themselves. Debian's cloud images bring the first one.
var upgraders = []string{"unattended-upgrades", "needrestart"}

// empty makes packages that hold nothing.
const empty = `
	deb() { # name, version, directory, what it depends on or nothing
		mkdir -p "/tmp/deb/DEBIAN" "$3"
		printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: m <m@example.org>\n%sDescription: trap\n' "$1" "$2" "${4:+Depends: $4
}" >/tmp/deb/DEBIAN/control
		dpkg-deb --build /tmp/deb "$3/$1.deb" >/dev/null
		rm -r /tmp/deb
	}
	entry() { # a package's file, where it lies from the archive's top
		dpkg-deb --field $1
		printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' $2 $(stat -c %s $1) $(sha256sum $1 | cut -d ' ' -f 1)
	}
`

// trap is an archive, made on the machine, with a newer version of packages that hold nothing, and innocent 1 installed.
const trap = empty + `
	deb innocent 1 /tmp
	dpkg --install /tmp/innocent.deb
	for name in innocent $names; do
		deb $name 999:1 /repo/trap
		entry /repo/trap/$name.deb ./$name.deb
	done >/tmp/Packages
	mv /tmp/Packages /repo/trap/
	echo 'deb [trusted=yes] file:/repo/trap ./' >/etc/apt/sources.list.d/trap.list
	apt-get update --quiet=2 -o Dir::Etc::sourcelist=sources.list.d/trap.list -o Dir::Etc::sourceparts=/dev/null -o APT::Get::List-Cleanup=0
`

// upgrader: unattended-upgrades, set by its owner to take everything and to reboot, upgrades what is not the cluster's.
func (l *life) upgrader(t *testing.T) {
	l.apt(t, "old", "install "+strings.Join(upgraders, " "))
	names := "patroni python3-etcd etcd-server etcd-client haproxy keepalived postgresql-common pgha-common pgha-node pgha-proxy postgresql-" + l.postgres
	before := l.Sh(t, "systemctl show --value -p MainPID etcd patroni haproxy; dpkg-query -W "+names)
	out := l.Sh(t, "names='"+names+"'\n"+trap+`
		# Its owner's, which Debian's own file bids to change.
		cat >/etc/apt/apt.conf.d/50unattended-upgrades <<-'EOF'
			Unattended-Upgrade::Origins-Pattern { "origin=*"; };
			Unattended-Upgrade::Automatic-Reboot "true";
			Unattended-Upgrade::Automatic-Reboot-Time "+60";
		EOF
		apt-get --simulate dist-upgrade | grep '^Inst' >&2
		touch /run/reboot-required
		unattended-upgrade --verbose 2>&1
		rm /run/reboot-required`)
	if got := l.Sh(t, "dpkg-query -W -f '${Version}' innocent"); got != "999:1" {
		t.Errorf("innocent is %s: this test proves nothing:\n%s", got, out)
	}
	if after := l.Sh(t, "systemctl show --value -p MainPID etcd patroni haproxy; dpkg-query -W "+names); after != before {
		t.Errorf("before:\n%s\nafter:\n%s\n%s", before, after, out)
	}
	if got := l.Sh(t, "ls /run/systemd/shutdown 2>/dev/null || :"); got != "" {
		t.Errorf("a reboot is scheduled: %s", got)
	}
	l.Sh(t, "rm -r /etc/apt/sources.list.d/trap.list /repo/trap; apt-get --quiet --yes purge innocent")
	l.sameDatabase(t)
}

// securityUpdates: what waits in a security archive is found and noted, and what waits in another is not taken for it.
// Archives that do not answer, and a machine that knows no security archive, are noted as well, and fail no unit.
func (l *life) securityUpdates(t *testing.T) {
	scheduled := func() string {
		t.Helper()
		return l.Sh(t, `
			touch /var/lib/pgha/configured
			systemctl start pgha-updates.service
			cat /var/lib/pgha/updates.json`)
	}
	l.Sh(t, `
		mkdir -p /root/sources
		mv /etc/apt/sources.list* /root/sources/
		mkdir /etc/apt/sources.list.d
		echo 'deb [trusted=yes] http://192.0.2.1/debian stable-security main' >/etc/apt/sources.list.d/stable-security.list`)
	if got := scheduled(); !strings.Contains(got, `"unanswered"`) || !strings.Contains(got, "apt-get") {
		t.Errorf("archives do not answer, and the note is %s", got)
	}
	if out, err := l.Try("pgha", "updates"); err == nil || !strings.Contains(out, "pgha: updates: ") {
		t.Errorf("archives do not answer, and pgha updates says %v: %s", err, out)
	}
	l.Sh(t, empty+`
		list=main/binary-$(dpkg --print-architecture)
		for suite in stable stable-security; do
			mkdir -p /repo/fixes/dists/$suite/$list
			echo "deb [trusted=yes] file:/repo/fixes $suite main" >/etc/apt/sources.list.d/$suite.list
		done
		for name in innocent harmless; do
			deb $name 1 /tmp
			dpkg --install /tmp/$name.deb
		done
		deb harmless 2 /repo/fixes/pool
		deb innocent 2 /repo/fixes/pool brought # as a kernel's is, it is a new package
		deb brought 1 /repo/fixes/pool
		entry /repo/fixes/pool/harmless.deb pool/harmless.deb >/repo/fixes/dists/stable/$list/Packages
		for name in innocent brought; do entry /repo/fixes/pool/$name.deb pool/$name.deb; done >/repo/fixes/dists/stable-security/$list/Packages`)
	if got := scheduled(); !strings.Contains(got, `"waiting":1,"since":`) || !strings.Contains(got, `"packages":{"innocent":`) || strings.Contains(got, "unanswered") {
		t.Errorf("a security update waits, and the note is %s", got)
	}
	if out, err := l.Try("pgha", "updates"); err == nil || strings.TrimSpace(out) != "innocent 1 -> 2" {
		t.Errorf("a security update waits, and pgha updates says %v: %s", err, out)
	}
	l.Sh(t, "rm /etc/apt/sources.list.d/stable-security.list")
	if got := scheduled(); !strings.Contains(got, "apt knows no archive of security updates") {
		t.Errorf("there is no security archive, and the note is %s", got)
	}
	if got := l.Sh(t, "systemctl is-failed pgha-updates.service || :; systemctl is-active pgha-updates.timer"); got != "inactive\nactive" {
		t.Errorf("pgha-updates.service and its timer are %q", got)
	}
	l.Sh(t, `
		dpkg --purge innocent harmless
		rm -r /repo/fixes /etc/apt/sources.list.d /var/lib/pgha/updates.json
		mv /root/sources/* /etc/apt/`)
}

// daily: no timer of apt's makes it do anything.
func (l *life) daily(t *testing.T) {
	for _, unit := range []string{"apt-daily", "apt-daily-upgrade"} {
		got := l.Sh(t, "systemctl is-enabled "+unit+".timer; systemctl start "+unit+".service; systemctl show --value -p ConditionResult "+unit+".service")
		if got != "enabled\nno" {
			t.Errorf("%s: its timer is %q, want enabled, and its service not run", unit, got)
		}
	}
}

// librariesChange: needrestart, told to restart what runs with an old library, restarts what is not the cluster's.
func (l *life) librariesChange(t *testing.T) {
	l.Sh(t, `
		cat >/etc/systemd/system/innocent.service <<-'EOF'
			[Service]
			ExecStart=/usr/bin/python3 -c 'import signal; signal.pause()'
		EOF
		systemctl daemon-reload
		systemctl start innocent`)
	const show = "systemctl show --value -p MainPID etcd patroni haproxy"
	before, innocent := l.Sh(t, show), l.Sh(t, "systemctl show --value -p MainPID innocent")
	out := l.Sh(t, `
		for lib in /usr/lib/*-linux-gnu*/libc.so.6 /usr/lib/*-linux-gnu*/libz.so.1; do
			f=$(readlink -f $lib)
			cp -a $f $f.new
			mv $f.new $f
		done
		needrestart -v -r a -u NeedRestart::UI::stdio 2>&1`)
	if got := l.Sh(t, "systemctl show --value -p MainPID innocent"); got == innocent {
		t.Errorf("innocent.service was not restarted: this test proves nothing:\n%s", out)
	}
	if after := l.Sh(t, show); after != before {
		t.Errorf("services were restarted: processes %q before, %q after:\n%s", before, after, out)
	}
	for _, name := range []string{"patroni.service", "haproxy.service"} {
		if !strings.Contains(out, name) {
			t.Errorf("needrestart does not tell that %s has an old library:\n%s", name, out)
		}
	}
	l.Sh(t, "systemctl stop innocent; rm /etc/systemd/system/innocent.service; systemctl daemon-reload")
	l.sameDatabase(t)
}

// settingsOf are the two conffiles as dpkg and the owner see them.
func settingsOf(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range []string{"/etc/apt/apt.conf.d/52pgbake", "/etc/needrestart/conf.d/50-pgbake.conf"} {
		body, err := os.ReadFile(filepath.Join("../../packages/pgha-common/root", name))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(body)
	}
	return all
}

// overImage: an image of before the package had them holds both files. What nobody changed is replaced without a question,
// what somebody changed stays.
func (l *life) overImage(t *testing.T) {
	const ours, theirs = "/etc/apt/apt.conf.d/52pgbake", "/etc/needrestart/conf.d/50-pgbake.conf"
	l.Sh(t, fmt.Sprintf(`
		mkdir -p /etc/needrestart/conf.d
		cat >%s <<-'EOF'
			// Written by pgbake into the image: the database stack is updated by hand, one machine after the other.
			Unattended-Upgrade::Package-Blacklist { "^postgresql"; "^patroni"; "^etcd"; "^haproxy"; "^keepalived"; "^pgha"; };
			Unattended-Upgrade::Automatic-Reboot "false";
		EOF
		echo '# mine' >%s`, ours, theirs))
	l.apt(t, "old", "-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install pgha-common")
	if got := l.Sh(t, "cat "+ours); got != strings.TrimSpace(settingsOf(t)[ours]) {
		t.Errorf("%s is\n%s", ours, got)
	}
	if got := l.Sh(t, "cat "+theirs); got != "# mine" {
		t.Errorf("%s is\n%s", theirs, got)
	}
	l.apt(t, "old", "purge pgha-common")
}
