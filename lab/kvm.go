package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/internal/run"
)

// kvm decides whether this host's processor runs the guests' code, or QEMU translates it.
//
// That /dev/kvm can be opened proves nothing: nested in some clouds it is there, and the guest stops in its firmware.
// A guest that reaches its kernel's first line proves it. The verdict holds for as long as the host is not booted anew.
type kvm struct {
	// device is /dev/kvm.
	device string
	// verdict is the file that keeps it.
	verdict string
	// patience is how long a guest may take to its kernel's first line.
	patience time.Duration
}

// kvmTime is ten times what a guest takes where KVM works.
const kvmTime = 6 * time.Second

// translated is how QEMU is told to translate: each processor in a thread of its own, and a cache of translations that
// does not grow to half of the host's memory.
var translated = []string{"-accel", "tcg,thread=multi,tb-size=256", "-cpu", translatedCPU}

// translatedCPU has all that QEMU can translate, but for what makes a guest slower: tables of pages with a fifth level,
// checks around every copy from and to a program, strings copied byte by byte (a fifth of a boot), a KVM of its own. No
// processor has fsrm without erms: with QEMU 10, which has fsrm, Debian 12's kernel never gets beyond "LSM: Security Framework".
const translatedCPU = "max,la57=off,smap=off,erms=off,fsrm=off,svm=off"

var direct = []string{"-accel", "kvm", "-cpu", "host"}

// accelerator is QEMU's arguments for what there is.
func (k kvm) accelerator(ctx context.Context, r run.Runner, disk string) ([]string, error) {
	why, err := k.unusable(ctx, r, disk)
	switch {
	case err != nil:
		return nil, err
	case why != "":
		return translated, nil
	}
	return direct, nil
}

// unusable says why KVM is none here; empty when it works. A guest is started from disk where nobody knows yet.
func (k kvm) unusable(ctx context.Context, r run.Runner, disk string) (why string, err error) {
	if err := k.permitted(); err != nil {
		return err.Error(), nil
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(k.verdict), 0o755); err != nil { //nolint:gosec // holds no secret
		return "", err
	}
	unlock, err := lock(ctx, k.verdict)
	if err != nil {
		return "", err
	}
	defer unlock()
	if kept, err := os.ReadFile(k.verdict); err == nil {
		if why, ok := strings.CutPrefix(string(kept), string(boot)); ok {
			return why, nil
		}
	}
	if why, err = k.try(ctx, r, disk); err != nil {
		return "", err
	}
	return why, os.WriteFile(k.verdict, append(boot, why...), 0o600)
}

// permitted asks the device for its interface's version, which has been the same since 2007.
func (k kvm) permitted() error {
	f, err := os.OpenFile(k.device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only asked
	const getVersion, stable = 0xae00, 12
	if version, err := unix.IoctlRetInt(int(f.Fd()), getVersion); err != nil || version != stable {
		return fmt.Errorf("%s is not KVM's", k.device)
	}
	return nil
}

// try starts a guest that leaves no trace on its disk.
func (k kvm) try(ctx context.Context, r run.Runner, disk string) (why string, err error) {
	asked := ctx
	ctx, cancel := context.WithTimeout(ctx, k.patience)
	defer cancel()
	seen := &sight{of: []byte("Linux version "), found: cancel}
	err = r.Run(ctx, run.Cmd{Log: seen, Disposable: true, Args: slices.Concat([]string{
		emulator, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc", "-m", "256", "-serial", "stdio",
		"-drive", "file=" + commas(disk) + ",if=virtio,format=qcow2,snapshot=on",
	}, direct)})
	var failed *run.Error
	var ended *exec.ExitError
	switch {
	case asked.Err() != nil:
		return "", context.Cause(asked)
	case seen.yes:
		return "", nil
	case ctx.Err() != nil:
		return fmt.Sprintf("a guest under it reached no kernel in %v", k.patience), nil
	case errors.As(err, &failed) && errors.As(err, &ended): // also by a signal, of its own
		return "QEMU under it: " + strings.ReplaceAll(failed.Tail, "\n", "; "), nil
	case err == nil:
		return "QEMU ended under it", nil
	}
	return "", err
}

// sight looks for something in what is written to it.
type sight struct {
	of    []byte
	found func()
	end   []byte
	yes   bool
}

func (s *sight) Write(b []byte) (int, error) {
	s.end = append(s.end, b...)
	if bytes.Contains(s.end, s.of) && !s.yes {
		s.yes = true
		s.found()
	}
	s.end = s.end[max(0, len(s.end)-len(s.of)):]
	return len(b), nil
}
