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
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// How the machines are asked: from their own inside, where no firewall stands, and without starting a program there
// each time. A boot on two cores would feel a Python that starts ten times a second.

// askTime is how long one machine may take to answer.
func (l *Lab) askTime() time.Duration {
	if l.virtual() {
		return 30 * time.Second // its first answer brings an sshd with it, and it may be the slowest of four
	}
	return 3 * time.Second // beside other labs; most answer in a tenth
}

// pause is how long a machine is left alone after it was asked: what a container answers costs next to nothing.
func (l *Lab) pause() time.Duration {
	if l.virtual() {
		return askPause
	}
	return tick
}

const askPause = time.Second / 2

// connectTime is how long a connection into the lab may take to come about.
const connectTime = 10 * time.Second

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
	m := l.machine(n.Name)
	if !m.Alive() {
		return false, "", a
	}
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, l.askTime())
	defer cancel()
	ca, err := m.ReadFile(ctx, cluster.SeedDir+"/tls/ca.crt")
	if err != nil {
		return true, l.doing(whole, m, "Patroni"), a
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := http.Client{Transport: &http.Transport{
		DialContext:       m.Dial,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}}
	url := "https://" + net.JoinHostPort(n.Address.String(), strconv.Itoa(l.c.Ports.Patroni))
	if err := getJSON(ctx, &client, url+"/patroni", &a); err != nil {
		return true, l.doing(whole, m, "Patroni"), patroniAnswer{}
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
	m := l.machine(n.Name)
	if p.On = m.Alive(); !p.On {
		return
	}
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, l.askTime())
	defer cancel()
	if l.c.VirtualAddress.IsValid() {
		addresses, _ := m.Addresses(ctx) // no answer: it has none
		p.Holds = slices.Contains(addresses, l.c.VirtualAddress)
	}
	conn, err := m.Dial(ctx, "unix", cluster.HAProxySocket)
	if err != nil {
		p.Note = l.doing(whole, m, "HAProxy")
		return
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // what waits returns
	defer conn.Close()                                          //nolint:errcheck // only read
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

// doing is what pgha does, or waits for, on a machine where a service does not answer; what its console shows before that.
func (l *Lab) doing(ctx context.Context, m Machine, service string) string {
	ctx, cancel := context.WithTimeout(ctx, l.askTime()/4)
	defer cancel()
	body, err := m.ReadFile(ctx, cluster.StatusFile)
	if errors.Is(err, errFrozen) {
		return errFrozen.Error()
	}
	if err != nil {
		return shown(m.Console())
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

// A terminal's codes: colours, and those that move about, as a boot loader's menu does.
var (
	colour = regexp.MustCompile(`\x1b\[[0-9;]*m`)
	moves  = regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]|[\x00-\x09\x0b-\x1f]`)
)

// LastLines are the last n lines of a console, without its terminal's codes; what is there of them.
func LastLines(console string, n int) string {
	return moves.ReplaceAllString(colour.ReplaceAllString(lastLines(console, n), ""), "")
}

// shown is what stands last on a machine's console, as far as it fits into a table.
func shown(console string) string {
	const most = 60
	parts := moves.Split(colour.ReplaceAllString(lastLines(console, 1), ""), -1)
	for _, part := range slices.Backward(parts) {
		line := []rune(strings.TrimSpace(part))
		switch {
		case len(line) > most:
			return "boots: " + string(line[:most]) + "…"
		case len(line) > 0:
			return "boots: " + string(line)
		}
	}
	return ""
}

// dialIn connects from inside a network namespace. The address is a number: it is dialled by the thread that is inside.
func dialIn(ctx context.Context, ns, network, addr string) (conn net.Conn, err error) {
	err = inNetwork(ns, func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}
