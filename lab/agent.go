package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
)

// The guest agent inside a machine in QEMU answers over a serial port: before there is a network, and with its cable
// pulled. It looks by itself; programs it can only start.

// errFrozen says that a machine's processor stands still.
var errFrozen = errors.New("is frozen")

// agent begins a conversation with the guest agent.
func (m *qemu) agent(ctx context.Context) (*talk, error) {
	var state struct{ Status string }
	if err := m.qmp(ctx, "query-status", nil, &state); err != nil {
		return nil, err
	}
	if state.Status == "paused" {
		return nil, fmt.Errorf("ask %s: it %w", m.name, errFrozen)
	}
	switch up, err := m.listens(ctx, agentSocket); {
	case err != nil:
		return nil, err
	case !up:
		return nil, fmt.Errorf("ask %s: its guest agent does not run yet", m.name)
	}
	conn, err := socket(ctx, m.dir, agentSocket)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", m.name, err)
	}
	t := newTalk(ctx, conn)
	// What an asker before us left unread ends with this byte, and its answer begins with it.
	const mark = 0xff
	id := rand.Int32() //nolint:gosec // tells answers apart
	if _, err = conn.Write([]byte{mark}); err == nil {
		err = t.send("guest-sync-delimited", map[string]any{"id": id})
	}
	for got := int32(-1); err == nil && got != id; {
		if _, err = t.in.ReadBytes(mark); err == nil {
			err = t.answer("guest-sync-delimited", &got)
		}
	}
	if err != nil {
		t.close()
		return nil, fmt.Errorf("ask %s: %w", m.name, err)
	}
	return t, nil
}

// ReadFile implements Machine.
func (m *qemu) ReadFile(ctx context.Context, name string) ([]byte, error) {
	t, err := m.agent(ctx)
	if err != nil {
		return nil, err
	}
	defer t.close()
	var handle int
	if err := t.call("guest-file-open", map[string]any{"path": name}, &handle); err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", name, m.name, err)
	}
	var body bytes.Buffer
	for {
		var part struct {
			Bytes []byte `json:"buf-b64"`
			EOF   bool
		}
		if err = t.call("guest-file-read", map[string]any{"handle": handle, "count": 1 << 16}, &part); err != nil {
			break
		}
		body.Write(part.Bytes)
		if part.EOF || len(part.Bytes) == 0 {
			break
		}
	}
	if err = errors.Join(err, t.call("guest-file-close", map[string]any{"handle": handle}, nil)); err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", name, m.name, err)
	}
	return body.Bytes(), nil
}

// Addresses implements Machine.
func (m *qemu) Addresses(ctx context.Context) ([]netip.Addr, error) {
	t, err := m.agent(ctx)
	if err != nil {
		return nil, err
	}
	defer t.close()
	var cards []struct {
		Addresses []struct {
			Address netip.Addr `json:"ip-address"`
		} `json:"ip-addresses"`
	}
	if err := t.call("guest-network-get-interfaces", nil, &cards); err != nil {
		return nil, fmt.Errorf("ask %s: %w", m.name, err)
	}
	var all []netip.Addr
	for _, c := range cards {
		for _, a := range c.Addresses {
			all = append(all, a.Address)
		}
	}
	return all, nil
}

// spawn starts a program in the machine and leaves it alone.
func (m *qemu) spawn(ctx context.Context, path string, args ...string) error {
	t, err := m.agent(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.call("guest-exec", map[string]any{"path": path, "arg": args}, nil); err != nil {
		return fmt.Errorf("start %s on %s: %w", path, m.name, err)
	}
	return nil
}
