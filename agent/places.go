package agent

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// places are so many, for whoever comes. When all are taken, the source that has the most gives its oldest up to the one that
// comes: nobody who asks now and then is kept out by one who holds what he can get.
type places struct {
	limit int
	mu    sync.Mutex
	// taken are in the order in which they were taken.
	taken []*place
}

type place struct {
	source netip.Addr
	end    func()
}

// take gives source a place until leave is called. end is called, once, when another one gets it before.
func (p *places) take(source netip.Addr, end func()) (leave func()) {
	mine := &place{source, end}
	p.mu.Lock()
	var out *place
	if len(p.taken) >= p.limit {
		out = p.oldestOfMost()
		p.remove(out)
	}
	p.taken = append(p.taken, mine)
	p.mu.Unlock()
	if out != nil {
		out.end()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.remove(mine)
	}
}

func (p *places) oldestOfMost() *place {
	count := map[netip.Addr]int{}
	for _, t := range p.taken {
		count[t.source]++
	}
	oldest := p.taken[0]
	for _, t := range p.taken {
		if count[t.source] > count[oldest.source] {
			oldest = t
		}
	}
	return oldest
}

func (p *places) remove(gone *place) {
	p.taken = slices.DeleteFunc(p.taken, func(t *place) bool { return t == gone })
}

// placed is a listener that holds no more connections than there are places.
type placed struct {
	net.Listener
	places *places
}

func (l placed) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &placedConn{Conn: conn}
	c.leave = l.places.take(source(conn.RemoteAddr().String()), func() { _ = conn.Close() })
	return c, nil
}

type placedConn struct {
	net.Conn
	leave func()
}

func (c *placedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// source is the address in "address:port"; the zero one when there is none.
func source(remote string) netip.Addr {
	a, _ := netip.ParseAddrPort(remote) // of a connection that was made
	return a.Addr().Unmap().WithZone("")
}
