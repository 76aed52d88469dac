package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// How the machines are asked: from inside their own networks and files, where no firewall stands, and without
// starting a program there. A boot on two cores would feel a Python that starts ten times a second.

// askTime is how long one machine may take to answer.
const askTime = time.Second

// patroniAnswer is what GET /patroni says: https://patroni.readthedocs.io/en/latest/rest_api.html#monitoring-endpoint
type patroniAnswer struct {
	Role     string `json:"role"`
	State    string `json:"state"`
	Timeline int    `json:"timeline"`
	XLog     struct {
		Location int64 `json:"location"`
		Replayed int64 `json:"replayed_location"`
	} `json:"xlog"`
	// Replication is who streams from this member.
	Replication []replication `json:"replication"`
	// cluster are the roles as etcd has them, by name: who confirms writes and may take over. PostgreSQL's own sync_state
	// is some of Patroni's loops ahead of it. Only a primary is asked.
	cluster map[string]string
}

type replication struct {
	Name  string `json:"application_name"`
	State string `json:"state"`
}

func (l *Lab) askPatroni(ctx context.Context, n cluster.Node) (on bool, note string, a patroniAnswer) {
	m := l.node(n)
	pid := m.leader()
	if pid == 0 {
		return false, "", a
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	ca, err := os.ReadFile(procPath(pid, "root/etc/pgha/tls/ca.crt"))
	if err != nil {
		return true, doing(pid, "Patroni"), a
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dial(ctx, pid, network, addr)
		},
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}}
	url := "https://" + net.JoinHostPort(n.Address.String(), strconv.Itoa(l.c.Ports.Patroni))
	if err := getJSON(ctx, &client, url+"/patroni", &a); err != nil {
		return true, doing(pid, "Patroni"), patroniAnswer{}
	}
	if a.Role == "primary" || a.Role == "master" {
		var c struct {
			Members []struct{ Name, Role string }
		}
		if err := getJSON(ctx, &client, url+"/cluster", &c); err != nil {
			return true, "Patroni's answer: " + err.Error(), a
		}
		a.cluster = map[string]string{}
		for _, m := range c.Members {
			a.cluster[m.Name] = m.Role
		}
	}
	return true, "", a
}

func getJSON(ctx context.Context, client *http.Client, url string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	return json.NewDecoder(resp.Body).Decode(answer)
}

func (l *Lab) askHAProxy(ctx context.Context, n cluster.Node, p *Proxy) {
	pid := l.node(n).leader()
	if p.On = pid != 0; !p.On {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	p.Holds = hasAddress(pid, l.c.VirtualAddress)
	conn, err := dial(ctx, pid, "unix", "/run/haproxy/admin.sock")
	if err != nil {
		p.Note = doing(pid, "HAProxy")
		return
	}
	defer conn.Close() //nolint:errcheck // only read
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline) //nolint:errcheck // a socket has deadlines
	}
	up, err := serversUp(conn)
	if err != nil {
		p.Note = "HAProxy's answer: " + err.Error()
		return
	}
	p.ReadWrite, p.ReadOnly = up["postgres_rw"], up["postgres_ro"]
}

// serversUp returns the servers that are up, by backend, as "show stat" tells:
// https://docs.haproxy.org/2.6/management.html#9.1
func serversUp(conn io.ReadWriter) (map[string][]string, error) {
	if _, err := io.WriteString(conn, "show stat -1 4 -1\n"); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	if _, err := in.Discard(len("# ")); err != nil {
		return nil, err
	}
	r := csv.NewReader(in)
	r.FieldsPerRecord = -1
	header, err := r.Read()
	if err != nil {
		return nil, err
	}
	column := map[string]int{}
	for i, name := range header {
		column[name] = i
	}
	up := map[string][]string{}
	for {
		f, err := r.Read()
		switch {
		case errors.Is(err, io.EOF):
			return up, nil
		case err != nil:
			return nil, err
		case len(f) != len(header):
			return nil, fmt.Errorf("a line of %d fields, not %d", len(f), len(header))
		}
		if strings.HasPrefix(f[column["status"]], "UP") {
			backend := f[column["pxname"]]
			up[backend] = append(up[backend], f[column["svname"]])
		}
	}
}

// hasAddress tells whether a card of the machine whose first process is pid has the address.
func hasAddress(pid int, want netip.Addr) (has bool) {
	_ = inNetwork(procPath(pid, "ns/net"), func() error { // the machine is gone: it has none
		addrs, err := net.InterfaceAddrs()
		has = slices.ContainsFunc(addrs, func(a net.Addr) bool {
			p, err := netip.ParsePrefix(a.String())
			return err == nil && p.Addr() == want
		})
		return err
	})
	return has
}

// doing is what pgha does, or waits for, on the machine whose first process is pid and where a service does not answer.
func doing(pid int, service string) string {
	body, err := os.ReadFile(procPath(pid, "root/run/pgha/status.json"))
	if err != nil {
		return ""
	}
	var s struct{ Step, Waiting, Error string }
	switch err := json.Unmarshal(body, &s); {
	case err != nil:
		return "" // caught while it is written
	case s.Error != "":
		return s.Error
	case s.Waiting != "":
		return s.Waiting
	case s.Step == "done":
		return service + " does not answer"
	}
	return s.Step
}

// dial connects from inside the machine whose first process is pid: in its network, or to a socket in its files.
func dial(ctx context.Context, pid int, network, addr string) (conn net.Conn, err error) {
	if network == "unix" {
		return new(net.Dialer).DialContext(ctx, network, procPath(pid, "root"+addr))
	}
	return dialIn(ctx, procPath(pid, "ns/net"), network, addr)
}

// dialIn connects from inside a network namespace. The address is a number: it is dialled by the thread that is inside.
func dialIn(ctx context.Context, ns, network, addr string) (conn net.Conn, err error) {
	err = inNetwork(ns, func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}
