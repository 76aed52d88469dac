package packer

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/test/debian"
)

// TestProvision: a stock Debian becomes a db image by the provisioner: what the native builder's image is, and clean. It
// then boots from a seed, and is a database.
func TestProvision(t *testing.T) {
	s := newSite(t)
	c, err := cluster.Load(s.path("cluster.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	image, err := images.New(c, images.DB, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	debs, err := filepath.Glob(s.path("dist/pgha-[cn]*.deb"))
	if err != nil || len(debs) != 2 {
		t.Fatalf("%q, %v", debs, err)
	}
	base := stockDebian(t, image, debs)
	net := newNetwork(t)
	address, stop := net.serve(filepath.Join(base, "archive"))

	disk := s.path("machine")
	m := machine{debian.New(debian.Machine{
		T: t, Name: filepath.Base(s.dir), Root: filepath.Join(base, "root"), Disk: disk, Enter: net.enter(),
		Flags: []string{"--capability=CAP_SYS_NICE,CAP_SYS_TIME"},
	})}
	m.Up = func() error {
		_, err := m.Try("systemctl", "is-active", "--quiet", "dbus.service")
		return err
	}
	s.write("key", key(t, disk))
	if err := os.Chmod(s.path("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.write("machine/upper/etc/apt/sources.list", "deb [trusted=yes] http://"+address+" ./\n")
	s.write("machine/upper/etc/network/interfaces", "source /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\n")
	s.write("machine/upper/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
	s.write("machine/upper/etc/hostname", "stock\n")
	m.looked(t, "ssh-keygen -q -A")
	m.Boot()
	m.Until("sshd", 3*time.Minute, func() error {
		if out, err := m.Try("systemctl", "is-active", "ssh"); err != nil {
			said, _ := m.Try("journalctl", "--no-pager", "-u", "ssh")
			return fmt.Errorf("it is %s: %w\n%s", strings.TrimSpace(out), err, said)
		}
		return nil
	})

	body := s.example("machine.pkr.hcl")
	s.example("seed.pkr.hcl")
	for _, f := range []string{"machine.pkr.hcl", "seed.pkr.hcl"} {
		if out := s.ok("packer", "fmt", "-check", "-diff", f); out != "" {
			t.Errorf("packer fmt would change the example:\n%s", out)
		}
	}
	s.as = net.enter()
	build := func(template string, more ...string) []string {
		return append(append([]string{"build", "-var", "host=127.0.0.1", "-var", "key=key"}, more...), template)
	}
	bad := func(words []string, template string, more ...string) {
		t.Helper()
		s.refused(words, build(template, more...)...)
		if out := m.Sh(t, "ls -d /tmp/pgbake* /usr/sbin/policy-rc.d 2>/dev/null || :"); out != "" {
			t.Errorf("the build leaves %s on the machine", out)
		}
	}
	bad([]string{`role: "bd" is none`, `did you mean "db"?`}, "machine.pkr.hcl", "-var", "role=bd")
	bad([]string{`"pakages" is not expected here. Did you mean "packages"?`}, s.changed(body, "packages ", "pakages "))
	bad([]string{"packages: find pgbake's packages", "no such file", "hint: pgbake package -o nowhere"}, s.changed(body, `= "dist"`, `= "nowhere"`))
	bad([]string{"neither packages nor repository is set"}, s.changed(body, `packages      = "dist"`, ""))
	m.Sh(t, `cp /etc/os-release /etc/os-release.kept; rm /etc/os-release; printf 'ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04"\n' >/etc/os-release`)
	bad([]string{"it is Ubuntu 24.04, not Debian 12", "hint: start from an image of Debian 12 (bookworm)"}, "machine.pkr.hcl")
	m.Sh(t, "mv /etc/os-release.kept /etc/os-release")
	m.Sh(t, "echo 'deb [trusted=yes] http://127.0.0.1:9 ./' >/etc/apt/sources.list.d/dead.list")
	bad([]string{"not all of them answered", "127.0.0.1:9", "hint: what apt says is above"}, "machine.pkr.hcl")
	m.Sh(t, "rm /etc/apt/sources.list.d/dead.list")

	out := s.ok("packer", build("machine.pkr.hcl")...)
	for _, want := range []string{"==> null.debian: installs the packages of role db", "==> null.debian: this machine is a db image"} {
		if !strings.Contains(out, want) {
			t.Errorf("packer build does not say %q:\n%s", want, out)
		}
	}
	stop()
	m.Off()
	s.as = nil
	s.ok("pgbake", "-q", "image", "--role", "db", "--format", "tar")
	t.Run("what it consists of", func(t *testing.T) {
		m.installed(t, image, s.read(filepath.Join("dist/images", image.Name(), images.ManifestName)))
	})
	t.Run("clean", m.clean)
	t.Run("seed", func(t *testing.T) {
		s := *s
		s.T = t
		s.becomesMember(m)
	})
}

// key makes a key for the user debian of a machine's disk, and returns the private half.
func key(t *testing.T, disk string) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	// Where sshd looks besides the home: no image has a key of the build's.
	dir := filepath.Join(disk, "upper/etc/ssh/sshd_config.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{"build.conf": "AuthorizedKeysFile /etc/ssh/build_keys\n", "../build_keys": string(ssh.MarshalAuthorizedKey(line))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return string(pem.EncodeToMemory(block))
}

// machine is the Debian that Packer gets.
type machine struct{ *debian.Machine }

// looked runs a script in the machine's root while the machine is off.
func (m machine) looked(t *testing.T, script string) string {
	t.Helper()
	args := m.Overlaid("chroot", filepath.Join(m.Disk, "root"), "sh", "-euc", script)
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// installed compares with the image that the native builder made of the same specification, as its manifest has it.
func (m machine) installed(t *testing.T, image images.Image, manifest string) {
	var native images.Manifest
	if err := json.Unmarshal([]byte(manifest), &native); err != nil {
		t.Fatal(err)
	}
	here := map[string]string{}
	for line := range strings.Lines(m.looked(t, `dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\n'`)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "installed" {
			here[f[0]] = f[1]
		}
	}
	// Debian's installers take the one that does it, the native builder the one that only says that it is so.
	if v, ok := here["usrmerge"]; ok {
		here["usr-is-merged"] = v
	}
	var missing []string
	for _, p := range native.Packages {
		switch v, ok := here[p.Name]; {
		case !ok:
			missing = append(missing, p.Name)
		case v != p.Version && !strings.HasPrefix(p.Name, "pgha-"):
			t.Errorf("%s is %s, in the native image %s", p.Name, v, p.Version)
		}
		delete(here, p.Name)
	}
	// What only the kernel and its initramfs need.
	missing = slices.DeleteFunc(missing, func(p string) bool {
		return strings.HasPrefix(p, "linux-image-") || slices.Contains([]string{
			"initramfs-tools", "initramfs-tools-core", "klibc-utils", "libklibc", "cpio", "linux-base", "busybox", "dracut-install",
		}, p)
	})
	if len(missing) > 0 {
		t.Errorf("the native image also has %q", missing)
	}
	for _, p := range append(image.PGHA(), image.Packages()...) {
		if !strings.Contains(m.looked(t, "dpkg-query -W -f '${db:Status-Status}' "+p), "installed") {
			t.Errorf("%s is not installed", p)
		}
	}
	t.Logf("besides the native image's packages it has %d of its own", len(here))
}

// clean: there is nothing that no image has.
func (m machine) clean(t *testing.T) {
	var dirty []string
	for line := range strings.Lines(m.looked(t, `find / -xdev -mindepth 1 -printf '%y %p\n'`)) {
		kind, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		// sshd's, for the shutdown after the clean-up; a disk's own journal of logins starts there.
		if name == "/var/log/lastlog" || name == "/var/log/wtmp" || name == "/var/log/btmp" {
			continue
		}
		if images.Absent(name, kind == "d") && name != "/dev" && !strings.HasPrefix(name, "/dev/") && !strings.HasPrefix(name, "/run/") {
			dirty = append(dirty, name)
		}
	}
	if len(dirty) > 0 {
		t.Errorf("no image has:\n%s", strings.Join(dirty, "\n"))
	}
	if out := m.looked(t, "stat -c %s /etc/machine-id; ls /var/lib/postgresql/*/* /var/lib/etcd/* 2>/dev/null | head; ls -d /usr/sbin/policy-rc.d* 2>/dev/null || :"); strings.TrimSpace(out) != "0" {
		t.Errorf("machine-id has a length, or there are data: %s", out)
	}
}

// becomesMember boots the machine from its seed and waits for its database.
func (s *site) becomesMember(m machine) {
	s.ok("pgbake", "-q", "init") // what is missing: the secrets
	s.ok("pgbake", "-q", "seed", "--interface", "host0")
	s.ok("packer", "validate", "seed.pkr.hcl")
	s.refused([]string{"read the seed of db1", "no such file", "hint: pgbake -f cluster.yaml -o nowhere seed"}, "build",
		s.changed(s.example("seed.pkr.hcl"), `= "dist"`, `= "nowhere"`))
	out := s.ok("packer", "build", "seed.pkr.hcl")
	if !strings.Contains(out, "local-hostname: db1") || !strings.Contains(out, "dist/seeds/db1.iso") {
		s.Errorf("the data source:\n%s", out)
	}
	if log := s.read("packer.log"); strings.Contains(log, s.secret()) {
		s.Error("Packer's log has a password of the seed's")
	}
	s.ok("pgbake", "-q", "seed", "--format", "ignition")
	ignition := s.changed(s.example("seed.pkr.hcl"), `machine       = "db1"`, "machine = \"db1\"\n  format = \"ignition\"")
	if out := s.ok("packer", "build", ignition); !strings.Contains(out, "dist/seeds/db1.ign.iso") {
		s.Errorf("Packer does not say where the config drive is:\n%s", out)
	}
	s.refused([]string{`machine: "db9" is none of cluster.yaml`, `did you mean "db1"?`}, "validate",
		s.changed(s.example("seed.pkr.hcl"), `machine       = "db1"`, `machine = "db9"`))
	for _, f := range []string{"user-data", "meta-data", "network-config"} {
		s.write("machine/upper/var/lib/cloud/seed/nocloud/"+f, s.read("dist/seeds/db1/"+f))
	}
	m.Flags = append(m.Flags, "--network-bridge=br0")
	m.Boot()
	m.Until("the database", 5*time.Minute, func() error {
		out, err := m.Try("pgha", "status")
		if err == nil && !strings.Contains(out, "primary") {
			err = fmt.Errorf("no primary")
		}
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	if id := m.Sh(s.T, "cat /etc/machine-id"); len(id) != 32 || id == "0123456789abcdef0123456789abcdef" {
		s.Errorf("machine-id %q is not its own", id)
	}
	m.Off()
}

// secret is one of the passwords that pgbake init made.
func (s *site) secret() string {
	s.Helper()
	for line := range strings.Lines(s.read("secrets/secrets.yaml")) {
		if p, ok := strings.CutPrefix(line, "replicator: "); ok {
			return strings.Trim(p, " \"'\n")
		}
	}
	s.Fatal("no password of the replicator's")
	return ""
}
