package verify

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pgbake/pgbake/rootfs"
	"github.com/pgbake/pgbake/test/debian"
)

// sandbox is a root of its own with a network of its own, in which no systemd runs.
type sandbox struct {
	t   *testing.T
	pid string
	// dir is the root, as seen from outside.
	dir string
}

// boot makes the namespaces and says ready from inside the new root. All addresses are this machine's.
const boot = `set -eu
lower=$1 upper=$2 work=$3 root=$4; shift 4
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mkdir "$root/run/lock" "$root/run/postgresql" "$root/run/haproxy"
chroot "$root" chown postgres:postgres /run/postgresql
chroot "$root" chown haproxy:haproxy /run/haproxy
ip link set lo up
ip link add eth0 type veth peer name wire
ip link set wire up
ip link set eth0 up
for address in "$@"; do ip address add "$address/24" dev eth0; done
exec chroot "$root" sh -c 'echo ready; exec sleep infinity'
`

func (r release) sandbox(t *testing.T, addresses ...string) *sandbox {
	t.Helper()
	lower := r.root(t)
	tmp := debian.Dir(t)
	args := []string{"--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", boot, "boot", lower}
	for _, d := range []string{"upper", "work", "root"} {
		args = append(args, filepath.Join(tmp, d))
		if err := os.Mkdir(filepath.Join(tmp, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "unshare", append(args, addresses...)...)
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	ended, err := debian.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	var pid string
	t.Cleanup(func() {
		// unshare ends when PID 1 of the sandbox has, and with it all the rest.
		if n, err := strconv.Atoi(pid); err != nil || syscall.Kill(n, syscall.SIGKILL) != nil {
			_ = cmd.Process.Kill()
		}
		<-ended
	})
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		_ = cmd.Process.Kill()
		<-ended
		lack(t, "make a sandbox: "+stderr.String())
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pid = strings.TrimSpace(string(children))
	return &sandbox{t: t, pid: pid, dir: filepath.Join("/proc", pid, "root")}
}

// write puts rendered files where they belong, by the code that does it on machines.
func (s *sandbox) write(files []rootfs.File) {
	s.t.Helper()
	if _, err := rootfs.Write(s.dir, files); err != nil {
		s.t.Fatal(err)
	}
}

// packaged installs one program of a package.
func (s *sandbox) packaged(pkg, path string) {
	s.t.Helper()
	body, err := os.ReadFile(filepath.Join("../../packages", pkg, "root", path))
	if err != nil {
		s.t.Fatal(err)
	}
	dir := filepath.Dir(filepath.Join(s.dir, path))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, path), body, 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// command is a program inside, as this user.
func (s *sandbox) command(ctx context.Context, user string, args ...string) *exec.Cmd {
	all := append([]string{
		"--target", s.pid, "--net", "--mount", "--pid", "--root", "--wd", "--",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
		"runuser", "-u", user, "--",
	}, args...)
	return exec.CommandContext(ctx, "nsenter", all...)
}

// try runs a program to its end, with both outputs together.
func (s *sandbox) try(user string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	out, err := s.command(ctx, user, args...).CombinedOutput()
	return string(out), err
}

// run is try that must succeed.
func (s *sandbox) run(user string, args ...string) string {
	s.t.Helper()
	out, err := s.try(user, args...)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// daemon is a program that goes on running, and what it has said.
type daemon struct {
	mu   sync.Mutex
	said bytes.Buffer
	done chan error
}

func (d *daemon) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said.Write(p)
}

func (d *daemon) log() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said.String()
}

// start runs a program until the sandbox ends. When the test fails, its log is shown.
func (s *sandbox) start(user string, args ...string) *daemon {
	s.t.Helper()
	d := &daemon{done: make(chan error, 1)}
	cmd := s.command(context.Background(), user, args...)
	cmd.Stdout, cmd.Stderr = d, d
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { d.done <- cmd.Wait() }()
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("%s said:\n%s", args[0], tail([]byte(d.log())))
		}
	})
	return d
}

// await asks until the answer is nil, for three minutes at most.
func (s *sandbox) await(what string, ask func() error) {
	s.t.Helper()
	deadline := time.After(3 * time.Minute)
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			s.t.Fatalf("%s: %v", what, err)
		case <-again.C:
		}
	}
}
