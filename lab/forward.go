package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Forward opens the applications' ports on this host's loopback and leads them into the lab's network, until ctx ends
// or the lab goes down. say hears of each where it leads. Nothing else of the host's network is touched.
func (l *Lab) Forward(ctx context.Context, say func(from, to string)) error {
	if err := l.needNetwork(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var listeners []net.Listener
	defer func() {
		for _, in := range listeners {
			_ = in.Close() // its end is what was wanted
		}
	}()
	targets := l.doors()
	for _, to := range targets {
		in, err := new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port()).String())
		if errors.Is(err, unix.EADDRINUSE) {
			return fmt.Errorf("forward port %d: %w\n      hint: `ss -ltnp sport = :%[1]d` says who has it; ports in cluster.yaml changes ours", to.Port(), unix.EADDRINUSE)
		}
		if err != nil {
			return fmt.Errorf("forward port %d: %w", to.Port(), err)
		}
		listeners = append(listeners, in)
		say(in.Addr().String(), to.String())
	}
	var wg sync.WaitGroup
	for i, in := range listeners {
		wg.Go(func() {
			for {
				conn, err := in.Accept()
				if err != nil {
					cancel(err)
					return
				}
				go l.forward(ctx, conn, targets[i])
			}
		})
	}
	wg.Go(func() {
		err := every(ctx, askPause, "watch the lab", func() error {
			if l.net.exists() {
				return errors.New("it is up")
			}
			return nil
		})
		if err == nil {
			cancel(fmt.Errorf("forward: lab %s went down", l.c.Scope))
		}
	})
	<-ctx.Done()
	for _, in := range listeners {
		_ = in.Close() // ends the accepting
	}
	wg.Wait()
	return context.Cause(ctx)
}

// doors are where applications and administrators connect: a port of a proxy, or of the lone member.
func (l *Lab) doors() []netip.AddrPort {
	entries := l.c.Entries()
	if len(l.c.Proxies) == 0 {
		return entries[:1]
	}
	at := func(a netip.Addr, port int) netip.AddrPort { return netip.AddrPortFrom(a, uint16(port)) } //nolint:gosec // validated 1..65535
	return slices.Concat(entries[:1], []netip.AddrPort{
		at(entries[0].Addr(), l.c.Ports.ReadOnly),
		at(l.c.Proxies[0].Address, l.c.Ports.Stats),
	})
}

// forward carries one connection.
func (l *Lab) forward(ctx context.Context, from net.Conn, to netip.AddrPort) {
	defer from.Close() //nolint:errcheck // the other side closed
	asking, cancel := limit(ctx, connectTime)
	conn, err := dialIn(asking, l.net.file(), "tcp", to.String())
	cancel()
	if err != nil {
		return // the client sees its connection end, as it would without a forwarder
	}
	defer conn.Close() //nolint:errcheck // as above
	defer context.AfterFunc(ctx, func() { _ = errors.Join(from.Close(), conn.Close()) })()
	done := make(chan struct{}, 2)
	carry := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // whoever ends it, ends it
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		done <- struct{}{}
	}
	go carry(conn, from)
	go carry(from, conn)
	<-done
	<-done
}
