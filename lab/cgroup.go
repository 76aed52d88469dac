package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Each machine wants a cgroup of its own: nspawn makes "payload" and "supervisor" where it stands, and two
// machines in one place would take each other's services for their own. Where the host runs systemd, that is
// asked for one (systemd-run); elsewhere, in a container or a minimal virtual machine, the lab makes it.

const cgroupParent = "pgbake"

// cgroupRoots are the hierarchies that nspawn makes directories in: v2, and systemd's own where v1 is still used.
var cgroupRoots = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"}

// unified returns where cgroups v2 are mounted.
func unified() (string, error) {
	for _, dir := range cgroupRoots[:2] {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir, nil
		}
	}
	return "", errors.New("find cgroups v2: not mounted at /sys/fs/cgroup, nor at its unified/")
}

// makeCgroup makes the cgroup of a machine of a lab and opens it; nil when the host's systemd does that.
func makeCgroup(lab, machine string) (*os.File, error) {
	if hostSystemd() {
		return nil, nil //nolint:nilnil // nothing to do is no error
	}
	root, err := unified()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, cgroupParent, lab, machine)
	// Another lab that goes down may take the parent away in between: see removeCgroups.
	for range 10 {
		if err = os.MkdirAll(dir, 0o755); !errors.Is(err, fs.ErrNotExist) { //nolint:gosec // the kernel's own mode
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return os.Open(dir)
}

// removeCgroups removes the cgroups of a lab, and the parent when no other lab is in it.
func removeCgroups(lab string) error {
	var errs []error
	for _, root := range cgroupRoots {
		errs = append(errs, removeCgroup(filepath.Join(root, cgroupParent, lab)))
		_ = unix.Rmdir(filepath.Join(root, cgroupParent)) // another lab may still be in it
	}
	return errors.Join(errs...)
}

// removeCgroup removes a cgroup and those in it. Only rmdir works there: the files are not real.
func removeCgroup(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, name)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range slices.Backward(dirs) {
		if err := unix.Rmdir(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove cgroup %s: %w", d, err)
		}
	}
	return nil
}

// freeze stops or continues every process of the container whose first process is pid.
func freeze(pid int, frozen bool) error {
	root, err := unified()
	if err != nil {
		return err
	}
	b, err := os.ReadFile(procPath(pid, "cgroup"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		// systemd put itself into init.scope of the cgroup that is the container's.
		group = strings.TrimSuffix(group, "/init.scope")
		state := "0"
		if frozen {
			state = "1"
		}
		return os.WriteFile(filepath.Join(root, group, "cgroup.freeze"), []byte(state), 0)
	}
	return fmt.Errorf("find the cgroup of process %d: it has none", pid)
}
