package disk

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/cloudinit"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/rootfs"
	machines "github.com/pgbake/pgbake/test/debian"
)

// bootTime is how long a machine may take to its login prompt without KVM, on a busy host.
const bootTime = 6 * time.Minute

// debian is a real tree, made once and kept: the slow half of these tests.
func debian(t *testing.T) string {
	t.Helper()
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("makes and boots a whole Debian: needs root, and no -short")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	i, err := images.New(&cluster.Cluster{Debian: 12, Postgres: cluster.Postgres{Version: 15}}, images.Proxy, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "pgbake-test", i.Name())
	tool(t, "mmdebstrap", "--version") // it is there
	return machines.Made(t, dir, func(made string) {
		hooks := []string{}
		for _, f := range i.Files() {
			if strings.HasPrefix(f.Path, "/etc/initramfs-tools/") {
				src := filepath.Join(t.TempDir(), filepath.Base(f.Path))
				if err := os.WriteFile(src, f.Body, f.Mode); err != nil {
					t.Fatal(err)
				}
				hooks = append(hooks, "--customize-hook=copy-in "+src+" "+filepath.Dir(f.Path))
			}
		}
		args := append(machines.Alone("mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", "--quiet",
			"--include="+strings.Join(append(i.Base(), i.Packages()...), ",")), hooks...)
		for _, unit := range i.Units() {
			args = append(args, `--customize-hook=chroot "$1" systemctl --quiet `+strings.Join(unit, " "))
		}
		args = append(args, `--customize-hook=chroot "$1" update-initramfs -u`, i.Release.Codename(), made)
		if out, err := machines.Output(exec.CommandContext(t.Context(), args[0], args[1:]...)); err != nil {
			t.Fatalf("mmdebstrap: %v\n%s", err, out)
		}
	})
}

// A disk boots to its login prompt where the firmware demands Secure Boot, and the first boot grows its root. By BIOS and
// by plain UEFI whole images are booted: TestQEMUImage in test/e2e.
func TestBoot(t *testing.T) {
	if os.Getenv("PGBAKE_QEMU") == "" {
		t.Skip("make test-all: a translated machine boots for minutes")
	}
	dir := debian(t)
	out := t.TempDir()
	l := layout(t, dir)
	l.Files = images.Image{Role: images.Proxy, Release: 12, Arch: "amd64"}.Files()
	raw, image := filepath.Join(out, "disk.raw"), filepath.Join(out, "disk.qcow2")
	begin := time.Now()
	if err := Write(t.Context(), raw, l, nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("raw: %v", time.Since(begin))
	begin = time.Now()
	if err := Convert(t.Context(), "qcow2", raw, image, l); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("qcow2: %v, %d MB", time.Since(begin), info.Size()/1_000_000)
	seed := filepath.Join(out, "seed.iso")
	volume, err := cloudinit.ISO("CIDATA", epoch, []rootfs.File{
		{Path: "/meta-data", Mode: 0o644, Body: []byte("instance-id: test\nlocal-hostname: booted\n")},
		{Path: "/user-data", Mode: 0o644, Body: []byte(userData)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(seed, volume, 0o644); err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	log := boot(t, image, seed, "pgbake-test: end", "booted login: ")
	t.Logf("to its prompt: %v", time.Since(begin))
	for _, want := range []string{"root is 8", "failed units: none", "firmware: uefi secure.", "ssh keys: 2"} {
		if !strings.Contains(log, "pgbake-test: "+want) {
			t.Errorf("no %q in:\n%s", want, log[max(0, len(log)-3000):])
		}
	}
}

const userData = `#cloud-config
runcmd:
- |
  say() { echo "pgbake-test: $*" >/dev/ttyS0; }
  say "root is $(df --block-size=1G --output=size / | tail -n 1 | tr -d ' ')"
  say "failed units: $(systemctl --failed --plain --no-legend | grep . || echo none)"
  secure=$(od -An -t u1 -j 4 /sys/firmware/efi/efivars/SecureBoot-* 2>/dev/null | grep -q 1 && echo ' secure')
  say "firmware: $([ -d /sys/firmware/efi ] && echo uefi || echo bios)$secure."
  say "ssh keys: $(ls /etc/ssh/ssh_host_*_key | wc -l)"
  say end
`

// boot starts a machine without KVM, with Secure Boot and the keys that signed the shim, on an overlay of the image, 8 GiB
// large, and returns its console when all of want were seen there.
func boot(t *testing.T, image, seed string, want ...string) string {
	t.Helper()
	dir := t.TempDir()
	disk, console := filepath.Join(dir, "disk.qcow2"), filepath.Join(dir, "console")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, disk, "8G")
	args := []string{
		"-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max", "-m", "768", "-nodefaults", "-display", "none",
		"-drive", "if=virtio,file=" + disk, "-drive", "if=virtio,format=raw,readonly=on,file=" + seed,
		"-device", "virtio-rng-pci", "-serial", "file:" + console, "-no-reboot",
	}
	const code, keys = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"
	body, err := os.ReadFile(keys)
	if err != nil {
		missing(t, "ovmf")
	}
	vars := filepath.Join(dir, "vars.fd")
	if err := os.WriteFile(vars, body, 0o600); err != nil {
		t.Fatal(err)
	}
	args = append(args, "-M", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on",
		"-drive", "if=pflash,format=raw,readonly=on,file="+code, "-drive", "if=pflash,format=raw,file="+vars)
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); errors.Is(err, exec.ErrNotFound) {
		missing(t, "qemu-system-x86")
	} else if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		log, _ := os.ReadFile(console)
		seen := 0
		for _, w := range want {
			if bytes.Contains(log, []byte(w)) {
				seen++
			}
		}
		if seen == len(want) {
			cancel()
			<-ended
			return string(log)
		}
		select {
		case err := <-ended:
			t.Fatalf("machine ended before %q: %v %s; its last lines:\n%s", want, err, &errs, log[max(0, len(log)-3000):])
		case <-tick.C:
		}
	}
}
