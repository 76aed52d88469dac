package agent

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestMain has the mounts of the tests be this process's alone. Every program of this host that makes a namespace of its own, as an
// image's build does, would else copy those that there are, and keep their devices busy for as long as it runs.
func TestMain(m *testing.M) {
	const apart = "PGBAKE_APART"
	unshare := []string{"unshare", "--mount", "--propagation", "private", "--"}
	if os.Geteuid() == 0 && os.Getenv(apart) == "" && exec.Command(unshare[0], append(unshare[1:], "true")...).Run() == nil {
		path, err := exec.LookPath(unshare[0])
		if err == nil {
			err = syscall.Exec(path, append(unshare, os.Args...), append(os.Environ(), apart+"=1"))
		}
		panic(err)
	}
	os.Exit(m.Run())
}
