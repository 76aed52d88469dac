package image

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pgbake/pgbake/test/debian"
)

// stopped: a bake of the proxy's image that is stopped, however and whenever, leaves no mount, no process and no half image; the
// next one takes what is whole from the cache.
func (s *site) stopped() {
	s.Helper()
	for _, c := range []struct {
		at     string // what it says then
		signal syscall.Signal
	}{
		{"Debian 12: unpacks", syscall.SIGINT},
		{"Debian 12: configures", syscall.SIGKILL},
		{"proxy packages: configures", syscall.SIGTERM},
		{"==> settings, initramfs", syscall.SIGKILL},
		{"==> disk", syscall.SIGKILL},
		{"==> qcow2", syscall.SIGKILL},
		{"==> qcow2", syscall.SIGINT},
	} {
		s.stop(c.at, c.signal)
		names, err := filepath.Glob(filepath.Join(s.image("bookworm", "proxy"), "[^.]*"))
		if err != nil || len(names) > 0 {
			s.Errorf("%v at %q: there is %q (%v)", c.signal, c.at, names, err)
		}
	}
	_, talk, code := s.try("image", "--role", "proxy", "--offline")
	if code != 0 {
		s.Fatalf("exit code %d:\n%s", code, talk)
	}
	for _, kept := range []string{"boot loaders", "Debian 12", "proxy packages", "pgha", "settings, initramfs"} {
		if !strings.Contains(talk, "==> "+kept+"  from the cache") {
			s.Errorf("%s was made again:\n%s", kept, talk)
		}
	}
	for _, left := range []string{filepath.Join(s.image("bookworm", "proxy"), ".*"), filepath.Join(s.cache, "work", "*")} {
		if names, _ := filepath.Glob(left); len(names) > 0 {
			s.Errorf("%q is left", names)
		}
	}
}

// stop sends a signal to pgbake when it has said something, and waits for the end of all of it.
func (s *site) stop(at string, signal syscall.Signal) {
	s.Helper()
	cmd := s.command(s.Context(), "image", "--role", "proxy", "--offline")
	talk, w, err := os.Pipe()
	if err != nil {
		s.Fatal(err)
	}
	cmd.Stderr = w
	ended, err := debian.Start(cmd)
	if err != nil {
		s.Fatal(err)
	}
	w.Close() //nolint:errcheck // the copy that pgbake has is the one that counts
	var said bytes.Buffer
	var sent time.Time
	var once sync.Once
	for lines := bufio.NewScanner(talk); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), at) {
			once.Do(func() {
				sent = time.Now()
				if err := cmd.Process.Signal(signal); err != nil {
					s.Error(err)
				}
			})
		}
	}
	err = <-ended
	if sent.IsZero() {
		s.Fatalf("it never said %q: %v\n%s", at, err, &said)
	}
	if signal != syscall.SIGKILL {
		// A second on a quiet machine.
		s.Logf("%v at %q: it ended after %v", signal, at, time.Since(sent))
		if cmd.ProcessState.ExitCode() != 1 {
			s.Errorf("%v at %q: exit code %d", signal, at, cmd.ProcessState.ExitCode())
		}
		if want := "stopped by " + map[syscall.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM"}[signal]; !strings.Contains(said.String(), want) {
			s.Errorf("no %q:\n%s", want, &said)
		}
	}
	s.nothingLeft()
}
