package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A build runs in namespaces of its own, of mounts, processes, and, for an ordinary user, of users. The whole program
// is started again as their first process: when it ends, however that comes, the kernel ends what it started and
// takes the mounts away. The program outside only waits, passes signals on, and holds a pipe whose end says that it died.

// insideEnv tells the program that it is the one inside: "root", or "user" in a user namespace.
const insideEnv = "PGBAKE_INSIDE"

// lifeline is the pipe's file descriptor inside.
const lifeline = 3

// Inside tells whether this process runs in a build's namespaces.
func Inside() bool { return os.Getpid() == 1 && os.Getenv(insideEnv) != "" }

// rootless tells whether root's rights end at a user namespace.
func rootless() bool { return os.Getenv(insideEnv) == "user" }

// Enter runs this program, with the same arguments, in namespaces of its own. There it returns at once with inside
// true; outside it returns after that run has ended, with its exit code.
func Enter() (inside bool, code int, err error) {
	if Inside() {
		return true, 0, settle()
	}
	exe, mode := "/proc/self/exe", "root"
	args := slices.Concat([]string{os.Args[0]}, os.Args[1:])
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		attr.Cloneflags = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS
	} else {
		if err := mayMapUsers(); err != nil {
			return false, 0, err
		}
		if exe, err = exec.LookPath("unshare"); err != nil {
			return false, 0, err
		}
		mode = "user"
		args = slices.Concat([]string{
			exe, "--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--", "/proc/self/exe",
		}, os.Args[1:])
		// /proc/self/exe would be unshare's own there.
		if args[slices.Index(args, "/proc/self/exe")], err = os.Executable(); err != nil {
			return false, 0, err
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return false, 0, err
	}
	defer w.Close() //nolint:errcheck // closing it is its message
	cmd := &exec.Cmd{
		Path: exe, Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, SysProcAttr: attr,
		Env: append(os.Environ(), insideEnv+"="+mode), ExtraFiles: []*os.File{r},
	}
	// Pdeathsig is sent when the thread that started the process ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return false, 0, fmt.Errorf("make namespaces for the build: %w%s", err, hintFor(err))
	}
	if err := r.Close(); err != nil {
		return false, 0, err
	}
	go func() {
		s := <-signals
		_, _ = w.Write([]byte{byte(s.(syscall.Signal))}) // the other end may have ended; Wait says so
		<-signals
		_ = cmd.Process.Kill() // whoever asks twice does not want to wait
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if exit.ExitCode() < 0 {
			return false, 1, fmt.Errorf("build: %w", exit)
		}
		return false, exit.ExitCode(), nil
	}
	return false, 0, err
}

// hintFor says what to do where a container or the system forbids namespaces.
func hintFor(err error) string {
	if errors.Is(err, unix.EPERM) {
		return "\n      hint: in a container it needs CAP_SYS_ADMIN, or --privileged"
	}
	return ""
}

// mayMapUsers tells an ordinary user which of the two is missing: user namespaces, or user ids for them.
func mayMapUsers() error {
	u, err := user.Current()
	if err != nil {
		return err
	}
	if err := exec.CommandContext(context.Background(), "unshare", "--user", "--map-root-user", "true").Run(); err != nil {
		return fmt.Errorf("bake as %s: this system allows no user namespaces: %w\n      hint: sudo, or sysctl kernel.unprivileged_userns_clone=1", u.Username, err)
	}
	for _, f := range []string{"/etc/subuid", "/etc/subgid"} {
		body, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if !slices.ContainsFunc(strings.Split(string(body), "\n"), func(l string) bool {
			return strings.HasPrefix(l, u.Username+":") || strings.HasPrefix(l, u.Uid+":")
		}) {
			return fmt.Errorf("bake as %s: %s gives %s no ids for a root's users\n"+
				"      hint: sudo, or once: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", u.Username, f, u.Username, u.Username)
		}
	}
	if _, err := exec.LookPath("newuidmap"); err != nil {
		return fmt.Errorf("bake as %s: %w\n      hint: sudo apt-get install uidmap", u.Username, err)
	}
	return nil
}

// settle makes the namespaces a build's: nothing mounted here is seen outside, /proc shows this process as the first.
func settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("detach the mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// What a maintainer script asks must not depend on the host's name.
	if err := unix.Sethostname([]byte("localhost")); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	unix.Umask(0o022)
	unix.CloseOnExec(lifeline)
	go func() {
		b := make([]byte, 1)
		for {
			n, err := unix.Read(lifeline, b)
			switch {
			case errors.Is(err, unix.EINTR):
			case err != nil || n == 0:
				os.Exit(1) // nobody waits for this build any more
			default:
				_ = unix.Kill(1, syscall.Signal(b[0])) // to ourselves
			}
		}
	}()
	return nil
}
