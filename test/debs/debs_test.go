// Package debs installs, upgrades, removes and purges pgbake's packages on clean Debian machines.
package debs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/packages"
)

var epoch = time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC)

// releases are the machines' Debian, with the PostgreSQL that each has itself.
var releases = []struct {
	name     string
	postgres string
}{
	{"bookworm", "15"},
	{"trixie", "17"},
}

// TestDebs takes one machine of each release through the life of the packages. Each step finds what the one before left.
func TestDebs(t *testing.T) {
	need(t)
	old, next := archive(t, "1.0.0"), archive(t, "1.1.0")
	debs, err := filepath.Glob(old + "/pool/*.deb")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range releases {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			l := &life{machine: newMachine(t, root(t, r.name, debs)), postgres: r.postgres}
			l.bring(t, old, "/repo/old")
			l.bring(t, next, "/repo/next")
			l.boot()
			for _, step := range []struct {
				name string
				run  func(*life, *testing.T)
			}{
				{"install", (*life).install},
				{"first boot", (*life).firstBoot},
				{"firewall", (*life).firewall},
				{"haproxy starts", (*life).haproxyStarts},
				{"haproxy reloads", (*life).haproxyReloads},
				{"patroni starts", (*life).patroniStarts},
				{"patroni is killed", (*life).patroniKilled},
				{"patroni is paused", (*life).patroniPaused},
				{"patroni hangs in stop", (*life).patroniHangs},
				{"upgrade", (*life).upgrade},
				{"remove", (*life).remove},
				{"purge", (*life).purge},
				{"stock cluster", (*life).stock},
			} {
				if !t.Run(step.name, func(t *testing.T) { l.t = t; step.run(l, t) }) {
					t.Fatalf("the later steps need %q", step.name)
				}
			}
		})
	}
}

// need skips where machines cannot run, and fails where they must.
func need(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no machines")
	}
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, name := range []string{"mmdebstrap", "systemd-nspawn", "nsenter", "unshare", "apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) == 0:
	case os.Getenv("CI") == "true":
		t.Fatalf("machines need %s", strings.Join(missing, ", "))
	default:
		t.Skipf("machines need %s", strings.Join(missing, ", "))
	}
}

// archive builds the real packages into a signed repository.
func archive(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	agent := filepath.Join(dir, "pgha")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -X main.version="+version, "-o", agent, "../../cmd/pgha")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	body, err := os.ReadFile(agent) //nolint:gosec // just built
	if err != nil {
		t.Fatal(err)
	}
	arch, err := exec.CommandContext(t.Context(), "dpkg", "--print-architecture").Output()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := packages.Build(context.Background(), packages.Options{
		Version: version, Arch: strings.TrimSpace(string(arch)), Agent: body, Out: filepath.Join(dir, "debs"), Time: epoch,
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := packages.EnsureKey(filepath.Join(dir, "key"), epoch)
	if err != nil {
		t.Fatal(err)
	}
	repo := filepath.Join(dir, "repo")
	if err := packages.Repository(context.Background(), repo, paths, key, epoch); err != nil {
		t.Fatal(err)
	}
	return repo
}

// life is a machine with the packages' history on it.
type life struct {
	*machine
	postgres   string // major version
	postmaster string // pid on the machine
}

// bring copies a directory of the host onto the disk of a machine that is off.
func (l *life) bring(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(filepath.Join(l.disk, "upper", to), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// apt runs apt-get against one of the two repositories and returns what it said.
func (l *life) apt(t *testing.T, repo, command string) string {
	t.Helper()
	return l.sh(t, fmt.Sprintf(`
		echo 'deb [signed-by=/repo/%[1]s/pgbake.asc] file:/repo/%[1]s stable main' >/etc/apt/sources.list.d/pgbake.list
		apt-get update --quiet=2 -o Dir::Etc::sourcelist=sources.list.d/pgbake.list -o Dir::Etc::sourceparts=/dev/null -o APT::Get::List-Cleanup=0
		apt-get --quiet --yes --no-install-recommends -o Dpkg::Use-Pty=0 %[2]s 2>&1`, repo, command))
}

// nothingListens checks that nobody can reach anything before "pgha apply", though an image would have it.
func (l *life) nothingListens(t *testing.T) {
	t.Helper()
	if got := l.sh(t, `ss -Hltnp | grep -E ':(2379|2380|5432|5433|8008|5000|5001|7000) ' || :`); got != "" {
		t.Errorf("something listens before pgha apply:\n%s", got)
	}
	for _, unit := range []string{"etcd", "patroni", "haproxy", "keepalived", "pgha-firewall"} {
		if got := l.sh(t, "systemctl show --value -p ActiveState "+unit); got != "inactive" {
			t.Errorf("%s.service is %s before pgha apply", unit, got)
		}
	}
	for _, unit := range []string{"etcd", "patroni", "haproxy", "keepalived", "pgha-firewall", "pgha-apply"} {
		if got := l.sh(t, "systemctl is-enabled "+unit); got != "enabled" {
			t.Errorf("%s.service is %s: an image would not have it", unit, got)
		}
	}
	if got := l.sh(t, "pg_lsclusters --no-header; ls -A /var/lib/postgresql /etc/postgresql /var/lib/etcd"); got != "/etc/postgresql:\n\n/var/lib/etcd:\n\n/var/lib/postgresql:" {
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
		if got := l.sh(t, "stat -c '%a %U:%G' "+path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if got := l.sh(t, "pgha version"); !strings.Contains(got, "1.0.0") {
		t.Errorf("pgha version says %q", got)
	}
	// systemd reads a drop-in with a mistake in it, and only complains.
	got := l.sh(t, "cd /usr/lib/systemd/system; systemd-analyze verify --man=no pgha-apply.service pgha-firewall.service etcd.service patroni.service haproxy.service keepalived.service 2>&1 | grep pgha || :")
	if got != "" {
		t.Errorf("systemd-analyze verify:\n%s", got)
	}
	// Debian 12's udevadm cannot verify.
	if _, err := l.try("udevadm", "verify", "--help"); err == nil {
		l.sh(t, "udevadm verify /usr/lib/udev/rules.d/60-pgha-watchdog.rules")
	}
}

// firstBoot: an image that was made with the packages in it boots for the first time, without a seed: it says so,
// starts nothing, and nothing else fails.
func (l *life) firstBoot(t *testing.T) {
	l.off()
	l.boot()
	l.nothingListens(t)
	if got := l.sh(t, "systemctl --failed --plain --no-legend | cut -d ' ' -f 1"); got != "pgha-apply.service" {
		t.Errorf("failed units:\n%s", got)
	}
	console, err := os.ReadFile(filepath.Join(l.disk, "console"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(console), "/etc/pgha/cluster.yaml is missing"); n != 1 {
		t.Errorf("the console says %d times that there is no seed:\n%s", n, console)
	}
}

// firewall: our table comes and goes alone, and outlives Debian's nftables.service, which flushes every table.
func (l *life) firewall(t *testing.T) {
	l.sh(t, `
		printf 'table inet pgha\ndelete table inet pgha\ntable inet pgha { chain input { type filter hook input priority 0; tcp dport 9 drop; }; }\n' >/etc/pgha/firewall.nft
		touch /var/lib/pgha/configured
		nft add table inet theirs
		systemctl start pgha-firewall
		nft list table inet pgha`)
	for _, verb := range []string{"start", "reload", "restart", "stop"} {
		l.sh(t, "systemctl "+verb+" nftables")
		l.until("the firewall outlives "+verb+" of nftables.service", func() error {
			_, err := l.try("nft", "list", "table", "inet", "pgha")
			return err
		})
	}
	got := l.sh(t, `
		nft add table inet theirs
		systemctl stop pgha-firewall
		nft list tables
		rm /etc/pgha/firewall.nft`)
	if strings.Contains(got, "pgha") || !strings.Contains(got, "theirs") {
		t.Errorf("after the firewall was stopped there are the tables %q", got)
	}
}

// upgrade replaces the agent under a running database, and keeps what the administrator changed.
func (l *life) upgrade(t *testing.T) {
	const conf = "/etc/postgresql-common/createcluster.d/pgha.conf"
	l.sh(t, "echo '# mine' >>"+conf+"; systemctl disable --quiet pgha-apply")
	etcd := l.sh(t, "systemctl show --value -p MainPID etcd patroni haproxy")
	l.apt(t, "next", "install pgha-node pgha-proxy")
	if got := l.sh(t, "pgha version"); !strings.Contains(got, "1.1.0") {
		t.Errorf("pgha version says %q", got)
	}
	if got := l.sh(t, "tail -n 1 "+conf); got != "# mine" {
		t.Errorf("%s lost what was changed: %q", conf, got)
	}
	if got, _ := l.try("systemctl", "is-enabled", "pgha-apply"); strings.TrimSpace(got) != "disabled" { //nolint:errcheck // it fails when disabled
		t.Errorf("pgha-apply was disabled and is %s", got)
	}
	l.apt(t, "next", "install --reinstall pgha-common pgha-node pgha-proxy")
	if got := l.sh(t, "systemctl show --value -p MainPID etcd patroni haproxy"); got != etcd {
		t.Errorf("services were restarted: processes %q before, %q after", etcd, got)
	}
	l.sameDatabase(t)
}

func (l *life) remove(t *testing.T) {
	before := l.sh(t, "systemctl show --value -p MainPID etcd patroni haproxy")
	out := l.apt(t, "next", "remove pgha-common")
	for _, want := range []string{"PostgreSQL, Patroni and etcd go on running", "HAProxy and keepalived go on running"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if got := l.sh(t, "systemctl show --value -p MainPID etcd patroni haproxy"); got != before {
		t.Errorf("removing stopped something: processes %q before, %q after", before, got)
	}
	l.sameDatabase(t)
	if got := l.sh(t, "systemctl show -p DropInPaths patroni etcd haproxy | grep pgha || :"); got != "" {
		t.Errorf("drop-ins of a removed package: %s", got)
	}
}

func (l *life) purge(t *testing.T) {
	l.sh(t, "mkdir -p /etc/chrony/conf.d /etc/pgha; touch /etc/pgha/secrets.yaml /etc/chrony/conf.d/pgha.conf")
	l.apt(t, "next", "purge pgha-common pgha-node pgha-proxy")
	l.sameDatabase(t)
	if got := l.sh(t, "systemctl is-active etcd patroni"); got != "active\nactive" {
		t.Errorf("etcd and Patroni are %q", got)
	}
	left := l.sh(t, `find /etc /usr /var /run -path /var/log -prune -o -path /var/lib/apt -prune -o -name '*pgha*' -print`)
	if left != "" {
		t.Errorf("left behind:\n%s", left)
	}
	if got := l.sh(t, "dpkg-query -W -f '${db:Status-Abbrev}' pgha-common pgha-node pgha-proxy 2>/dev/null || :"); strings.Contains(got, "c") || strings.Contains(got, "i") {
		t.Errorf("dpkg still has them: %q", got)
	}
	for _, dir := range []string{"/var/lib/postgresql/" + l.postgres + "/main/base", "/var/lib/etcd/default/member", "/etc/patroni/config.yml"} {
		l.sh(t, "test -e "+dir)
	}
}

// stock installs over a cluster that Debian's tools made and an etcd that serves somebody.
func (l *life) stock(t *testing.T) {
	l.sh(t, fmt.Sprintf(`
		systemctl disable --quiet --now patroni
		pg_createcluster --port 5433 --start %s main2 >/dev/null
		runuser -u postgres -- psql -p 5433 -qc 'create table mine (x int); insert into mine values (42)'`, l.postgres))
	postmaster := l.sh(t, "head -n 1 /var/lib/postgresql/"+l.postgres+"/main2/postmaster.pid")
	etcd := l.sh(t, "systemctl show --value -p MainPID etcd")
	out := l.apt(t, "old", "install pgha-node")
	want := fmt.Sprintf("pgha-node: found, and left alone: PostgreSQL cluster %s/main2; etcd data in /var/lib/etcd/default.", l.postgres)
	if !strings.Contains(out, want) {
		t.Errorf("it does not say %q:\n%s", want, out)
	}
	if got := l.sh(t, "runuser -u postgres -- psql -p 5433 -Atc 'select x from mine'"); got != "42" {
		t.Errorf("the stock cluster has %q", got)
	}
	if got := l.sh(t, "head -n 1 /var/lib/postgresql/"+l.postgres+"/main2/postmaster.pid"); got != postmaster {
		t.Errorf("the stock cluster was restarted")
	}
	if got := l.sh(t, "systemctl show --value -p MainPID etcd"); got != etcd {
		t.Errorf("the stock etcd was restarted")
	}
}

// sameDatabase checks that PostgreSQL was neither stopped nor restarted.
func (l *life) sameDatabase(t *testing.T) {
	t.Helper()
	if got := l.pid(t); got != l.postmaster {
		t.Errorf("PostgreSQL's process was %s and is %s", l.postmaster, got)
	}
	if got := l.sh(t, `runuser -u postgres -- psql -Atc 'select pg_is_in_recovery()'`); got != "f" {
		t.Errorf("PostgreSQL answers %q", got)
	}
}
