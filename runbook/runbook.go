// Package runbook writes a cluster's own runbook: what is where, and what to do when, with its names and addresses in every
// command, in English and in Russian, and a picture of it.
//
// In comes a specification; out come files. It only computes, and knows no secret. Each language is one template that looks
// like the document it makes; both have the same commands in the same order, and a test walks through them on machines.
//
// Comments of the form <!-- play: … -->, which no reader sees, tell that test what happens to the cluster at that place.
package runbook

import (
	"bytes"
	"embed"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"text/template"

	"github.com/pgbake/pgbake/cluster"
)

//go:embed template
var templates embed.FS

// Languages are those that there is a runbook in.
var Languages = []string{"en", "ru"}

// Options are what the specification does not say.
type Options struct {
	// StatsUser is whom the proxies' statistics page lets in.
	StatsUser string
	// Command is what calls pgbake for this specification.
	Command string
}

// File is one file of the runbook.
type File struct {
	Name string
	Body []byte
}

// Files are the runbook in every language, and its picture.
func Files(c *cluster.Cluster, o Options) ([]File, error) {
	p := newPage(c, o)
	var all []File
	for _, language := range Languages {
		body, err := p.execute("runbook." + language + ".md")
		if err != nil {
			return nil, fmt.Errorf("write the runbook: %w", err)
		}
		all = append(all, File{"runbook." + language + ".md", body})
	}
	picture, err := picture(c)
	if err != nil {
		return nil, fmt.Errorf("draw the cluster: %w", err)
	}
	return append(all, File{"cluster.svg", picture}), nil
}

// page is what the templates see: the specification, and answers that would need more than if, range and with.
type page struct {
	*cluster.Cluster
	Options
	All []cluster.Machine
	// First, Second and Last are the members that the commands are typed on.
	First, Second, Last cluster.Node
	// Proxy is the first of the proxies.
	Proxy cluster.Node
	// Lone tells that there is one member; Grows that there are three, which may become five; Pair that there are two proxies.
	Lone, Grows, Pair bool
	// New are the members that would be added.
	New []cluster.Node
	// Patronictl is the command with its configuration, Psql that of the superuser on the member's own socket.
	Patronictl, Psql string
	// EtcdDataDir and HAProxySocket are where they lie.
	EtcdDataDir, HAProxySocket string
	// Etcdctl is the command with the members and the certificates, EtcdctlAlone with the first member only.
	Etcdctl, EtcdctlAlone string
	// MayFail is how many members may, and Majority how many must be there.
	MayFail, Majority int
	// Write and Read are where applications do so, as libpq and JDBC want it.
	Write, Read      string
	URL, ReadURL     string
	JDBC             string
	User, Database   string
	Clients, Admins  string
	ClusterNetwork   string
	TTL              int
	Release          string
	Data             string
	Synchronous      bool
	SynchronousNodes int
}

func newPage(c *cluster.Cluster, o Options) *page {
	n := len(c.Nodes)
	p := &page{
		Cluster: c, Options: o, All: c.Machines(), First: c.Nodes[0], Second: c.Nodes[min(1, n-1)], Last: c.Nodes[n-1],
		Lone: n == 1, Grows: n == 3, Pair: len(c.Proxies) > 1, MayFail: (n - 1) / 2, Majority: n/2 + 1,
		Patronictl: cluster.Patronictl, Psql: c.Ports.Psql(), Etcdctl: etcdctl(c, c.Nodes), EtcdctlAlone: etcdctl(c, c.Nodes[:1]),
		EtcdDataDir: cluster.EtcdDataDir, HAProxySocket: cluster.HAProxySocket,
		Clients: join(c.ClientNetworks), Admins: join(c.AdminNetworks), ClusterNetwork: c.Network.Masked().String(),
		TTL: c.Timers().TTL, Release: c.Debian.Codename(), Data: c.DataDir(),
		Synchronous: c.SynchronousMode() != "false", SynchronousNodes: c.SynchronousNodes(),
	}
	if len(c.Proxies) > 0 {
		p.Proxy = c.Proxies[0]
	}
	p.New = next(c, 2)
	if len(c.Postgres.Databases) > 0 {
		p.User, p.Database = c.Postgres.Databases[0].Owner, c.Postgres.Databases[0].Name
	}
	p.connections()
	return p
}

// connections are what applications connect by. Several hosts are tried in turn, by libpq and by JDBC alike.
func (p *page) connections() {
	hosts := func(port int) string {
		var all []string
		for _, e := range p.Entries() {
			if port == 0 {
				port = int(e.Port())
			}
			all = append(all, netip.AddrPortFrom(e.Addr(), uint16(port)).String()) //nolint:gosec // validated 1..65535
		}
		return strings.Join(all, ",")
	}
	p.Write, p.Read = hosts(0), hosts(p.Ports.ReadOnly)
	session, reading := "", ""
	if len(p.Proxies) == 0 {
		p.Read, session, reading = hosts(0), "&target_session_attrs=read-write", "&target_session_attrs=prefer-standby"
	}
	tls := "?sslmode=verify-full&sslrootcert=secrets/ca.crt&channel_binding=require"
	p.URL = fmt.Sprintf("postgresql://%s@%s/%s%s%s", p.User, p.Write, p.Database, tls, session)
	p.ReadURL = fmt.Sprintf("postgresql://%s@%s/%s%s%s", p.User, p.Read, p.Database, tls, reading)
	p.JDBC = fmt.Sprintf("jdbc:postgresql://%s/%s?user=%s&sslmode=verify-full&sslrootcert=ca.crt&channelBinding=require&tcpKeepAlive=true", p.Write, p.Database, p.User)
	if len(p.Proxies) == 0 {
		p.JDBC += "&targetServerType=primary"
	}
}

// etcdctl is the command for some of the members.
func etcdctl(c *cluster.Cluster, members []cluster.Node) string {
	var addresses []netip.Addr
	for _, n := range members {
		addresses = append(addresses, n.Address)
	}
	return c.Ports.Etcdctl(addresses...)
}

// next are as many members as could be added: names that go on counting, and free addresses behind the last one.
func next(c *cluster.Cluster, count int) (all []cluster.Node) {
	last := c.Nodes[len(c.Nodes)-1]
	stem := strings.TrimRight(last.Name, "0123456789")
	number, err := strconv.Atoi(strings.TrimPrefix(last.Name, stem))
	if err != nil {
		stem, number = last.Name+"-", 1
	}
	taken := map[netip.Addr]bool{c.VirtualAddress: true, c.Gateway: true}
	for _, m := range c.Machines() {
		taken[m.Address] = true
	}
	for a := last.Address.Next(); c.Network.Contains(a) && len(all) < count; a = a.Next() {
		if !taken[a] {
			number++
			all = append(all, cluster.Node{Name: fmt.Sprint(stem, number), Address: a})
		}
	}
	return all
}

func join(networks []netip.Prefix) string {
	all := make([]string, len(networks))
	for i, n := range networks {
		all[i] = n.String()
	}
	return strings.Join(all, ", ")
}

func (p *page) execute(name string) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").ParseFS(templates, "template/"+name)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, p)
	return b.Bytes(), err
}
