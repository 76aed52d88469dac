package verify

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// reachTime is how long a port may take to answer: a firewall that drops says nothing.
const reachTime = 2 * time.Second

// reaches tells whether a connection to the door comes about.
func (v *Verifier) reaches(ctx context.Context, d door) bool {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	conn, err := v.Dial(ctx, "tcp", d.at.String())
	if err != nil {
		return false
	}
	if a, err := netip.ParseAddrPort(conn.LocalAddr().String()); err == nil {
		local := a.Addr().Unmap()
		v.local.Store(&local)
	}
	_ = conn.Close() // it was only to come about
	return true
}

// reached are the doors that answer, in order.
func (v *Verifier) reached(ctx context.Context, doors []door) (all []door) {
	open := make([]bool, len(doors))
	together(len(doors), func(i int) { open[i] = v.reaches(ctx, doors[i]) })
	for i, d := range doors {
		if open[i] {
			all = append(all, d)
		}
	}
	return all
}

// isMachine tells whether this host is one of the cluster's own machines, which the firewall lets through.
func (v *Verifier) isMachine() bool {
	local := v.local.Load()
	return local != nil && slices.ContainsFunc(v.Cluster.Machines(), func(m cluster.Machine) bool { return m.Address == *local })
}

func (v *Verifier) isAdmin() bool {
	local := v.local.Load()
	return local != nil && slices.ContainsFunc(v.Cluster.AdminNetworks, func(n netip.Prefix) bool { return n.Contains(*local) })
}

// client speaks HTTP to one door, with TLS and the name verified, and every request on a connection of its own.
func (v *Verifier) client(d door) *http.Client {
	return &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return v.Dial(ctx, network, d.at.String())
			},
			TLSClientConfig:   v.tls(d.at.Addr().String()),
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// request returns the status of an answer.
func (v *Verifier) request(ctx context.Context, d door, method, scheme, path, body, user, password string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://"+d.at.String()+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := v.client(d).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, err
}

// alive are the members that answer at all: the silence of a dead one's other ports proves nothing.
func (v *Verifier) alive(ctx context.Context, f *finding) []door {
	there := v.reached(ctx, v.members())
	if missing := len(v.Cluster.Nodes) - len(there); missing > 0 {
		f.skip("%d of %d members do not even answer at PostgreSQL's port: nothing can be told of them", missing, len(v.Cluster.Nodes))
	}
	return there
}

// others are the same machines' doors of other ports.
func others(doors []door, ports ...int) (all []door) {
	for _, d := range doors {
		for _, port := range ports {
			all = append(all, doorOf(cluster.Node{Name: d.name, Address: d.at.Addr()}, port))
		}
	}
	return all
}

func etcdClosed(ctx context.Context, v *Verifier, f *finding) {
	there := v.alive(ctx, f)
	if len(there) == 0 {
		return
	}
	open := v.reached(ctx, others(there, v.Cluster.Ports.EtcdClient, v.Cluster.Ports.EtcdPeer))
	if len(open) == 0 {
		f.good("ports %d and %d of %s do not answer this host", v.Cluster.Ports.EtcdClient, v.Cluster.Ports.EtcdPeer, plural(len(there), "member"))
	}
	for _, d := range open {
		if !v.isMachine() {
			f.bad("%s answers this host, which is no machine of the cluster", d)
		}
		for _, scheme := range []string{"http", "https"} {
			if status, err := v.request(ctx, d, http.MethodGet, scheme, "/version", "", "", ""); err == nil && status < http.StatusBadRequest {
				f.bad("%s answers %s without a certificate: whoever writes there commands every member", d, scheme)
			} else {
				f.good("%s says nothing by %s without a certificate", d, scheme)
			}
		}
	}
}

func patroniAPI(ctx context.Context, v *Verifier, f *finding) {
	there := v.alive(ctx, f)
	if len(there) == 0 {
		return
	}
	doors := others(there, v.Cluster.Ports.Patroni)
	open := v.reached(ctx, doors)
	if len(open) == 0 {
		f.good("port %d of %s does not answer this host", v.Cluster.Ports.Patroni, plural(len(doors), "member"))
		return
	}
	var primaries []string
	for _, d := range open {
		if !v.isMachine() {
			f.bad("%s answers this host, which is no machine of the cluster", d)
		}
		status, err := v.request(ctx, d, http.MethodGet, "https", "/primary", "", "", "")
		switch {
		case err != nil:
			f.bad("%s: %s", d, why(err))
			continue
		case status == http.StatusOK:
			primaries = append(primaries, d.name)
		}
		// An empty change changes nothing where it is taken.
		switch status, err := v.request(ctx, d, http.MethodPatch, "https", "/config", "{}", "", ""); {
		case err != nil:
			f.bad("%s: %s", d, why(err))
		case status == http.StatusUnauthorized || status == http.StatusForbidden:
			f.good("%s takes no change without a password (%d)", d, status)
		default:
			f.bad("%s takes a change of the configuration from anybody (%d): that is running programs on the members", d, status)
		}
	}
	if len(open) == len(v.Cluster.Nodes) && len(primaries) != 1 {
		f.bad("%d members say that they lead: %s", len(primaries), strings.Join(primaries, ", "))
	} else if len(primaries) == 1 {
		f.good("%s says that it leads", primaries[0])
	}
}

func statistics(ctx context.Context, v *Verifier, f *finding) {
	if len(v.Cluster.Proxies) == 0 {
		f.skip("there is no proxy")
		return
	}
	for _, n := range v.Cluster.Proxies {
		d := doorOf(n, v.Cluster.Ports.Stats)
		switch {
		case v.reaches(ctx, d):
		case v.isAdmin():
			f.bad("%s does not answer this host, which is in admin_networks", d)
			continue
		case v.local.Load() == nil:
			f.skip("%s does not answer, and nothing else does: whether it should answer this host cannot be told", d)
			continue
		default:
			f.good("%s does not answer this host, which is not in admin_networks", d)
			continue
		}
		for _, path := range []string{"/", "/metrics"} {
			f.page(d, path+" without a password", http.StatusUnauthorized, func() (int, error) {
				return v.request(ctx, d, http.MethodGet, "https", path, "", "", "")
			})
			f.page(d, path+" with the password", http.StatusOK, func() (int, error) {
				return v.request(ctx, d, http.MethodGet, "https", path, "", v.StatsUser, v.Secrets.Stats)
			})
		}
		if status, err := v.request(ctx, d, http.MethodGet, "http", "/", "", v.StatsUser, "x"); err == nil && status != http.StatusBadRequest {
			f.bad("%s answers without TLS (%d)", d, status)
		}
	}
}

// page writes down whether a page's status is what it must be.
func (f *finding) page(d door, what string, want int, get func() (int, error)) {
	switch status, err := get(); {
	case err != nil:
		f.bad("%s%s: %s", d, what, why(err))
	case status != want:
		f.bad("%s%s is answered with %d %s, not %d", d, what, status, http.StatusText(status), want)
	default:
		f.good("%s", fmt.Sprintf("%s%s: %d", d, what, status))
	}
}
