package native

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Cache is where builds of this user keep what they can use again: $PGBAKE_CACHE, else /var/cache/pgbake for root, else
// below the user's own cache directory.
func Cache() (string, error) {
	if dir := os.Getenv("PGBAKE_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if os.Geteuid() == 0 && !rootless() {
		return "/var/cache/pgbake", nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "pgbake"), err
}

// needs are the programs of this host that make a root, and Debian's package of each.
var needs = [][2]string{
	// program   package
	{"apt-get", "apt"},
	{"dpkg-deb", "dpkg"},
	{"unshare", "util-linux"},
}

// CanBake tells what this host lacks to make roots of an architecture. What it is not allowed to do, Enter tells.
func CanBake(arch string) error {
	for _, n := range needs {
		if _, err := exec.LookPath(n[0]); err != nil {
			return fmt.Errorf("bake an image: %w\n      hint: apt-get install %s", err, n[1])
		}
	}
	if arch == runtime.GOARCH {
		return nil
	}
	// Only an interpreter that the kernel holds open (flag F) is found inside of a root.
	cpu := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]
	handler, err := os.ReadFile("/proc/sys/fs/binfmt_misc/qemu-" + cpu)
	if err != nil || !bytes.HasPrefix(handler, []byte("enabled")) || !flagF(handler) {
		return fmt.Errorf("bake an image for %s: this machine is %s, and runs no programs of the other\n"+
			"      hint: bake it on a machine with that processor, or apt-get install qemu-user-static", arch, runtime.GOARCH)
	}
	return nil
}

func flagF(handler []byte) bool {
	_, flags, _ := bytes.Cut(handler, []byte("\nflags: "))
	flags, _, _ = bytes.Cut(flags, []byte("\n"))
	return bytes.ContainsRune(flags, 'F')
}
