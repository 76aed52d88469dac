package cloudinit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
	machines "github.com/pgbake/pgbake/test/debian"
)

const seedFolder = "/var/lib/cloud/seed/nocloud"

// machine is a layer that has booted in systemd-nspawn, with its own systemd and cloud-init.
type machine struct{ *machines.Machine }

// boot starts the machine and waits until cloud-init has ended. Its only card hangs on a bridge that nobody else is on.
func (l layer) boot(t *testing.T) machine {
	t.Helper()
	m := l.machine(t)
	m.Enter = []string{"unshare", "--net", "sh", "-euc", `ip link add br0 type bridge; ip link set br0 up; exec "$@"`, "sh"}
	m.Flags = []string{"--network-bridge=br0"}
	m.Up = func() error {
		_, err := os.Stat(m.Path("/run/cloud-init/result.json"))
		return err
	}
	args := m.Overlaid("rm", "-f", filepath.Join(l.dir, "root/etc/resolv.conf"))
	tool(t, args...)
	m.Boot()
	return machine{m}
}

func (m machine) read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(m.Path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// run runs a program on the machine.
func (m machine) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.Try(args...)
	if err != nil {
		t.Fatalf("run %v: %v\n%s", args, err, out)
	}
	return out
}

// TestMachine boots the seed, and boots it again changed: so large that it is compressed.
func TestMachine(t *testing.T) {
	eachDebian(t, func(t *testing.T, d debian) {
		// Minimal Debian has no netplan, Debian's cloud images have.
		for _, renderer := range []string{"networkd", "netplan"} {
			t.Run(renderer, func(t *testing.T) { testMachine(t, d, renderer) })
		}
	})
}

func testMachine(t *testing.T, d debian, renderer string) {
	const path = "testdata/machine.yaml"
	c, spec, s := testCluster(t, path)
	m, id, w := c.Machines()[0], testIdentity(c.Machines()[0]), testWord(t, c, spec)
	l := d.layer(t, append(dropIns(t), rootfs.File{Path: "/etc/machine-id", Mode: 0o444})...)
	wants := l.upper("etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/lib/systemd/system/systemd-networkd.service", filepath.Join(wants, "systemd-networkd.service")); err != nil {
		t.Fatal(err)
	}
	if renderer == "networkd" {
		hide(t, l.upper("usr/sbin/netplan"))
	}

	seed, err := New(c, m, spec, s, id, w, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := seed.WriteFolder(l.upper(seedFolder)); err != nil {
		t.Fatal(err)
	}
	first := l.boot(t)
	first.check(t, c, m, Files(c, m, spec, s, id, w))
	first.checkLeaks(t, s.For(m.Role), id)
	hostKey := first.read(t, "/etc/ssh/ssh_host_ed25519_key.pub")
	if keys, _ := filepath.Glob(first.Path("/etc/ssh/ssh_host_*_key")); len(keys) != 1 {
		t.Errorf("host keys: %q", keys)
	}
	if got := first.read(t, "/home/debian/.ssh/authorized_keys"); !strings.Contains(got, c.SSHKeys[0]) {
		t.Errorf("authorized_keys:\n%s", got)
	}
	mac := strings.TrimSpace(first.read(t, "/sys/class/net/host0/address"))
	first.othersGetNothing(t, m.Address)
	first.Off()

	s.REST, m.Address = "rest-Zq6-changed", m.Address.Next()
	if renderer == "networkd" {
		// The card keeps its address, which systemd-nspawn makes of the machine's name. netplan asks for the
		// permanent one, which only real cards and virtual machines' have.
		m.MAC = mac
	}
	more, _ := withKeys(t, 200)
	c.SSHKeys = append(c.SSHKeys, more.SSHKeys...)
	if seed, err = New(c, m, spec, s, id, w, Options{}); err != nil || !seed.Compressed() {
		t.Fatalf("no compressed seed: %v", err)
	}
	if err := seed.WriteFolder(l.upper(seedFolder)); err != nil {
		t.Fatal(err)
	}
	second := l.boot(t)
	if got := second.read(t, "/home/debian/.ssh/authorized_keys"); !strings.Contains(got, c.SSHKeys[len(c.SSHKeys)-1]) {
		t.Errorf("authorized_keys:\n%s", got)
	}
	second.check(t, c, m, Files(c, m, spec, s, id, w))
	second.checkLeaks(t, s.For(m.Role), id)
	if got := second.read(t, "/etc/ssh/ssh_host_ed25519_key.pub"); got != hostKey {
		t.Error("a changed seed made a new host key")
	}
	second.Off()
}

// dropIns are pgha-common's for networkd, as an image has them.
func dropIns(t *testing.T) (files []rootfs.File) {
	t.Helper()
	const root = "../packages/pgha-common/root"
	found, _ := filepath.Glob(root + "/usr/lib/systemd/network/*/*")
	if len(found) == 0 {
		t.Fatal("pgha-common has no drop-ins for networkd")
	}
	for _, name := range found {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, rootfs.File{Path: strings.TrimPrefix(name, root), Mode: 0o644, Body: body})
	}
	return files
}

// TestAnyCard: whoever makes networkd's file of a seed without `mac`, it means the same cards.
func TestAnyCard(t *testing.T) {
	_, match, _ := strings.Cut(networkUnit(network{}), "[Match]\n")
	match, _, _ = strings.Cut(match, "\n\n")
	var files []string
	for _, f := range dropIns(t) {
		if _, body, _ := strings.Cut(string(f.Body), "[Match]\n"); strings.TrimSpace(body) != match {
			t.Errorf("%s matches\n%s\nIgnition's file matches\n%s", f.Path, body, match)
		}
		files = append(files, f.Path)
	}
	var want []string
	for _, file := range []string{"10-cloud-init-" + anyCard, "10-netplan-" + anyCard, "10-netplan-" + strings.Replace(anyCard, "!", "%21", 1)} {
		want = append(want, "/usr/lib/systemd/network/"+file+".network.d/50-pgha.conf")
	}
	slices.Sort(files)
	slices.Sort(want)
	if diff := cmp.Diff(want, files); diff != "" {
		t.Error(diff)
	}
}

// othersGetNothing: cards that somebody makes on the machine later do not get its address, whatever they are called.
func (m machine) othersGetNothing(t *testing.T, address netip.Addr) {
	t.Helper()
	others := map[string]string{
		"docker0": "type bridge", "ens9": "type bridge", "eth0.5": "link host0 type vlan id 5", "ens3": "type dummy",
		"eth7": "link host0 type macvlan", "veth1a": "type veth peer name veth1b", "wg0": "type wireguard", "gre7": "type gretap local 192.0.2.1 remote 192.0.2.2",
		"enbond": "type bond", "br-0a": "type bridge",
	}
	made := []string{"veth1b"}
	for name, what := range others {
		// A container may not be given every kind.
		if out, err := m.Try("sh", "-c", "ip link add "+name+" "+what+" && ip link set "+name+" up"); err == nil {
			made = append(made, name)
		} else {
			t.Logf("%s: %s", name, out)
		}
	}
	if !slices.Contains(made, "docker0") || !slices.Contains(made, "veth1a") {
		t.Fatalf("only %q could be made", made)
	}
	m.run(t, "ip", "link", "set", "veth1b", "up")
	m.Until("networkd has looked at them", time.Minute, func() error {
		for _, name := range made {
			if state := m.run(t, "networkctl", "--no-pager", "--no-legend", "list", name); !strings.Contains(state, " unmanaged") {
				return fmt.Errorf("%s", state)
			}
		}
		return nil
	})
	if got := m.run(t, "ip", "-4", "-oneline", "address", "show", "to", address.String()); strings.Count(got, "\n") != 1 || !strings.Contains(got, " host0 ") {
		t.Errorf("the address is on other cards:\n%s", got)
	}
}

// hide makes a file of the root be absent: an overlay's whiteout.
func hide(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mknod(path, syscall.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
}

// check proves that the machine is what the seed says.
func (m machine) check(t *testing.T, c *cluster.Cluster, node cluster.Machine, files []rootfs.File) {
	t.Helper()
	var result struct {
		V1 struct {
			Datasource string
			Errors     []string
		}
	}
	if err := json.Unmarshal([]byte(m.read(t, "/run/cloud-init/result.json")), &result); err != nil {
		t.Fatal(err)
	}
	// Containers have no udev, which cloud-init 22.4 misses when it calls netplan.
	errors := slices.DeleteFunc(result.V1.Errors, func(e string) bool { return strings.Contains(e, "udevadm test-builtin net_setup_link") })
	if len(errors) > 0 || !strings.Contains(result.V1.Datasource, "NoCloud") {
		t.Errorf("cloud-init: %+v", result)
	}

	address := netip.PrefixFrom(node.Address, c.Network.Bits()).String()
	if got := m.run(t, "ip", "-4", "-oneline", "address", "show", "dev", "host0"); !strings.Contains(got, " "+address+" ") {
		t.Errorf("the card has not %s:\n%s", address, got)
	}
	if got := m.run(t, "ip", "-4", "route", "show", "default"); !strings.Contains(got, "via "+c.Gateway.String()+" dev host0 ") {
		t.Errorf("the default route is %q", got)
	}
	if got := m.run(t, "resolvectl", "dns", "host0"); !strings.Contains(got, c.NameServers[0].String()) {
		t.Errorf("the name servers are %q", got)
	}
	if got := m.run(t, "hostname"); got != node.Name+"\n" {
		t.Errorf("the host's name is %q", got)
	}
	if got := m.run(t, "sshd", "-T"); !strings.Contains(got, "\npasswordauthentication no\n") {
		t.Error("sshd takes passwords")
	}
	for _, f := range files {
		info, err := os.Stat(m.Path(f.Path))
		if err != nil {
			t.Error(err)
			continue
		}
		if st := info.Sys().(*syscall.Stat_t); info.Mode() != f.Mode || st.Uid != 0 || st.Gid != 0 {
			t.Errorf("%s is %s of %d:%d", f.Path, info.Mode(), st.Uid, st.Gid)
		}
		if diff := cmp.Diff(string(f.Body), m.read(t, f.Path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f.Path, diff)
		}
	}
}

// checkLeaks reads everything on the machine that anybody but root can, the journal too: cloud-init keeps copies of
// its documents in many forms.
func (m machine) checkLeaks(t *testing.T, s cluster.Secrets, id cluster.Identity) {
	t.Helper()
	secrets := []string{s.Replicator, s.Rewind, s.REST}
	for _, password := range s.Users {
		secrets = append(secrets, strings.Fields(password)[0])
	}
	for name, body := range id {
		if strings.HasSuffix(name, ".key") {
			secrets = append(secrets, strings.Split(string(body), "\n")[1])
		}
	}
	leak := func(where string, body []byte) {
		for _, secret := range secrets {
			if bytes.Contains(body, []byte(secret)) {
				t.Errorf("%s holds the secret %s", where, secret)
			}
		}
	}
	read, kept := 0, 0
	err := filepath.WalkDir(m.Path("/"), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile: the machine runs
		}
		if err != nil {
			return err
		}
		switch name := strings.TrimPrefix(path, m.Path("")); {
		case e.IsDir() && (name == "/proc" || name == "/sys" || name == "/dev" || name == "/usr"):
			return filepath.SkipDir
		case !e.Type().IsRegular():
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // gone meanwhile
		}
		body, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		// The group adm may read logs, and is no root.
		if gid := info.Sys().(*syscall.Stat_t).Gid; info.Mode()&0o004 != 0 || info.Mode()&0o040 != 0 && gid != 0 {
			read++
			leak(path, body)
		} else if bytes.Contains(body, []byte(s.Replicator)) {
			kept++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// At least secrets.yaml and the seed itself: else the search does not find what is there.
	if read < 100 || kept < 2 {
		t.Errorf("only %d files were searched, and %d that hold a secret found", read, kept)
	}
	journal := m.run(t, "journalctl", "--quiet", "--no-pager", "--output=json", "--all")
	leak("the journal", []byte(journal))
	if n := strings.Count(journal, "\n"); n < 100 {
		t.Errorf("only %d lines of journal", n)
	}
}
