package agent

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// page is what Prometheus reads: TLS with this machine's certificate, on a port of its own that the firewall opens to the
// administrators' networks. It shows the last look, and looks for nobody.
type page struct {
	mu     sync.Mutex
	text   []byte
	server *http.Server
	at     string
	said   string
}

func (p *page) show(text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = text
}

// serve opens the port, unless it is open. Where that fails it is tried again: alerts matter more.
func (p *page) serve(ctx context.Context, a *Agent, s *Seed) {
	at := hostPort(s.Machine.Address, s.Cluster.Ports.Metrics)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == at {
		return
	}
	if p.server != nil { // the specification has another port now
		_ = p.server.Close()
		p.server, p.at = nil, ""
	}
	listener, err := net.Listen("tcp", at) //nolint:noctx // it does not wait
	if err != nil {
		if p.said != err.Error() {
			a.Say("answer Prometheus: %v", err)
			p.said = err.Error()
		}
		return
	}
	name := "rest"
	if s.Machine.Role == cluster.Proxy {
		name = "proxy"
	}
	pair := filepath.Join(a.Root, tlsDir, name)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		text := p.text
		p.mu.Unlock()
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(text) // Prometheus asks again
	})
	server := &http.Server{
		Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: nothing,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(pair+".crt", pair+".key")
			return &c, err
		}},
	}
	p.server, p.at, p.said = server, at, ""
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.ServeTLS(listener, "", "") }() // ends by Close
}
