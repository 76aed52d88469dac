package agent

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// Strangers who hold many connections, in whichever state, keep nobody else out. (A thousand on a machine: test/e2e.)
func TestDoorFlood(t *testing.T) {
	const many = 300
	for name, say := range map[string]string{
		"nothing":     "",
		"half a head": "GET /state HTTP/1.1\r\nHost: db1\r\nX-Much: ",
		"half a post": "POST /generation HTTP/1.1\r\nHost: db1\r\nContent-Length: 131000\r\n\r\n" + strings.Repeat("x", 100_000),
	} {
		for _, spread := range []int{1, 250} {
			t.Run(fmt.Sprintf("%s from %d addresses", name, spread), func(t *testing.T) {
				d := newDoor(t)
				before := openFiles(t)
				for i := range many {
					dial := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%spread))}, Timeout: 5 * time.Second}
					conn, err := dial.DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", d.api.c.Ports.PGHA))
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = conn.Close() })
					if say == "" {
						continue
					}
					_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
					c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a stranger
					_, _ = c.Write([]byte(say))                                  // it may be shown out before its end
				}
				// The machine that tests may be slow; members ask again, too.
				for range 20 {
					d.api.client.CloseIdleConnections()
					d.api.peers.CloseIdleConnections()
					within(t, func() error { _, err := d.api.doorState(t.Context(), d.addr); return err })
				}
				offered := d.generation()
				within(t, func() error { return d.api.offer(t.Context(), d.addr, offered) })
				// Of each connection that is held there are two ends here.
				if n := openFiles(t) - before - many; n > 100 {
					t.Errorf("%d connections are held", n)
				}
			})
		}
	}
}

// within has something work within half a minute.
func within(t *testing.T, works func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if err = works(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// openFiles counts what this process has open.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A head or a body that is larger than any of ours is refused.
func TestDoorSizes(t *testing.T) {
	d := newDoor(t)
	for name, c := range map[string]struct {
		head, body int
		want       int
	}{
		"small": {100, 2, http.StatusConflict}, // no generation
		"head":  {20_000, 2, http.StatusRequestHeaderFieldsTooLarge},
		"body":  {100, 200_000, http.StatusConflict},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.api.doorURL(netip.MustParseAddr("127.0.0.1"), generationPath), strings.NewReader(strings.Repeat("x", c.body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Much", strings.Repeat("x", c.head))
		resp, err := d.api.client.Do(req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _ = resp.Body.Close(); resp.StatusCode != c.want {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
}
