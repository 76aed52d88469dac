package debian

import (
	"bytes"
	"os/exec"
	"runtime"
	"syscall"
)

// Start starts a command that ends when this program does, even by kill -9. What it has started itself ends with it only
// in namespaces: see Alone.
func Start(cmd *exec.Cmd) (ended <-chan error, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started, done := make(chan error), make(chan error, 1)
	go func() {
		// The signal comes when the thread ends that started it: https://go.dev/issue/27505
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
			close(done)
		}
	}()
	return done, <-started
}

// Run is exec.Cmd's for a command that ends when this program does.
func Run(cmd *exec.Cmd) error {
	ended, err := Start(cmd)
	if err != nil {
		return err
	}
	return <-ended
}

// Output is exec.Cmd's CombinedOutput for a command that ends when this program does.
func Output(cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := Run(cmd)
	return out.Bytes(), err
}

// Alone is a command with mounts and processes of its own. When its first process ends, the kernel ends all others.
func Alone(args ...string) []string {
	return append([]string{"unshare", "--mount", "--propagation=slave", "--pid", "--fork", "--kill-child", "--mount-proc"}, args...)
}
