package native

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// overlay is a root directory put together from read-only layers and, when Dir is given, one that takes what is written.
type overlay struct {
	// Lower are the read-only layers, the topmost first; two at least where nothing is written.
	Lower []string
	// Dir holds fs (what is written), work (the kernel's) and none (nothing: the kernel wants a layer below).
	Dir string
	// Root is where it is seen.
	Root string
}

// mount mounts the overlay; call the function returned to unmount it.
func (o overlay) mount() (unmount func() error, err error) {
	lower := o.Lower
	options := []string{"index=off"}
	if rootless() {
		options = append(options, "userxattr") // which rules out the two below by itself
	} else {
		options = append(options, "metacopy=off", "redirect_dir=off")
	}
	if o.Dir != "" {
		none := filepath.Join(o.Dir, "none")
		for _, d := range []string{filepath.Join(o.Dir, "fs"), filepath.Join(o.Dir, "work"), none, o.Root} {
			if err := os.MkdirAll(d, 0o755); err != nil { //nolint:gosec // it becomes "/" of a machine
				return nil, err
			}
		}
		if len(lower) == 0 {
			lower = []string{none}
		}
		// volatile leaves out every fsync, dpkg's own too: a root whose making is interrupted is thrown away.
		options = append(options, "upperdir="+filepath.Join(o.Dir, "fs"), "workdir="+filepath.Join(o.Dir, "work"), "volatile")
	}
	options = append(options, "lowerdir="+strings.Join(lower, ":"))
	for _, d := range append(lower, o.Dir) {
		if strings.ContainsAny(d, ":,\\") {
			return nil, fmt.Errorf("mount overlay: the path %s has a character that overlayfs gives a meaning", d)
		}
	}
	if err := unix.Mount("overlay", o.Root, "overlay", 0, strings.Join(options, ",")); err != nil {
		hint := ""
		if errors.Is(err, unix.EINVAL) {
			hint = "\n      hint: the cache must lie on ext4, xfs, btrfs or tmpfs, not on another overlay: PGBAKE_CACHE=/a/directory/there"
		}
		return nil, fmt.Errorf("mount overlay %s: %w%s", o.Root, err, hint)
	}
	return func() error { return unmountAll(o.Root) }, nil
}

// unmountAll takes away what is mounted at a directory, and everything below.
func unmountAll(dir string) error {
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

// devices are the host's that programs expect anywhere.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// mountSystem gives a root what programs need to run in it, and keeps what they write to /run and /tmp out of it.
// There is no /sys: what they find there is the host's.
func mountSystem(root string) error {
	for _, d := range []string{"dev", "run", "tmp", "var/tmp", "proc"} {
		at := filepath.Join(root, d)
		if err := os.MkdirAll(at, 0o755); err != nil { //nolint:gosec // as on every machine
			return err
		}
		if d == "proc" {
			continue // each program gets its own
		}
		if err := unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID, "mode=0755"); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	for _, d := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(filepath.Join(root, d), 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	for _, name := range devices {
		at := filepath.Join(root, "dev", name)
		if err := os.WriteFile(at, nil, 0o600); err != nil {
			return err
		}
		if err := unix.Mount("/dev/"+name, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", at, err)
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, filepath.Join(root, "dev", name)); err != nil {
			return err
		}
	}
	return os.Mkdir(filepath.Join(root, "dev/shm"), 0o777|os.ModeSticky)
}
