package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// These tests start QEMU, with a disk that holds no Debian but a program of a few bytes: all but what only a guest's own
// programs can show. Those are test/e2e's.

// sector is a disk that a BIOS starts: it writes text to the serial port and halts.
func sector(t *testing.T, text string) string {
	t.Helper()
	program := []byte{
		0x31, 0xc0, 0x8e, 0xd8, // xor ax, ax; mov ds, ax
		0xbe, 0x16, 0x7c, // mov si, 0x7c16, where the text is
		0xfc,       // cld
		0xac,       // next: lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x06, // jz end
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xee,       // out dx, al
		0xeb, 0xf5, // jmp next
		0xf4,       // end: hlt
		0xeb, 0xfd, // jmp end
	}
	disk := make([]byte, 1<<20)
	copy(disk, append(program, text...))
	disk[510], disk[511] = 0x55, 0xaa
	name := filepath.Join(t.TempDir(), "sector.raw")
	if err := os.WriteFile(name, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// over is a qcow2 over a raw disk.
func over(t *testing.T, raw string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk.qcow2")
	c := run.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw, name)
	if err := (run.System{}).Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return name
}

func needQEMU(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts QEMU: not with -short")
	}
	if err := need(virtualPrograms); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// insteadOf puts a program before QEMU in the PATH, which gets QEMU's arguments and starts it by "exec qemu".
func insteadOf(t *testing.T, script string) {
	t.Helper()
	real, err := exec.LookPath(emulator)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	body := "#!/bin/bash\nset -eu\nqemu=" + real + "\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, emulator), []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// kvmHere is a device that answers as KVM's: this host's, where it has one.
func kvmHere(t *testing.T) kvm {
	t.Helper()
	k := kvm{device: "/dev/kvm", verdict: filepath.Join(t.TempDir(), "kvm"), patience: kvmTime}
	if err := k.permitted(); err != nil {
		t.Skipf("this host has no KVM to be asked, working or not: %v", err)
	}
	return k
}

// translate has QEMU translate what it was told to have the processor run: the verdict is about what comes out.
const translate = `args=("${@/#kvm/tcg}"); exec "$qemu" "${args[@]/#host/max}"`

func TestKVMWorks(t *testing.T) {
	needQEMU(t)
	k := kvmHere(t)
	k.patience = 5 * time.Minute // translated, and the host may be busy
	disk := over(t, sector(t, "SeaBIOS\r\nLinux version 6.1.0\r\n"))
	insteadOf(t, translate)
	if why, err := k.unusable(t.Context(), run.System{}, disk); why != "" || err != nil {
		t.Fatalf("a guest that reaches its kernel: %q, %v", why, err)
	}
	insteadOf(t, `exit 1`) // nobody is asked twice
	got, err := k.accelerator(t.Context(), run.System{}, disk)
	if err != nil || !slices.Equal(got, direct) {
		t.Errorf("after that: %v, %v", got, err)
	}
}

func TestKVMHangs(t *testing.T) {
	needQEMU(t)
	k := kvmHere(t)
	k.patience = time.Second
	disk := over(t, sector(t, "SeaBIOS, and no more"))
	insteadOf(t, translate)
	why, err := k.unusable(t.Context(), run.System{}, disk)
	if err != nil || !strings.Contains(why, "reached no kernel in 1s") {
		t.Fatalf("a guest that stops in its firmware: %q, %v", why, err)
	}
	// The verdict is this boot's: one of another is asked for anew.
	insteadOf(t, `echo ended >&2; exit 1`)
	for _, tc := range []struct{ boot, want string }{{"", why}, {"another boot\n", "ended"}} {
		kept, err := os.ReadFile(k.verdict)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(k.verdict, append([]byte(tc.boot), kept...), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := k.unusable(t.Context(), run.System{}, disk); err != nil || !strings.Contains(got, tc.want) {
			t.Errorf("verdict after %q: %q, %v; want %q", tc.boot, got, err, tc.want)
		}
	}
	if got, err := k.accelerator(t.Context(), run.System{}, disk); err != nil || !slices.Equal(got, translated) {
		t.Errorf("QEMU is started with %v, %v", got, err)
	}
}

func TestKVMIsNotThere(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "never opened")
	file := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]string{"/dev/no-kvm": "no such file", file: "is not KVM's"} {
		k := kvm{device: device, verdict: filepath.Join(t.TempDir(), "verdict"), patience: time.Minute}
		why, err := k.unusable(t.Context(), run.Recorder{W: t.Output()}, disk)
		if err != nil || !strings.Contains(why, want) {
			t.Errorf("%s: %q, %v; want %q at once", device, why, err, want)
		}
	}
}

func TestDataDevices(t *testing.T) {
	const seed, disk = "virtio-blk-pci,drive=seed", "virtio-blk-pci,drive=data"
	for path, want := range map[string][]string{
		"/dev/vdb":                      {"-device", disk, "-device", seed},
		"/dev/vdc":                      {"-device", seed, "-device", disk},
		"auto":                          {"-device", seed, "-device", disk},
		"/dev/disk/by-id/virtio-pgdata": {"-device", seed, "-device", disk + ",serial=pgdata"},
		"/dev/vda":                      nil, "/dev/sdb": nil, "/dev/disk/by-id/virtio-a,b": nil,
	} {
		got, err := dataDevices(path, seed)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%s: %v, %v; want %v", path, got, err, want)
		}
	}
}

func TestCardsAndCables(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"db1", "elevenchars", "a-machine-with-a-long-name-1", "a-machine-with-a-long-name-2"} {
		tap := (&qemu{name: name}).tap()
		mac := hardwareAddress(name)
		if len(tap) > 15 || seen[tap] || seen[mac] {
			t.Errorf("%s: cable %s, card %s: too long, or another's", name, tap, mac)
		}
		seen[tap], seen[mac] = true, true
	}
}

// virtualOne is the lab of one machine in QEMU below dir, up; its directory's name is not an easy one.
func virtualOne(ctx context.Context, dir, image string) (*Lab, error) {
	l, err := one(dir)
	if err != nil {
		return nil, err
	}
	l.host.Cache = filepath.Join(dir, "cache")
	seed := filepath.Join(dir, "seed.iso")
	if err := write(seed, strings.Repeat("x", 4096), 0o600); err != nil {
		return nil, err
	}
	_, err = l.Up(ctx, Load{Images: map[cluster.Role]string{cluster.DB: image}, Seeds: map[string]string{"node1": seed}})
	return l, err
}

func TestVirtualMachine(t *testing.T) {
	needMachines(t)
	needQEMU(t)
	t.Parallel()
	dir := filepath.Join(labsDir(t), "with space, and comma")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := virtualOne(t.Context(), dir, sector(t, "hello\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Down(context.Background()) })
	m, err := l.Machine("node1")
	if err != nil {
		t.Fatal(err)
	}
	virtual, ok := m.(*qemu)
	if !ok || !m.Alive() {
		t.Fatalf("%T, on %v", m, m.Alive())
	}
	greetings := func(want int) {
		t.Helper()
		ctx, cancel := limit(t.Context(), 3*time.Minute)
		defer cancel()
		err := until(ctx, "read the console", func() error {
			body, err := os.ReadFile(m.Console())
			if got := strings.Count(string(body), "hello"); got != want {
				return errors.Join(err, fmt.Errorf("%d greetings, want %d", got, want))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	greetings(1)
	if err := m.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "already on") {
		t.Errorf("switched on twice: %v", err)
	}

	inject(t, l, "freeze")
	if _, err := m.ReadFile(t.Context(), "/etc/hostname"); !errors.Is(err, errFrozen) {
		t.Errorf("a frozen machine says %v", err)
	}
	inject(t, l, "thaw")
	if _, err := m.ReadFile(t.Context(), "/etc/hostname"); err == nil || !strings.Contains(err.Error(), "guest agent does not run yet") {
		t.Errorf("a machine without a guest agent says %v", err)
	}
	inject(t, l, "link-cut")
	inject(t, l, "link-restore")
	if s := l.Status(t.Context()); !s.Members[0].On || s.Members[0].Note != "boots: hello" {
		t.Errorf("it is %+v", s.Members[0])
	}

	inject(t, l, "power-cut")
	if m.Alive() {
		t.Error("alive after a power cut")
	}
	if err := m.Stop(t.Context()); err == nil || !strings.Contains(err.Error(), "is off") {
		t.Errorf("a machine that is off is shut down: %v", err)
	}
	inject(t, l, "power-on")
	greetings(2)

	// A QEMU that does not start says why.
	inject(t, l, "power-cut")
	if err := os.Rename(virtual.disk(), virtual.disk()+".gone"); err != nil {
		t.Fatal(err)
	}
	if err := virtual.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("without its disk: %v", err)
	}
	for range 2 { // a lab that is down stays so
		if err := l.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, l)
	}
}

// virtualHelper boots the lab below the directory that is its argument, says so and waits to be killed.
func virtualHelper() error {
	if _, err := virtualOne(context.Background(), os.Args[1], os.Args[2]); err != nil {
		return err
	}
	fmt.Println("up")
	return wait()
}

// Machines outlive pgbake, and Down finds them: with their disks gone, and with the network's name gone.
func TestVirtualMachinesOutliveAKilledPgbakeAndGoDown(t *testing.T) {
	needMachines(t)
	needQEMU(t)
	t.Parallel()
	dir := labsDir(t)
	killedHelper(t, "virtual", "up", dir, sector(t, "hello\r\n"))
	l, err := one(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Down(context.Background()) })
	if !l.machine("node1").Alive() {
		t.Fatal("it went off with pgbake")
	}
	if err := errors.Join(os.RemoveAll(l.dir), l.net.down(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, l)
}

func TestForwardSaysWhoHasThePort(t *testing.T) {
	needMachines(t)
	needQEMU(t)
	t.Parallel()
	dir := labsDir(t)
	l, err := virtualOne(t.Context(), dir, sector(t, "hello\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Down(context.Background()) })
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()                    //nolint:errcheck // of no more use
	in := taken.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it is
	l.c.Ports.Postgres = in
	if err := l.Forward(t.Context(), func(string, string) {}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("forward port %d: address already in use", in)) {
		t.Errorf("a port that is taken: %v", err)
	}
}
