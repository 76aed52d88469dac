package lab

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A member and its proxy, whose seeds say something of everything that a seed can.
const initsSpec = `scope: inits
network: 10.0.2.0/24
gateway: 10.0.2.1
name_servers: [10.0.2.2]
debian: 12
failover: safe
nodes:
  - {name: member, address: 10.0.2.11}
proxies:
  - {name: gate, address: 10.0.2.21}
postgres:
  databases:
    - {name: app, owner: app}
  users:
    - name: app
ssh_keys:
  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBEREREREREREREREREREREREREREREREREREREREREA ann@example.org
`

// mayDiffer are paths, as path.Match has them, or with everything below where they end in a slash, that machines of the two inits have differently,
// and why. All else must be the same: paths, modes, owners, contents.
var mayDiffer = []struct{ path, why string }{
	// path                                               why
	{"/etc/cloud/", "cloud-init's"},
	{"/var/lib/cloud/", "cloud-init's"},
	{"/var/log/cloud-init*", "cloud-init's"},
	{"/etc/systemd/system/cloud-config.service", "cloud-init's, masked"},
	{"/etc/systemd/system/cloud-init.target.wants/", "cloud-init's"},
	{"/etc/rc?.d/???cloud-*", "cloud-init's"},
	{"/etc/alternatives/jsondiff", "of a package that cloud-init needs"},
	{"/etc/default/locale", "of a package that cloud-init needs"},
	{"/etc/locale.gen", "of a package that cloud-init needs"},
	{"/etc/python3/", "of a package that cloud-init needs"},
	{"/var/lib/python/", "of a package that cloud-init needs"},
	{"/etc/apparmor.d/local/sbin.dhclient", "of a package that cloud-init needs"},
	{"/etc/sudoers.d", "cloud-init lets only root look into it"},
	{"/etc/systemd/network/10-cloud-init-*", "the network, in cloud-init's words: TestInits compares what comes of it"},
	{"/etc/systemd/network/10-pgbake.network", "the network, in the seed's words"},
	{"/etc/sudoers.d/90-cloud-init-users", "the user debian may sudo, by cloud-init"},
	{"/etc/sudoers.d/90-pgbake", "the user debian may sudo, by the seed"},
	{"/root/.ssh/", "cloud-init lets root say who to log in as"},
	{"/etc/.ignition-result.json", "ignition's"},
	{"/etc/selinux/", "ignition's"},
	{"/etc/systemd/system-preset/", "ignition's"},
	{"/usr/local/lib/pgbake/", "ignition's"},
	{"/var/lib/pgbake/", "ignition's"},
	{"/etc/systemd/system/pgbake-*.service", "ignition's"},
	{"/etc/systemd/system/sysinit.target.wants/pgbake-*", "ignition's"},
	{"/etc/systemd/system/pgha-apply.service.d/", "ignition's"},
	{"/etc/machine-id", "every machine's own"},
	{"/etc/ssh/ssh_host_ed25519_key*", "every machine's own"},
	{"/var/lib/dpkg/", "the packages of the two"},
	{"/var/lib/systemd/", "seeds of random numbers, clocks, stamps"},
	{"/var/lib/chrony/", "the clock's drift"},
	{"/var/lib/pgha/", "when the agent did and saw what"},
	{"/var/log/", "what happened when"},
	{"/etc/*-", "backup copies, of the change before"},
}

// listing prints every path of a machine with its type, mode, owner, link and, where this boot wrote it, its content's hash.
// Below /usr only what is newer than the image: what packages bring is known by the packages. A database's files are its own.
const listing = `
cd /
find / -xdev \( -path /var/lib/postgresql/15/main -o -path /var/lib/etcd -o -path /tmp -o -path /var/tmp -o -path /lost+found -o -path /boot \) -prune -o \
  \( ! -path '/usr/*' -o -newermt "@$1" \) -printf '%p\t%y %m %u:%g %l\n'
echo
find /etc /home /root /srv /var /usr -xdev \( -path /var/lib/postgresql/15/main -o -path /var/lib/etcd -o -path /var/log/journal \) -prune -o \
  -type f -newermt "@$1" -exec sha256sum {} +
`

// leaks prints where a secret of the seed can be read by others than root, the journal included, and last how many were looked
// for. HAProxy reads its own.
const leaks = `
umask 077
cd /
sed -n 's/^ *[a-z]*: //p' /etc/pgha/secrets.yaml >/run/secrets-of-seed
for k in /etc/pgha/tls/*.key; do sed -n 2p "$k" >>/run/secrets-of-seed; done
find /etc /home /root /srv /var /usr -xdev -type f -newermt "@$1" -perm /044 ! \( -perm 640 -group haproxy \) -exec grep -l -F -f /run/secrets-of-seed {} + || :
if journalctl --quiet --all --output=cat | grep -q -F -f /run/secrets-of-seed; then echo journal; fi
grep -c . /run/secrets-of-seed
`

// root is what is known of a machine that is as its seed says.
type root struct {
	paths, sums map[string]string
	// packaged are the paths that its packages brought.
	packaged map[string]bool
	network  string
	leaks    string
}

// look waits until the machine is what its seed says, and reads it.
func (s *initsSite) look(m *qemu) (r root, err error) {
	t := Trial{Machine: s.machine, Cluster: s.c}
	ctx, cancel := limit(s.Context(), 20*time.Minute)
	defer cancel()
	for _, c := range t.checks() {
		// A serial line that is slow to appear gets no login; the second boot is seen below.
		if c.name == "the login prompt" || c.name == "its kernel again after a reset" {
			continue
		}
		err := every(ctx, askPause, "see "+c.name, func() error {
			one, cancel := limit(ctx, enterTime)
			defer cancel()
			_, err := c.look(one, m)
			return err
		})
		if err != nil {
			return r, err
		}
	}
	out, err := m.output(ctx, "sh", "-c", listing, "sh", fmt.Sprint(s.made))
	if err != nil {
		return r, fmt.Errorf("%w: %.2000s", err, out)
	}
	paths, sums, _ := strings.Cut(out, "\n\n")
	r.paths, r.sums = map[string]string{}, map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(paths)); lines.Scan(); {
		name, what, _ := strings.Cut(lines.Text(), "\t")
		r.paths[name] = what
	}
	for lines := bufio.NewScanner(strings.NewReader(sums)); lines.Scan(); {
		sum, name, _ := strings.Cut(lines.Text(), "  ")
		r.sums[name] = sum
	}
	// One card, by whatever name; its state, addresses, routes; the name; who may be whom; the packages.
	r.network, err = m.output(ctx, "sh", "-c", `ip -o -4 address show scope global | cut -d' ' -f3-7
ip route show default | sed 's/ dev [^ ]*//'; resolvectl dns | grep -v '^Global:' | sort | tail -n 1 | sed 's/.*: //'; hostname; cat /proc/sys/net/ipv6/conf/e*/accept_ra
sudo -l -U debian | tail -n 1; sshd -T | grep -E '^(port|passwordauthentication|permitrootlogin) '; ls /etc/ssh/ssh_host_*`)
	if err != nil {
		return r, fmt.Errorf("%w: %s", err, r.network)
	}
	if out, err = m.output(ctx, "sh", "-c", `cd / && cat /var/lib/dpkg/info/*.list`); err != nil {
		return r, err
	}
	r.packaged = map[string]bool{}
	for line := range strings.Lines(out) {
		r.packaged[strings.TrimSpace(line)] = true
	}
	r.leaks, err = m.output(ctx, "sh", "-c", leaks, "sh", fmt.Sprint(s.made))
	return r, err
}

// The same machine by cloud-init and its ISO, and by Ignition from QEMU's fw_cfg; then from a config drive, from what is no
// configuration, and once more.
func TestInits(t *testing.T) {
	s := newInitsSite(t)
	seeds := filepath.Join(s.dir, "dist", "seeds")
	wrong := filepath.Join(s.dir, "wrong.ign")
	if err := write(wrong, "#cloud-config\nhostname: gate\n", 0o600); err != nil {
		t.Fatal(err)
	}
	ways := []struct{ label, init, seed string }{
		{"cloud-init", "cloud-init", filepath.Join(seeds, s.machine.Name+".iso")},
		{"fw_cfg", "ignition", filepath.Join(seeds, s.machine.Name+".ign")},
	}
	machines, roots, errs := make([]*qemu, len(ways)), make([]root, len(ways)), make([]error, len(ways))
	var all sync.WaitGroup
	for i, w := range ways { // more at once would be slower than devices are waited for
		all.Go(func() {
			if machines[i], errs[i] = s.start(w.label, w.init, w.seed); errs[i] == nil {
				roots[i], errs[i] = s.look(machines[i])
			}
		})
	}
	all.Wait()
	for i, w := range ways {
		if errs[i] != nil {
			t.Errorf("%s: %v\n%s", w.label, errs[i], lastLines(filepath.Join(s.dir, w.label, "console.log"), 20))
		}
	}
	if t.Failed() {
		return
	}
	a, b := roots[0], roots[1]
	t.Logf("%d and %d paths, %d and %d contents", len(a.paths), len(b.paths), len(a.sums), len(b.sums))
	if len(b.paths) < 1500 || len(b.sums) < 30 {
		t.Error("they have fewer files than a machine has")
	}
	for _, d := range unlike(a, b) {
		t.Errorf("by cloud-init and by Ignition: %s", d)
	}
	if a.network != b.network {
		t.Errorf("by cloud-init:\n%s\nby Ignition:\n%s", a.network, b.network)
	}
	for i, r := range roots {
		// What others can read of its secrets, and how many were looked for.
		if n, err := strconv.Atoi(r.leaks); err != nil || n < 2 {
			t.Errorf("%s: secrets that others can read: %s", ways[i].label, r.leaks)
		}
	}
	if err := machines[0].Kill(t.Context()); err != nil {
		t.Error(err)
	}
	t.Run("a wrong configuration", func(t *testing.T) { s.refused(t, wrong) })
	t.Run("config drive", func(t *testing.T) { s.byDrive(t, filepath.Join(seeds, s.machine.Name+".ign.iso"), machines[1]) })
	t.Run("a later boot", func(t *testing.T) { s.once(t, machines[1]) })
}

// laid prints all that a seed lays down: paths, modes, owners, contents. pgha closes the directory of the keys itself.
const laid = `cd /etc && find hostname pgha/cluster.yaml pgha/machine pgha/generation.json pgha/operator.pub pgha/secrets.yaml pgha/tls \
  sudoers.d systemd/network/10-pgbake.network passwd group shadow gshadow ../home/debian ! -path pgha/tls -printf '%p %y %m %u:%g\n' | sort
find hostname pgha/cluster.yaml pgha/machine pgha/generation.json pgha/operator.pub pgha/secrets.yaml pgha/tls \
  sudoers.d systemd/network/10-pgbake.network passwd group shadow gshadow ../home/debian -type f -exec sha256sum {} + | sort`

// byDrive: a config drive says the same as fw_cfg. The machine is looked at when its configuration is applied.
func (s *initsSite) byDrive(t *testing.T, seed string, other *qemu) {
	m, err := s.start("config-drive", "ignition", seed)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := limit(t.Context(), 10*time.Minute)
	defer cancel()
	err = every(ctx, askPause, "see the configuration applied", func() error {
		one, cancel := limit(ctx, enterTime)
		defer cancel()
		_, err := m.ReadFile(one, "/var/lib/pgbake/ignition-done")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if body, err := os.ReadFile(m.Console()); err != nil || !strings.Contains(string(body), "applies the configuration from the config drive") {
		t.Errorf("its console does not say where it has its configuration from: %v", err)
	}
	want, err := other.output(ctx, "sh", "-c", laid)
	if err != nil || strings.Count(want, "\n") < 40 {
		t.Fatalf("%v\n%s", err, want)
	}
	got, err := m.output(ctx, "sh", "-c", laid)
	if err != nil {
		t.Fatal(err, got)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("by fw_cfg (-) and by a config drive (+):\n%s", diff)
	}
	if err := m.Kill(ctx); err != nil {
		t.Error(err)
	}
}

// unlike are the differences of two machines, without those that may be. A path that a package of one of them alone brought
// is that package's.
func unlike(a, b root) []string {
	all := maps.Clone(a.paths)
	maps.Copy(all, b.paths)
	var diff []string
	for _, p := range slices.Sorted(maps.Keys(all)) {
		switch {
		case slices.ContainsFunc(mayDiffer, func(d struct{ path, why string }) bool { return covers(d.path, p) }):
		case a.packaged[p] != b.packaged[p]:
		case a.paths[p] != b.paths[p]:
			diff = append(diff, fmt.Sprintf("%s is %q and %q", p, a.paths[p], b.paths[p]))
		case a.sums[p] != b.sums[p]:
			diff = append(diff, p+" has other contents")
		}
	}
	return diff
}

// covers tells whether a pattern of mayDiffer means a path.
func covers(pattern, p string) bool {
	if dir, ok := strings.CutSuffix(pattern, "/"); ok {
		return p == dir || strings.HasPrefix(p, pattern)
	}
	ok, _ := path.Match(pattern, p)
	return ok
}

// refusal is what a person reads on the console; systemd colours and shortens its part.
var refusal = []*regexp.Regexp{
	regexp.MustCompile(`pgbake-ignition: what QEMU's fw_cfg has is no Ignition configuration`),
	regexp.MustCompile(`hint: it wants NAME\.ign`),
	regexp.MustCompile(`Dependency failed for \S*pgha.*what its pgbake seed says`),
}

// refused: what is no configuration makes nothing of the machine, and the console says why.
func (s *initsSite) refused(t *testing.T, seed string) {
	m, err := s.start("wrong", "ignition", seed)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := limit(t.Context(), 6*time.Minute)
	defer cancel()
	for _, want := range refusal {
		err := every(ctx, askPause, "see "+want.String(), func() error {
			body, err := os.ReadFile(m.Console())
			if err != nil || !want.Match(body) {
				return errors.Join(err, errors.New(shown(m.Console())))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Kill(ctx); err != nil {
		t.Error(err)
	}
}

// once: what the administrator changes after the first boot stays, though the configuration is still there.
func (s *initsSite) once(t *testing.T, m *qemu) {
	ctx, cancel := limit(t.Context(), 8*time.Minute)
	defer cancel()
	boot := func() (string, error) { return m.output(ctx, "cat", "/proc/sys/kernel/random/boot_id") }
	first, err := boot()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := m.output(ctx, "sh", "-c", "echo '# mine' >>/etc/sudoers.d/90-pgbake && sync"); err != nil {
		t.Fatal(err, out)
	}
	if err := m.qmp(ctx, "system_reset", nil, nil); err != nil {
		t.Fatal(err)
	}
	err = every(ctx, askPause, "see its second boot", func() error {
		one, cancel := limit(ctx, enterTime)
		defer cancel()
		now, err := m.output(one, "cat", "/proc/sys/kernel/random/boot_id")
		if err == nil && now == first {
			err = errors.New("it is the first one still")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.output(ctx, "sh", "-c", "tail -n 1 /etc/sudoers.d/90-pgbake; systemctl show --property=ConditionResult pgbake-ignition.service; systemctl is-enabled pgbake-ignition.service")
	if err != nil || out != "# mine\nConditionResult=no\nenabled" {
		t.Errorf("%v\n%s", err, out)
	}
}
