// Package connection is what applications need to connect to a cluster.
//
// In come a *cluster.Cluster, its CA's certificate, the applications' passwords, and the directory that the files will
// lie in; out come rootfs.Files with their names in that directory, and the strings that are in them. Only those with
// mode 0600 hold passwords. It only computes.
package connection

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
)

// Login is who connects to which database, and what for.
type Login struct {
	User, Database string
	// ReadOnly prefers replicas, and is content with the primary when there is none.
	ReadOnly bool
}

// Service is the login's name in pg_service.conf: the database where its owner logs in, else user@database; ".ro" at
// the end of a read-only one. No user or database has a "@" or a "." in its name.
func Service(c *cluster.Cluster, l Login) string {
	name := l.Database
	if !owns(c, l) {
		name = l.User + "@" + name
	}
	if l.ReadOnly {
		name += ".ro"
	}
	return name
}

func owns(c *cluster.Cluster, l Login) bool {
	return slices.Contains(c.Postgres.Databases, cluster.Database{Name: l.Database, Owner: l.User})
}

// Input is what the specification does not say.
type Input struct {
	// CA is the certificate of the cluster's authority, PEM.
	CA []byte
	// Passwords are the applications', by user.
	Passwords map[string]string
	// Dir is the absolute path that the files will lie in where the application runs, without control characters.
	Dir string
}

// Timeouts and keepalives of the clients: PostgreSQL's and HAProxy's own (render), so that all three give a dead peer up
// together, in one and a half minutes when nothing is said, in 30 s when something is.
const (
	connectTimeout    = 5 // seconds, for each address
	keepalivesIdle    = 60
	keepalivesSpacing = 10
	keepalivesCount   = 3
	tcpUserTimeout    = 30_000 // milliseconds
)

// Logins are every database as its owner, and the users who own none at the first database; each read-write, then read-only.
func Logins(c *cluster.Cluster) []Login {
	var all []Login
	owner := map[string]bool{}
	add := func(user, database string) {
		owner[user] = true
		all = append(all, Login{User: user, Database: database}, Login{User: user, Database: database, ReadOnly: true})
	}
	for _, d := range c.Postgres.Databases {
		add(d.Owner, d.Name)
	}
	for _, u := range c.Postgres.Users {
		if !owner[u.Name] && len(c.Postgres.Databases) > 0 {
			add(u.Name, c.Postgres.Databases[0].Name)
		}
	}
	return all
}

// doors are where a login knocks, in this order: the virtual address or each proxy, then every member itself, so that
// the loss of all proxies costs a timeout and not the service.
func doors(c *cluster.Cluster, readOnly bool) []netip.AddrPort {
	all := c.Entries()
	if len(c.Proxies) == 0 {
		return all
	}
	if readOnly {
		for i, e := range all {
			all[i] = netip.AddrPortFrom(e.Addr(), port(c.Ports.ReadOnly))
		}
	}
	for _, n := range c.Nodes {
		all = append(all, netip.AddrPortFrom(n.Address, port(c.Ports.Postgres)))
	}
	return all
}

func port(p int) uint16 { return uint16(p) } //nolint:gosec // validated 1..65535

// Files are everything an application's machine may want. Their paths begin with "/" and go on below Input.Dir.
func Files(c *cluster.Cluster, in Input) ([]rootfs.File, error) {
	logins := Logins(c)
	if len(logins) == 0 {
		return nil, errors.New("the specification names no database to connect to\n      hint: add postgres.databases and postgres.users")
	}
	for _, l := range logins {
		if in.Passwords[l.User] == "" {
			return nil, fmt.Errorf("the password of user %q is missing\n      hint: pgbake init adds what is missing and changes nothing else", l.User)
		}
	}
	files := []rootfs.File{
		{Path: "/ca.crt", Mode: 0o644, Body: in.CA},
		{Path: "/pgpass", Mode: 0o600, Body: pgpass(c, in.Passwords)},
		{Path: "/pg_service.conf", Mode: 0o644, Body: services(c, logins, in.Dir)},
		{Path: "/libpq.txt", Mode: 0o644, Body: libpqStrings(c, logins, in.Dir)},
		{Path: "/jdbc.txt", Mode: 0o644, Body: jdbcStrings(c, logins, in.Dir)},
		{Path: "/globalserver.xml", Mode: 0o600, Body: globalServer(c, in)},
		{Path: "/dbeaver/data-sources.json", Mode: 0o644, Body: dbeaver(c, logins, in.Dir)},
	}
	return append(files, queries...), nil
}

// title says in words what a login is.
func (l Login) title() string {
	kind := "read-write"
	if l.ReadOnly {
		kind = "read-only"
	}
	return fmt.Sprintf("%s as %s, %s", l.Database, l.User, kind)
}
