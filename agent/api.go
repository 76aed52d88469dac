package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// restUser is the name that Patroni's REST API wants for writes.
const restUser = "patroni"

// api asks etcd and Patroni, here and on the peers, with the machine's own certificates.
type api struct {
	c      *cluster.Cluster
	rest   string // password
	client *http.Client
	// peers gives up sooner: whoever does not take a connection at once is asked again in a moment.
	peers *http.Client
	roots *x509.CertPool
}

func newAPI(s *Seed) (*api, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.Identity["ca.crt"]) {
		return nil, errors.New("read " + tlsDir + "/ca.crt: no certificate in it")
	}
	conf := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	if s.Machine.Role == cluster.DB {
		pair, err := tls.X509KeyPair(s.Identity["etcd-client.crt"], s.Identity["etcd-client.key"])
		if err != nil {
			return nil, fmt.Errorf("read %s/etcd-client.crt and .key: %w", tlsDir, err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	client := func(dial, all time.Duration) *http.Client {
		return straight(all, &http.Transport{TLSClientConfig: conf, DialContext: (&net.Dialer{Timeout: dial}).DialContext})
	}
	return &api{s.Cluster, s.Secrets.REST, client(3*time.Second, 3*time.Second), client(300*time.Millisecond, 2*time.Second), roots}, nil
}

// trust is what a connection to a program of the cluster at addr is made with, when it is not HTTP's.
func (a *api) trust(addr netip.Addr) *tls.Config {
	return &tls.Config{RootCAs: a.roots, ServerName: addr.String(), MinVersion: tls.VersionTLS12}
}

// straight is a client that goes nowhere else than it was told. No program of the cluster redirects; a machine that does would
// have this one's certificate, and Patroni's password, shown to whom it likes.
func straight(timeout time.Duration, transport http.RoundTripper) *http.Client {
	return &http.Client{Timeout: timeout, Transport: transport, CheckRedirect: func(to *http.Request, _ []*http.Request) error {
		return fmt.Errorf("it leads on to %s, where nobody was to go", to.URL.Host)
	}}
}

// member is what Patroni says of one PostgreSQL, at /patroni.
type member struct {
	State    string `json:"state"`
	Role     string `json:"role"`
	Timeline int    `json:"timeline"`
	Pending  bool   `json:"pending_restart"`
	// Paused tells that Patroni does nothing by itself.
	Paused bool   `json:"pause"`
	System string `json:"database_system_identifier"`
	// Seen is when Patroni last spoke to etcd, in seconds of its clock.
	Seen int64 `json:"dcs_last_seen"`
	// Replication is who streams from it.
	Replication []standby `json:"replication"`
	// WAL is where it is in the WAL, in bytes.
	WAL struct {
		Location   int64  `json:"location"`
		Replayed   int64  `json:"replayed_location"`
		ReplayedAt string `json:"replayed_timestamp"`
	} `json:"xlog"`
}

// standby is one replica, as its primary sees it.
type standby struct {
	Name  string `json:"application_name"`
	State string `json:"state"`
}

// leads tells whether it is the primary; Patroni 3 says "master".
func (m member) leads() bool { return m.Role == "primary" || m.Role == "master" }

// leadsStandby tells whether it streams for the whole cluster from a primary elsewhere.
func (m member) leadsStandby() bool { return m.Role == "standby_leader" }

// runs tells whether PostgreSQL serves: as the primary, or as a replica of it.
func (m member) runs() bool { return m.State == "running" || m.State == "streaming" }

func (a *api) member(ctx context.Context, addr netip.Addr) (member, error) {
	var m member
	// 503 with a body is Patroni's answer while PostgreSQL is down or starting.
	return m, a.do(ctx, http.MethodGet, a.patroni(addr, "/patroni"), nil, &m)
}

// etcdHealthy tells whether the member at addr sees a quorum.
func (a *api) etcdHealthy(ctx context.Context, addr netip.Addr) bool {
	quorum, _ := a.etcdHealth(ctx, addr)
	return quorum
}

// etcdHealth tells also whether it answers at all.
func (a *api) etcdHealth(ctx context.Context, addr netip.Addr) (quorum, runs bool) {
	var h struct {
		Health string `json:"health"`
	}
	err := a.do(ctx, http.MethodGet, fmt.Sprintf("https://%s/health", hostPort(addr, a.c.Ports.EtcdClient)), nil, &h)
	return err == nil && h.Health == "true", err == nil
}

// patroniAnswers tells whether Patroni runs at addr, whatever PostgreSQL does.
func (a *api) patroniAnswers(ctx context.Context, addr netip.Addr) bool {
	_, err := a.member(ctx, addr)
	return err == nil
}

// confirming names the replicas that may take over without loss, as etcd has it: the word that counts when the primary is
// gone. PostgreSQL's own sync_state is some loops ahead of it.
func (a *api) confirming(ctx context.Context, primary netip.Addr) ([]string, error) {
	var c struct {
		Members []struct{ Name, Role string }
	}
	if err := a.do(ctx, http.MethodGet, a.patroni(primary, "/cluster"), nil, &c); err != nil {
		return nil, err
	}
	var names []string
	for _, m := range c.Members {
		if m.Role == "sync_standby" || m.Role == "quorum_standby" {
			names = append(names, m.Name)
		}
	}
	return names, nil
}

// wake makes the primary's Patroni look around now, not at the end of its loop_wait. Any PATCH of the configuration does
// that, also one that changes nothing.
func (a *api) wake(ctx context.Context, primary netip.Addr) error {
	var now map[string]any
	if err := a.do(ctx, http.MethodGet, a.patroni(primary, "/config"), nil, &now); err != nil {
		return err
	}
	return a.patchSettings(ctx, primary, map[string]any{"ttl": now["ttl"]})
}

// patchSettings changes Patroni's dynamic configuration by a JSON merge patch.
func (a *api) patchSettings(ctx context.Context, addr netip.Addr, s map[string]any) error {
	return a.do(ctx, http.MethodPatch, a.patroni(addr, "/config"), s, nil)
}

func (a *api) patroni(addr netip.Addr, path string) string {
	return "https://" + hostPort(addr, a.c.Ports.Patroni) + path
}

func (a *api) do(ctx context.Context, method, url string, in, out any) error {
	body, err := a.ask(ctx, a.client, method, url, in)
	var status *statusError
	if errors.As(err, &status) && out != nil && json.Unmarshal(body, out) == nil {
		return nil // a refusal in the form of an answer
	}
	if err != nil || out == nil {
		return err
	}
	return decode(body, out, url)
}

// statusError is an answer that is not "200 OK".
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

// ask returns the body of the answer; with a *statusError, too.
func (a *api) ask(ctx context.Context, client *http.Client, method, url string, in any) ([]byte, error) {
	return a.send(ctx, client, method, url, in, method == http.MethodPatch)
}

// send is ask that shows Patroni's password or not.
func (a *api) send(ctx context.Context, client *http.Client, method, url string, in any, password bool) ([]byte, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if password {
		req.SetBasicAuth(restUser, a.rest)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // nothing is lost with a body that was read
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = &statusError{resp.StatusCode, fmt.Sprintf("%s %s: %s: %s", method, url, resp.Status, strings.TrimSpace(string(answer)))}
	}
	return answer, err
}

func decode(body []byte, out any, url string) error {
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", url, err)
	}
	return nil
}

func hostPort(addr netip.Addr, port int) string {
	return net.JoinHostPort(addr.String(), fmt.Sprint(port))
}
