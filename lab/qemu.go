package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/pgbake/pgbake/internal/run"
)

// qemu is a machine in QEMU: its own kernel on an image's disk, as a hypervisor starts it.
//
// Everything of it lies in dir, under names that never change: disk.qcow2 (what it wrote, over the image), seed.iso,
// console.log, qemu.log and the sockets of QEMU. What runs is found by its command line.
type qemu struct {
	name, label, dir string
	// mac is its network card's address.
	mac string
	// data is the device that its data disk is to be; none when empty.
	data string
	// uefi starts it by UEFI, else by BIOS.
	uefi bool
	// leashed ends it with this program.
	leashed bool
	// net is where its cable ends; nowhere when it has no name.
	net   network
	run   run.Runner
	kvm   kvm
	enter []string

	last   atomic.Int64 // the process that was QEMU
	mu     sync.Mutex
	client *ssh.Client // nil until somebody asks
}

// memory of a machine, MiB: what a small database wants, four times on one host.
const memory = 768

func (m *qemu) Console() string { return filepath.Join(m.dir, "console.log") }

func (m *qemu) disk() string { return filepath.Join(m.dir, diskName) }

const diskName = "disk.qcow2"

// diskArgument is what tells this machine's QEMU from every other process.
func (m *qemu) diskArgument() string { return "file=" + commas(m.disk()) + "," }

// commas writes a path as QEMU's options have it.
func commas(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// args is QEMU's command line. As few devices as a machine can do with: each costs its driver's start.
func (m *qemu) args(accelerator []string) ([]string, error) {
	args := slices.Concat([]string{
		emulator, "-name", m.label, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc", "-m", fmt.Sprint(memory),
	}, accelerator)
	add := func(format string, a ...any) { args = append(args, strings.Fields(fmt.Sprintf(format, a...))...) }
	// Paths may have spaces: they never go through add. A power cut loses what the guest had not written, no more:
	// the host's cache stays, so its flushes cost nothing.
	drive := func(id, file, more string) {
		args = append(args, "-drive", "file="+commas(file)+",if=none,id="+id+","+more)
	}
	drive("root", m.disk(), "format=qcow2,cache=unsafe,discard=unmap")
	add("-device virtio-blk-pci,drive=root,bootindex=0")
	seed := "virtio-blk-pci,drive=seed"
	handed, err := m.handed()
	if err != nil {
		return nil, err
	}
	if handed == nil {
		drive("seed", filepath.Join(m.dir, seedName), "format=raw,readonly=on")
	}
	switch {
	case handed != nil && m.data != "": // its path counts with the seed's disk
		return nil, errors.New("a machine with a data disk wants its seed as a disk")
	case handed != nil:
		args = append(args, handed...)
	case m.data == "":
		add("-device %s", seed)
	default:
		devices, err := dataDevices(m.data, seed)
		if err != nil {
			return nil, err
		}
		drive("data", filepath.Join(m.dir, dataName), "format=qcow2,cache=unsafe,discard=unmap")
		args = append(args, devices...)
	}
	if m.uefi {
		args = append(args, "-drive", "if=pflash,format=raw,readonly=on,file="+firmwareCode,
			"-drive", "if=pflash,format=raw,file="+commas(filepath.Join(m.dir, firmwareName)))
	}
	if m.net.name == "" {
		add("-netdev hubport,hubid=0,id=net")
	} else {
		add("-netdev tap,id=net,ifname=%s,script=no,downscript=no", m.tap())
	}
	// No ROM: nobody boots from the network. The number makes the card's name in the guest the same, whatever else is there.
	add("-device virtio-net-pci,netdev=net,id=card,mac=%s,romfile=", m.mac)
	add("-object rng-random,filename=/dev/urandom,id=random -device virtio-rng-pci,rng=random")
	add("-chardev file,id=console,path=console.log,append=on -serial chardev:console")
	add("-qmp unix:%s,server=on,wait=off", qmpSocket)
	add("-device virtio-serial-pci")
	port := func(id, name string) {
		add("-chardev socket,id=%s,path=%[1]s,server=on,wait=off -device virtserialport,chardev=%[1]s,name=%s", id, name)
	}
	port(agentSocket, "org.qemu.guest_agent.0")
	for i := range channels {
		port(channelSocket(i), portName(i))
	}
	return args, nil
}

// handed are the arguments that give the machine a seed for Ignition without a disk; none when its seed is one.
func (m *qemu) handed() ([]string, error) {
	name := filepath.Join(m.dir, ignitionName)
	if _, err := os.Stat(name); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	return []string{"-fw_cfg", "name=opt/com.coreos/config,file=" + commas(name)}, nil
}

// emulator is QEMU's program for this host's own kind of machine.
const emulator = "qemu-system-x86_64"

// The sockets of QEMU, in the machine's directory.
const (
	qmpSocket   = "qmp"
	agentSocket = "agent"
)

// tap is the name of the cable's end at the bridge: a network card's name has at most 15 characters.
func (m *qemu) tap() string {
	if name := "tap-" + m.name; len(name) <= 15 {
		return name
	}
	sum := sha256.Sum256([]byte(m.name))
	return "tap-" + hex.EncodeToString(sum[:5])
}

func (m *qemu) Start(ctx context.Context) error {
	if m.Alive() {
		return fmt.Errorf("start %s: it is already on", m.name)
	}
	ctx, cancel := limit(ctx, time.Minute)
	defer cancel()
	if err := scopesGone(ctx, m.run, m.label); err != nil { // it may have gone off a moment ago
		return err
	}
	accelerator, err := m.kvm.accelerator(ctx, m.run, m.disk())
	if err != nil {
		return err
	}
	args, err := m.args(accelerator)
	if err != nil {
		return err
	}
	if m.net.name != "" {
		args = m.net.inside(args...)
	}
	if hostSystemd() && !m.leashed {
		args = inScope(m.label, args...)
	}
	logName := filepath.Join(m.dir, "qemu.log")
	log, err := os.OpenFile(logName, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()                         //nolint:errcheck // QEMU has it
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // it outlives us, and our context
	cmd.Dir, cmd.Stdout, cmd.Stderr = m.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if m.leashed {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the leash is the thread's that started it: https://go.dev/issue/27505
		defer runtime.UnlockOSThread()
		ended <- cmd.Run()
	}()
	return until(ctx, "start "+m.name, func() error {
		select {
		case err := <-ended:
			cancel()
			return fmt.Errorf("%w; see %s", &run.Error{Args: args, Err: exited(err), Tail: lastLines(logName, 8)}, logName)
		default:
		}
		return m.qmp(ctx, "query-status", nil, nil)
	})
}

// mine matches the processes that show the machine is on: QEMU, and what it was a moment ago, on its way into the network
// and the scope.
func (m *qemu) mine() func(pid int) bool {
	return withArgument(func(arg string) bool { return strings.HasPrefix(arg, m.diskArgument()) })
}

// Alive looks at the last QEMU before all other processes.
func (m *qemu) Alive() bool {
	mine := m.mine()
	if last := int(m.last.Load()); last != 0 && mine(last) {
		return true
	}
	pids := processes(mine)
	if len(pids) == 0 {
		return false
	}
	m.last.Store(int64(pids[0]))
	return true
}

func (m *qemu) on() error {
	if !m.Alive() {
		return fmt.Errorf("%s is off", m.name)
	}
	return nil
}

// powerTime is how often a machine is asked to shut down: one that still boots does not hear it.
const powerTime = 5 * time.Second

func (m *qemu) Stop(ctx context.Context) error {
	if err := m.on(); err != nil {
		return err
	}
	var pressed time.Time
	return every(ctx, askPause, "wait for the power of "+m.name+" to be off", func() error {
		if !m.Alive() {
			return nil
		}
		if time.Since(pressed) > powerTime {
			if err := m.qmp(ctx, "system_powerdown", nil, nil); err != nil && m.Alive() {
				return err
			}
			pressed = time.Now()
		}
		return errors.New("it still runs")
	})
}

func (m *qemu) Kill(ctx context.Context) error {
	if err := m.on(); err != nil {
		return err
	}
	return killAll(ctx, func() []int { return processes(m.mine()) })
}

func (m *qemu) SetLink(ctx context.Context, up bool) error {
	if err := m.on(); err != nil {
		return err
	}
	return m.qmp(ctx, "set_link", map[string]any{"name": "card", "up": up}, nil)
}

func (m *qemu) SetFrozen(ctx context.Context, frozen bool) error {
	if err := m.on(); err != nil {
		return err
	}
	if frozen {
		return m.qmp(ctx, "stop", nil, nil)
	}
	return m.qmp(ctx, "cont", nil, nil)
}

// qmp has QEMU do something, or tell.
func (m *qemu) qmp(ctx context.Context, execute string, arguments map[string]any, answer any) error {
	conn, err := socket(ctx, m.dir, qmpSocket)
	if err != nil {
		return fmt.Errorf("ask QEMU of %s: %w", m.name, err)
	}
	t := newTalk(ctx, conn)
	defer t.close()
	// It greets first, and takes commands after the first of them: https://www.qemu.org/docs/master/interop/qmp-spec.html
	if _, err = t.in.ReadBytes('\n'); err == nil {
		if err = t.call("qmp_capabilities", nil, nil); err == nil {
			err = t.call(execute, arguments, answer)
		}
	}
	if err != nil {
		return fmt.Errorf("ask QEMU of %s: %w", m.name, err)
	}
	return nil
}

// listens tells whether something in the machine has opened the inner end of one of QEMU's sockets.
func (m *qemu) listens(ctx context.Context, name string) (bool, error) {
	var ends []struct {
		Label string
		Open  bool `json:"frontend-open"`
	}
	if err := m.qmp(ctx, "query-chardev", nil, &ends); err != nil {
		return false, err
	}
	for _, e := range ends {
		if e.Label == name {
			return e.Open, nil
		}
	}
	return false, fmt.Errorf("ask QEMU of %s: it has no %s", m.name, name)
}

// hardwareAddress is the network card's address when the specification gives none: the same in every boot.
func hardwareAddress(label string) string {
	sum := sha256.Sum256([]byte(label))
	return net.HardwareAddr{0x52, 0x54, 0x00, sum[0], sum[1], sum[2]}.String() // QEMU's own range
}
