package lab

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/internal/run"
)

// A way into a machine in QEMU that needs nothing of it but what every image has: the guest agent is told to start an
// sshd on a serial port, for one conversation, with keys made for it. So the seed is the one that production gets, no
// firewall lets anything in for the lab's sake, and a machine whose cable is pulled can still be looked at. ssh brings
// terminals, exit codes, and connections from the inside to the machine's own addresses and sockets.

// channels is how many may talk to one machine at the same time.
const channels = 4

func channelSocket(i int) string { return fmt.Sprintf("channel%d", i) }

// portName is what the port is called in the machine, below /dev/virtio-ports.
func portName(i int) string { return fmt.Sprintf("pgbake.%d", i) }

// openScript starts sshd on a port: its arguments are the port's name, sshd's key and the visitor's.
const openScript = `set -eu
umask 077
d=/run/pgbake-lab/$1
mkdir -p "$d" /run/sshd
printf %s "$2" >"$d/host"
printf %s "$3" >"$d/visitor"
exec /usr/sbin/sshd -i -f /dev/null -h "$d/host" -o AuthorizedKeysFile="$d/visitor" -o AuthenticationMethods=publickey \
  -o UsePAM=no -o UseDNS=no -o StrictModes=no -o LogLevel=ERROR <>"/dev/virtio-ports/$1" >&0
`

// channel opens a conversation of its own with the machine's inside.
func (m *qemu) channel(ctx context.Context) (*ssh.Client, error) {
	client, err := m.openChannel(ctx)
	if err != nil {
		return nil, fmt.Errorf("enter %s: %w", m.name, err)
	}
	return client, nil
}

func (m *qemu) openChannel(ctx context.Context) (client *ssh.Client, err error) {
	i, release, err := m.claim(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	host, hostText, err := newKey()
	if err != nil {
		return nil, err
	}
	visitor, _, err := newKey()
	if err != nil {
		return nil, err
	}
	conn, err := socket(ctx, m.dir, channelSocket(i))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // what waits returns
	defer stop()
	err = m.spawn(ctx, "/bin/sh", "-c", openScript, "sh", portName(i), string(hostText), string(ssh.MarshalAuthorizedKey(visitor.PublicKey())))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c, news, requests, err := ssh.NewClientConn(conn, m.name, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(visitor)}, HostKeyCallback: ssh.FixedHostKey(host.PublicKey()),
	})
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, errors.Join(err, conn.Close())
	}
	client = ssh.NewClient(c, news, requests)
	gone := make(chan struct{})
	go func() {
		_ = client.Wait() // it ends with whichever side ends first
		close(gone)
		release()
	}()
	go attend(client, gone)
	return client, nil
}

// attend hangs up on a machine that does not answer for as long as it may take to let somebody in: after a reset nobody is
// there any more who would, and no socket says so.
func attend(client *ssh.Client, gone <-chan struct{}) {
	ask := time.NewTicker(enterTime / 6)
	defer ask.Stop()
	for {
		answered := make(chan error, 1)
		go func() {
			_, _, err := client.SendRequest("keepalive@openssh.com", true, nil) // whether it knows the word does not matter
			answered <- err
		}()
		select {
		case <-gone:
			return
		case <-answered:
		case <-time.After(enterTime):
			_ = client.Close() // whatever is left of it
			return
		}
		select {
		case <-gone:
			return
		case <-ask.C:
		}
	}
}

// claim takes a channel that nobody else uses: the lock goes with the process, whatever ends it.
func (m *qemu) claim(ctx context.Context) (i int, release func(), err error) {
	for i := range channels {
		f, err := os.OpenFile(filepath.Join(m.dir, channelSocket(i)+".lock"), os.O_RDONLY|os.O_CREATE, 0o600)
		if err != nil {
			return 0, nil, err
		}
		release := func() { _ = f.Close() } // closing is unlocking
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			release()
			continue
		}
		err = every(ctx, tick*5, "wait for the last visitor to be gone", func() error {
			busy, err := m.listens(ctx, channelSocket(i))
			if err == nil && busy {
				err = errors.Join(errors.New("its sshd still runs"), m.knock(ctx, i))
			}
			return err
		})
		if err != nil {
			release()
			return 0, nil, err
		}
		return i, release, nil
	}
	return 0, nil, fmt.Errorf("all %d ways in are taken", channels)
}

// knock ends the sshd of a visitor who went away: it sees its port go silent, unless it came when nobody was there any
// more. Then it waits for somebody to hear its greeting.
func (m *qemu) knock(ctx context.Context, i int) error {
	conn, err := socket(ctx, m.dir, channelSocket(i))
	if err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // a socket has deadlines
	_, _ = conn.Read(make([]byte, 1))                     // whatever it says, or not
	return conn.Close()
}

// newKey makes a key, and its private half as sshd reads it.
func newKey() (ssh.Signer, []byte, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	return signer, pem.EncodeToMemory(block), err
}

// inside is a way into the machine that stays open for the next one who asks.
func (m *qemu) inside(ctx context.Context) (*ssh.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client != nil {
		return m.client, nil
	}
	client, err := m.channel(ctx)
	if err != nil {
		return nil, err
	}
	m.client = client
	go func() {
		_ = client.Wait() // the machine went off, or was reset
		m.forget(client)
	}()
	return client, nil
}

// forget has the next one who asks look for a new way in.
func (m *qemu) forget(client *ssh.Client) {
	_ = client.Close() // whatever is left of it
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client == client {
		m.client = nil
	}
}

// Dial implements Machine.
func (m *qemu) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	client, err := m.inside(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := client.DialContext(ctx, network, addr)
	var refused *ssh.OpenChannelError
	if err != nil && !errors.As(err, &refused) {
		m.forget(client) // it does not answer any more, as after a reset of the machine
	}
	return conn, err
}

// output runs args inside the machine and returns what they write, on both outputs; their failure is an error.
func (m *qemu) output(ctx context.Context, args ...string) (string, error) {
	client, err := m.inside(ctx)
	if err != nil {
		return "", err
	}
	// A machine that was reset never answers the old way in: without it what waits returns, whatever it waits for.
	defer context.AfterFunc(ctx, func() { m.forget(client) })()
	s, err := client.NewSession()
	if err != nil {
		m.forget(client)
		return "", err
	}
	out, err := s.CombinedOutput(run.Line(args))
	return strings.TrimSpace(string(out)), err
}

// Command implements Machine: this program again, which enters the machine and is the other one's terminal.
func (m *qemu) Command(args ...string) (run.Cmd, error) {
	if err := m.on(); err != nil {
		return run.Cmd{}, err
	}
	return run.Command(slices.Concat(m.enter, []string{m.dir, "--"}, args)...), nil
}

// enterTime is how long a machine may take to let somebody in: it may be the slowest of four on two cores.
const enterTime = time.Minute
