package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/pgbake/pgbake/agent/join"
	"github.com/pgbake/pgbake/cluster"
)

// How machines see each other while no etcd runs: on etcd's peer port, which is open between the members already, the
// agent answers with a greeting, to holders of a member's certificate. It hands the port to etcd when that starts. A proxy
// answers there all the time, by `pgha follow`: it only ever says whether it remembers the cluster alive.

// greetPath is where greetings are exchanged.
const greetPath = "/pgha"

// greeting is what a machine says of itself.
type greeting struct {
	Name string `json:"name"`
	// Cluster is the number of the etcd cluster that it would found.
	Cluster string `json:"cluster"`
	// Data and Database tell what lies on its disk, Remembers whether it has seen the cluster alive.
	Data      bool `json:"data,omitempty"`
	Database  bool `json:"database,omitempty"`
	Remembers bool `json:"remembers,omitempty"`
	// Ordered tells that the operator has ordered a new cluster there.
	Ordered bool `json:"ordered,omitempty"`
	// Age is how long ago the cluster's authority was made, by its clock.
	Age time.Duration `json:"age"`
	// Generation is the number of its specification; 0 when its seed tells none.
	Generation int `json:"generation,omitempty"`
	// Waiting says what it waits for, At when it said so.
	Waiting string    `json:"waiting,omitempty"`
	At      time.Time `json:"at,omitzero"`
	// strange says what is wrong with the certificate of one that could not be asked.
	strange string
}

// state is what the greeting says to a machine that would found the cluster id.
func (c greeting) state(id string) join.State {
	switch {
	case c.Cluster != id:
		return join.Stranger
	case c.Data || c.Database:
		return join.Holds
	case c.Remembers:
		return join.Remembers
	}
	return join.Fresh
}

// counter answers with greetings on the peer port.
type counter struct {
	server   *http.Server
	mu       sync.Mutex
	greeting greeting
}

// show changes the greeting.
func (c *counter) show(now greeting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.greeting = now
}

// open begins to answer. took gets the greeting of everybody who asks.
func (c *counter) open(s *Seed, pair tls.Certificate, took func(greeting)) error {
	if c.server != nil {
		return nil
	}
	members := x509.NewCertPool()
	members.AppendCertsFromPEM(s.Identity["ca.crt"])
	address := hostPort(s.Machine.Address, s.Cluster.Ports.EtcdPeer)
	listener, err := net.Listen("tcp", address) //nolint:noctx // it does not wait
	if err != nil {
		return fmt.Errorf("answer the other machines: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+greetPath, func(w http.ResponseWriter, r *http.Request) {
		var theirs greeting
		if json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&theirs) != nil {
			http.Error(w, "no greeting", http.StatusBadRequest)
			return
		}
		took(theirs)
		c.mu.Lock()
		mine := c.greeting
		c.mu.Unlock()
		_ = json.NewEncoder(w).Encode(mine) // the asker asks again
	})
	c.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second,
		// A machine that is switched off in the middle of a handshake is no news.
		ErrorLog: nothing,
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{pair}, ClientCAs: members,
			ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
		},
	}
	go func(server *http.Server) { _ = server.ServeTLS(listener, "", "") }(c.server) // ends by close
	return nil
}

// close frees the port.
func (c *counter) close() {
	if c.server != nil {
		_ = c.server.Close() // whoever was asking asks again
		c.server = nil
	}
}

// greet shows a machine our greeting and returns its own.
func (a *api) greet(ctx context.Context, n cluster.Node, mine greeting) (theirs greeting, err error) {
	at := peerURL(a.c, n) + greetPath
	body, err := a.ask(ctx, a.peers, http.MethodPost, at, mine)
	if err != nil {
		return greeting{}, err
	}
	return theirs, decode(body, &theirs, at)
}

// look finds out what another database machine is. The agent answers, or etcd does, which knows nothing of greetings and
// tells strangers only whom it knows.
func (a *api) look(ctx context.Context, n cluster.Node, mine greeting) (join.State, greeting) {
	theirs, err := a.greet(ctx, n, mine)
	var status *statusError
	switch {
	case err == nil:
		return theirs.state(mine.Cluster), theirs
	case !errors.As(err, &status) || status.code != http.StatusNotFound:
		return join.Silent, greeting{strange: strangeness(err)}
	}
	id, list, err := a.etcdPeers(ctx, n)
	if err != nil {
		return join.Silent, greeting{}
	}
	wasReady := slices.ContainsFunc(list, func(m etcdPeer) bool { return len(m.ClientURLs) > 0 })
	switch {
	case wasReady:
		return join.Member, greeting{}
	case id != mine.Cluster:
		return join.Stranger, greeting{}
	}
	return join.Newborn, greeting{}
}

// etcdPeer is a member as etcd's peer port lists it, quorum or not; one that was ready once has client addresses.
type etcdPeer struct {
	ClientURLs []string `json:"clientURLs"`
}

// etcdPeers asks an etcd for its cluster's number and for the members it knows.
func (a *api) etcdPeers(ctx context.Context, n cluster.Node) (id string, list []etcdPeer, err error) {
	at := peerURL(a.c, n) + "/members"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", nil, err
	}
	resp, err := a.peers.Do(req)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("GET %s: %s", at, resp.Status)
	}
	return resp.Header.Get("X-Etcd-Cluster-ID"), list, json.NewDecoder(resp.Body).Decode(&list)
}

// heardFile is where a proxy keeps the greetings of those who asked it, for `pgha status`.
const heardFile = "/run/pgha/heard.json"

const (
	// heardTime is how long a greeting is news; who waits for the others greets every second.
	heardTime = 10 * time.Second
	// mostHeard is more than a cluster has members.
	mostHeard = 16
)

// readHeard returns the greetings that reached this proxy in the last seconds.
func readHeard(root string) map[string]greeting {
	heard := map[string]greeting{}
	body, err := os.ReadFile(filepath.Join(root, heardFile))
	if err != nil || json.Unmarshal(body, &heard) != nil {
		return nil
	}
	for name, c := range heard {
		if time.Since(c.At) > heardTime {
			delete(heard, name)
		}
	}
	return heard
}
