package verify

import (
	"context"
	"crypto/tls"
	"slices"
	"strings"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// doors are all places where PostgreSQL answers clients: both ports of the proxies, and the members themselves.
func (v *Verifier) doors() []door {
	return slices.Concat(v.proxies(v.Cluster.Ports.ReadWrite), v.proxies(v.Cluster.Ports.ReadOnly), v.members())
}

// each tries all doors at the same time, and writes down what was found in their order.
func (v *Verifier) each(f *finding, try func(door, *finding)) {
	doors := v.doors()
	found := make([]finding, len(doors))
	together(len(doors), func(i int) { try(doors[i], &found[i]) })
	for _, one := range found {
		f.found, f.wrong = append(f.found, one.found...), append(f.wrong, one.wrong...)
	}
}

// soon is when a certificate should have been renewed long ago: pgbake seed renews what has less than a third of its life left.
const soon = 14 * 24 * time.Hour

func certificates(ctx context.Context, v *Verifier, f *finding) {
	var first time.Time
	ends := make(chan time.Time, len(v.doors()))
	v.each(f, func(d door, f *finding) {
		conn, err := v.connect(ctx, d, v.login)
		if err != nil {
			f.bad("%s: %s", d, why(err))
			return
		}
		defer hangUp(conn)
		encrypted, ok := conn.PgConn().Conn().(*tls.Conn)
		if !ok {
			f.bad("%s: the session is not encrypted", d)
			return
		}
		end := encrypted.ConnectionState().PeerCertificates[0].NotAfter
		if time.Until(end) < soon {
			f.bad("%s: its certificate ends on %s", d, end.Format(time.DateOnly))
		}
		ends <- end
		old := v.tls(d.at.Addr().String())
		old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if conn, err := v.connectWith(ctx, d, v.login, old); err == nil {
			hangUp(conn)
			f.bad("%s: takes TLS 1.1", d)
		}
	})
	close(ends)
	n := 0
	for end := range ends {
		if n++; first.IsZero() || end.Before(first) {
			first = end
		}
	}
	if n > 0 {
		f.good("%s, all with the authority's signature and their own name; the first certificate to end does so on %s; nothing older than TLS 1.2", plural(n, "door"), first.Format(time.DateOnly))
	}
}

func plainText(ctx context.Context, v *Verifier, f *finding) {
	v.each(f, func(d door, f *finding) {
		conn, err := v.connectWith(ctx, d, v.login, nil)
		refused(f, d, conn != nil, err, "a login of "+v.login.user+" without TLS")
		if conn != nil {
			hangUp(conn)
		}
	})
}

// refused writes down how a login that must not succeed ended: by pg_hba.conf, and before any password was asked for.
func refused(f *finding, d door, in bool, err error, what string) {
	switch {
	case in:
		f.bad("%s lets it in: %s", d, what)
	case code(err) == notAllowed:
		f.good("%s refuses %s", d, what)
	case code(err) == wrongWord:
		f.bad("%s would let it in with the right password: %s", d, what)
	default:
		f.bad("%s: %s: cannot tell: %s", d, what, why(err))
	}
}

const rightsQuery = `SELECT r.rolsuper OR EXISTS (SELECT FROM pg_roles s WHERE s.rolsuper AND pg_has_role(r.oid, s.oid, 'MEMBER')),
	r.rolcreatedb, r.rolcreaterole, r.rolreplication, r.rolbypassrls,
	coalesce((SELECT string_agg(p.rolname, ', ' ORDER BY 1) FROM pg_roles p WHERE p.rolname IN
		('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files') AND pg_has_role(r.oid, p.oid, 'MEMBER')), '')
	FROM pg_roles r WHERE r.rolname = current_user`

// rights are what a role may beyond its own tables.
type rights struct {
	superuser, createDB, createRole, replication, bypassRLS bool
	machine                                                 string // roles that let it onto the machine
}

func users(ctx context.Context, v *Verifier, f *finding) {
	entry := v.entries()[0]
	for _, u := range v.Cluster.Postgres.Users {
		password := v.Secrets.Users[u.Name]
		var r rights
		var entered []string
		for _, d := range v.Cluster.Postgres.Databases {
			as := login{user: u.Name, password: password, database: d.Name}
			err := v.ask(ctx, entry, as, rightsQuery, &r.superuser, &r.createDB, &r.createRole, &r.replication, &r.bypassRLS, &r.machine)
			if err != nil {
				f.bad("%s cannot use database %s through %s: %s%s", u.Name, d.Name, entry, why(err), v.adopted())
				continue
			}
			entered = append(entered, d.Name)
		}
		if entered == nil {
			continue
		}
		if beyond := r.beyond(u); beyond != "" {
			f.bad("%s %s%s", u.Name, beyond, v.adopted())
			continue
		}
		f.good("%s enters %s; %s", u.Name, strings.Join(entered, ", "), r)
	}
}

// adopted reminds that an older database's users are left as they were.
func (v *Verifier) adopted() string {
	if v.Cluster.Adopt.Node == "" {
		return ""
	}
	return " (the database was adopted, and its users stay as they are as long as adopt stands in the specification)"
}

// beyond is where the rights are not the specification's.
func (r rights) beyond(u cluster.User) string {
	var wrong []string
	add := func(when bool, what string) {
		if when {
			wrong = append(wrong, what)
		}
	}
	add(r.superuser, "is a superuser, or may become one")
	add(r.replication, "may stream the whole cluster (REPLICATION)")
	add(r.bypassRLS, "passes by row security (BYPASSRLS)")
	add(r.machine != "", "reaches the machine itself as "+r.machine)
	add(r.createDB && !u.CreateDB, "may make databases, which the specification does not say")
	add(!r.createDB && u.CreateDB, "may not make databases, which the specification says")
	add(r.createRole && !u.CreateRole, "may make roles, which the specification does not say")
	add(!r.createRole && u.CreateRole, "may not make roles, which the specification says")
	return strings.Join(wrong, "; ")
}

func (r rights) String() string {
	switch {
	case r.createDB && r.createRole:
		return "may make databases and roles, as specified"
	case r.createDB:
		return "may make databases, as specified"
	case r.createRole:
		return "may make roles, as specified"
	}
	return "no right beyond its own tables"
}

func wrongPassword(ctx context.Context, v *Verifier, f *finding) {
	v.each(f, func(d door, f *finding) {
		as := v.login
		as.password += "-not"
		conn, err := v.connect(ctx, d, as)
		switch {
		case err == nil:
			hangUp(conn)
			f.bad("%s lets %s in with a wrong password", d, as.user)
		case code(err) == wrongWord:
			f.good("%s refuses %s", d, as.user)
		default:
			f.bad("%s: cannot tell: %s", d, why(err))
		}
	})
}

// rewindUser is whom the members run pg_rewind as.
const rewindUser = "rewind"

// superuser tries with the right passwords where there are any: the way in must be closed, not only locked.
func superuser(ctx context.Context, v *Verifier, f *finding) {
	type who struct {
		login
		what string
	}
	replicator := v.Cluster.Postgres.ReplicationUser
	tries := []who{{login{user: "postgres", password: "postgres", database: "postgres"}, "postgres"}}
	if v.isMachine() {
		f.good("this host is a machine of the cluster, which %s and %s may come from: they are not tried", replicator, rewindUser)
	} else {
		tries = append(tries,
			who{login{user: replicator, password: v.Secrets.Replicator, database: v.login.database}, replicator},
			who{login{user: replicator, password: v.Secrets.Replicator, streams: true}, replicator + ", who wants to stream"},
			who{login{user: rewindUser, password: v.Secrets.Rewind, database: "postgres"}, rewindUser})
	}
	v.each(f, func(d door, f *finding) {
		one := finding{}
		var kept []string
		for _, t := range tries {
			conn, err := v.connect(ctx, d, t.login)
			refused(&one, d, conn != nil, err, t.what)
			if conn != nil {
				hangUp(conn)
			}
			kept = append(kept, t.what)
		}
		if f.wrong = one.wrong; len(one.wrong) == 0 {
			f.good("%s refuses %s", d, strings.Join(kept, "; "))
		}
	})
}

func closedDatabases(ctx context.Context, v *Verifier, f *finding) {
	if v.Cluster.Adopt.Node != "" {
		f.skip("the database was adopted, and who may enter it stays as it was")
		return
	}
	conn, err := v.primary(ctx)
	if err != nil {
		f.bad("%s", oneLine(err))
		return
	}
	defer hangUp(conn)
	for _, d := range v.Cluster.Postgres.Databases {
		var open bool
		switch err := conn.QueryRow(ctx, "SELECT has_database_privilege('public', $1, 'CONNECT')", d.Name).Scan(&open); {
		case err != nil:
			f.bad("%s: %s", d.Name, why(err))
		case open:
			f.bad("everybody who may log in may enter %s", d.Name)
		default:
			f.good("%s is closed to others", d.Name)
		}
	}
}
