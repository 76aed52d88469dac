package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/monitor"
	"github.com/pgbake/pgbake/cluster"
)

// The door is where machines tell each other of newer generations: TLS on a port of its own, open to the cluster's network.
// It asks nobody who they are, for a machine that is new is known to none: what is taken bears the operator's signature,
// and what is given holds no secret.
//
//	GET  /generation  the newest that this machine has
//	POST /generation  a newer one; 409 with the reason when it is not taken
//	GET  /state       its number, and what stands in the way of a newer one
//	GET  /state?full  the same, and how the machine is: for `pgha status` and the monitors
//	GET  /members     the addresses of etcd's members; 503 where no quorum answers
const (
	generationPath = "/generation"
	statePath      = "/state"
	membersPath    = "/members"
	// fullQuery asks for all that there is to tell; without it the answer costs next to nothing.
	fullQuery = "full"
)

// What is unknown may not take this machine's memory: as many connections as ten times the machines that a cluster may have,
// and in as few of them somebody may be saying what the generation is.
const (
	mostConnections = 64
	mostOffers      = 8
	headerSize      = 4 << 10
)

// doorState is what a machine says of its generation.
type doorState struct {
	Machine string `json:"machine"`
	Number  int    `json:"number"`
	// Refused says why a newer one was not taken.
	Refused string `json:"refused,omitempty"`
	// Trust is what its certificates are worth, once its services were told of them.
	Trust *cluster.Trust `json:"certificates,omitempty"`
	// Maintenance is the one that the cluster is in, for proxies, which cannot ask etcd.
	Maintenance *Maintenance `json:"maintenance,omitempty"`
	// Restore is the one that a member carries out, for them too.
	Restore *Restoring `json:"restore,omitempty"`
	// Now is its clock; from here on only the full answer tells.
	Now time.Time `json:"now,omitzero"`
	// Report is what its monitor has found out last, Age seconds ago, Alerts are those that it knows of.
	Report *monitor.Report `json:"report,omitempty"`
	Age    float64         `json:"report_age_seconds,omitempty"`
	Alerts []monitor.Alert `json:"alerts,omitempty"`
	// Etcd is the member there.
	Etcd *monitor.Etcd `json:"etcd,omitempty"`
	// Routes are where a proxy leads at this moment; NoRoutes says why HAProxy does not answer.
	Routes   *monitor.Routes `json:"routes,omitempty"`
	NoRoutes string          `json:"no_routes,omitempty"`
	// Backup is the note of the last backup that was taken there.
	Backup *monitor.Backups `json:"backup,omitempty"`
}

// serve opens the door until ctx ends.
func (f *follower) serve(ctx context.Context) error {
	address := hostPort(f.seed.Machine.Address, f.seed.Cluster.Ports.PGHA)
	listener, err := net.Listen("tcp", address) //nolint:noctx // it does not wait
	if err != nil {
		return fmt.Errorf("answer the other machines: %w", err)
	}
	listener = placed{listener, &places{limit: mostConnections}}
	offers := &places{limit: mostOffers}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+generationPath, func(w http.ResponseWriter, _ *http.Request) {
		g, err := readGeneration(f.Root)
		if err != nil || g.Number == 0 {
			http.Error(w, "no generation", http.StatusNotFound)
			return
		}
		_, _ = w.Write(g.Encode()) // whoever asks asks again
	})
	mux.HandleFunc("POST "+generationPath, func(w http.ResponseWriter, r *http.Request) {
		leave := offers.take(source(r.RemoteAddr), func() { _ = http.NewResponseController(w).SetReadDeadline(time.Now()) })
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, cluster.MaxGeneration))
		leave()
		if err == nil {
			err = f.accept(r.Context(), body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	mux.HandleFunc("GET "+statePath, func(w http.ResponseWriter, r *http.Request) {
		s := f.state()
		if r.URL.RawQuery == fullQuery {
			f.tell(r.Context(), &s)
		}
		_ = json.NewEncoder(w).Encode(s)
	})
	mux.HandleFunc("GET "+membersPath, func(w http.ResponseWriter, r *http.Request) {
		if f.seed.Machine.Role != cluster.DB || !f.api.etcdHealthy(r.Context(), f.seed.Machine.Address) {
			http.Error(w, "no quorum here", http.StatusServiceUnavailable)
			return
		}
		list, err := f.api.members(r.Context(), f.seed.Machine.Address)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		addresses := make([]netip.Addr, len(list.Members))
		for i, m := range list.Members {
			addresses[i] = m.address()
		}
		_ = json.NewEncoder(w).Encode(addresses)
	})
	name := "etcd"
	if f.seed.Machine.Role == cluster.Proxy {
		name = "proxy"
	}
	pair := filepath.Join(f.Root, tlsDir, name)
	server := &http.Server{
		Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, ErrorLog: nothing,
		MaxHeaderBytes: headerSize, Protocols: onlyHTTP1(), // of HTTP/2 a connection carries many requests
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			// Anew for each connection: it may have been renewed.
			c, err := tls.LoadX509KeyPair(pair+".crt", pair+".key")
			return &c, err
		}},
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	err = server.ServeTLS(listener, "", "")
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func onlyHTTP1() *http.Protocols {
	p := &http.Protocols{}
	p.SetHTTP1(true)
	return p
}

func (f *follower) state() doorState {
	g, err := readGeneration(f.Root)
	m, r := f.upkeep.announced()
	s := doorState{Machine: f.seed.Machine.Name, Number: g.Number, Refused: f.refused(), Maintenance: m, Restore: r}
	if err != nil {
		s.Refused = err.Error()
	}
	if t, ok := readTrust(f.Root); ok {
		s.Trust = &t
	}
	return s
}

// The same from the other side.

func (a *api) doorURL(addr netip.Addr, path string) string {
	return "https://" + hostPort(addr, a.c.Ports.PGHA) + path
}

func (a *api) doorState(ctx context.Context, addr netip.Addr) (doorState, error) {
	return a.stateAt(ctx, a.peers, a.doorURL(addr, statePath))
}

// fullState is the full answer.
func (a *api) fullState(ctx context.Context, addr netip.Addr) (doorState, error) {
	return a.stateAt(ctx, a.client, a.doorURL(addr, statePath+"?"+fullQuery))
}

func (a *api) stateAt(ctx context.Context, client *http.Client, at string) (s doorState, err error) {
	body, err := a.ask(ctx, client, http.MethodGet, at, nil)
	if err != nil {
		return s, err
	}
	return s, decode(body, &s, at)
}

func (a *api) doorMembers(ctx context.Context, addr netip.Addr) (list []netip.Addr, err error) {
	at := a.doorURL(addr, membersPath)
	body, err := a.ask(ctx, a.peers, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	return list, decode(body, &list, at)
}

func (a *api) generation(ctx context.Context, addr netip.Addr) ([]byte, error) {
	return a.ask(ctx, a.peers, http.MethodGet, a.doorURL(addr, generationPath), nil)
}

// offer gives a machine a generation; the error is its own reason where it does not take it.
func (a *api) offer(ctx context.Context, addr netip.Addr, body []byte) error {
	return a.offerBy(ctx, a.peers, addr, body)
}

func (a *api) offerBy(ctx context.Context, client *http.Client, addr netip.Addr, body []byte) error {
	answer, err := a.ask(ctx, client, http.MethodPost, a.doorURL(addr, generationPath), json.RawMessage(body))
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusConflict {
		return errors.New(strings.TrimSpace(string(answer)))
	}
	return err
}

// acceptTime is how long this machine may take to take a generation.
const acceptTime = 30 * time.Second

// Accept gives a generation to this machine's own follower, which tells the others. left names the members that it does
// not list any more.
func (a *Agent) Accept(ctx context.Context, body []byte) (number int, left []string, err error) {
	seed, err := ReadSeed(a.Root)
	if err != nil {
		return 0, nil, err
	}
	api, err := newAPI(seed)
	if err != nil {
		return 0, nil, &SeedError{err}
	}
	if !json.Valid(body) {
		body = []byte("{}") // the door says what it thinks of it
	}
	// What it takes it renders and keeps first, which a slow disk makes long.
	patient := straight(acceptTime, api.peers.Transport)
	err = api.offerBy(ctx, patient, seed.Machine.Address, body)
	var unreachable *net.OpError
	if errors.As(err, &unreachable) {
		err = fmt.Errorf("%w\n      hint: systemctl start %s", err, followUnit)
	}
	if err != nil {
		return 0, nil, err
	}
	g, err := readGeneration(a.Root)
	if err != nil {
		return 0, nil, err
	}
	for _, n := range seed.Cluster.Nodes {
		if !lists(g, n.Name) {
			left = append(left, n.Name)
		}
	}
	return g.Number, left, nil
}
