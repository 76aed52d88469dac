package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// talk is a conversation with QEMU, or with the guest agent inside a machine: JSON both ways, a line each.
//
//	https://www.qemu.org/docs/master/interop/qmp-spec.html
//	https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
type talk struct {
	conn net.Conn
	in   *bufio.Reader
	stop func() bool
}

// newTalk ends the conversation with ctx.
func newTalk(ctx context.Context, conn net.Conn) *talk {
	return &talk{conn, bufio.NewReader(conn), context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Unix(1, 0)) // what waits returns
	})}
}

func (t *talk) close() {
	t.stop()
	_ = t.conn.Close() // nothing is lost: every answer was read
}

// call says a command and reads its answer, which answer takes unless it is nil.
func (t *talk) call(execute string, arguments map[string]any, answer any) error {
	if err := t.send(execute, arguments); err != nil {
		return err
	}
	return t.answer(execute, answer)
}

func (t *talk) send(execute string, arguments map[string]any) error {
	body, err := json.Marshal(struct {
		Execute   string         `json:"execute"`
		Arguments map[string]any `json:"arguments,omitempty"`
	}{execute, arguments})
	if err != nil {
		return err
	}
	if _, err := t.conn.Write(append(body, '\n')); err != nil {
		return fmt.Errorf("%s: %w", execute, err)
	}
	return nil
}

func (t *talk) answer(execute string, answer any) error {
	for {
		line, err := t.in.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("%s: %w", execute, err)
		}
		var a struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
			Event  string
		}
		switch err := json.Unmarshal(line, &a); {
		case err != nil:
			return fmt.Errorf("%s: %w", execute, err)
		case a.Event != "": // said by QEMU unasked
			continue
		case a.Error != nil:
			return fmt.Errorf("%s: %s", execute, a.Error.Desc)
		case answer == nil:
			return nil
		}
		return json.Unmarshal(a.Return, answer)
	}
}

// socket connects to a unix socket in a directory, however long the path is. The other side serves one at a time, and
// the kernel lets two wait.
func socket(ctx context.Context, dir, name string) (net.Conn, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close() //nolint:errcheck // only a handle
	// A socket's address has at most 107 bytes.
	short := filepath.Join("/proc/self/fd", strconv.FormatUint(uint64(d.Fd()), 10), name)
	var conn net.Conn
	var refused error
	err = until(ctx, "connect to "+filepath.Join(dir, name), func() error {
		conn, refused = new(net.Dialer).DialContext(ctx, "unix", short)
		if errors.Is(refused, unix.EAGAIN) {
			return refused
		}
		return nil
	})
	return conn, errors.Join(err, refused)
}
