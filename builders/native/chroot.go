package native

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/step"
)

// insidePath is root's PATH on a Debian machine.
const insidePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// chroot runs a program in the root, with processes of its own and without a network; whatever it leaves running ends with it.
func (s *site) chroot(args ...string) error {
	c := run.Command(slices.Concat([]string{
		"unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child", "--mount-proc", "--root=" + s.root, "--wd=/",
		"env", "--ignore-environment", "PATH=" + insidePath, "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
		"DEBCONF_NONINTERACTIVE_SEEN=true", "PYTHONDONTWRITEBYTECODE=1", "INITRD=No", fmt.Sprintf("SOURCE_DATE_EPOCH=%d", s.time().Unix()),
	}, args)...)
	c.Log, c.Disposable = s.log, true
	if len(args) > 0 && args[0] == "dpkg" {
		c.Log = io.MultiWriter(s.log, &counter{mark: []byte("Setting up "), count: func(n int) { step.Progress(s.ctx, int64(n), int64(s.configures)) }})
	}
	err := s.Runner.Run(s.ctx, c)
	if failed := (*run.Error)(nil); errors.As(err, &failed) {
		failed.Args = args // how it came into the root is of no interest
	}
	return err
}

// counter counts the lines that begin with a mark.
type counter struct {
	mark  []byte
	count func(n int)
	n     int
	line  []byte
}

func (c *counter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b != '\n' {
			c.line = append(c.line, b)
			continue
		}
		if bytes.HasPrefix(c.line, c.mark) {
			c.n++
			c.count(c.n)
		}
		c.line = c.line[:0]
	}
	return len(p), nil
}
