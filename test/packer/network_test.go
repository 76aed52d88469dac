package packer

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/internal/run"
)

// network is a network namespace of the test's own, with a loopback and the bridge br0. It goes with the last who uses it.
type network struct {
	t    *testing.T
	file *os.File
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			n.file, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.file.Close() }) //nolint:errcheck // a handle
	for _, args := range [][]string{
		{"ip", "link", "set", "lo", "up"}, {"ip", "link", "add", "br0", "type", "bridge"}, {"ip", "link", "set", "br0", "up"},
		// With nothing but a loopback, the resolver says that a machine has no IPv4.
		{"ip", "address", "add", "10.42.0.1/24", "dev", "br0"},
	} {
		if err := (run.System{}).Run(t.Context(), run.Cmd{Args: append(n.enter(), args...)}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// enter is what comes before a command that is to run there.
func (n *network) enter() []string {
	return []string{"nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), n.file.Fd())}
}

// serve answers http there with the files of a directory, until the function returned is called; it returns the address.
func (n *network) serve(dir string) (address string, stop func()) {
	n.t.Helper()
	var l net.Listener
	listening := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			l, err = (&net.ListenConfig{}).Listen(n.t.Context(), "tcp", "127.0.0.1:0")
		}
		listening <- err
	}()
	if err := <-listening; err != nil {
		n.t.Fatal(err)
	}
	s := &http.Server{Handler: http.FileServer(http.Dir(dir))} //nolint:gosec // a test's own client
	go s.Serve(l)                                              //nolint:errcheck // ends with stop
	n.t.Cleanup(func() { s.Close() })                          //nolint:errcheck // done
	return l.Addr().String(), func() { s.Close() }             //nolint:errcheck // done
}
