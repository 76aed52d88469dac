package connection

import (
	"bytes"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/libpq"
)

// The names of the files that others point to.
const (
	caFile     = "ca.crt"
	pgpassFile = "pgpass"
)

// parameter is one of a connection, in the order it is written.
type parameter struct{ name, value string }

// parameters are what libpq is told beside hosts, ports, user and database
// (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS). dir is where ca.crt lies.
// Neither load_balance_hosts (16) nor a newer word is among them: Debian 12's own libpq is 15.
func parameters(l Login, dir string) []parameter {
	session := "read-write"
	if l.ReadOnly {
		session = "prefer-standby"
	}
	return []parameter{
		{"target_session_attrs", session},
		{"connect_timeout", strconv.Itoa(connectTimeout)},
		{"keepalives_idle", strconv.Itoa(keepalivesIdle)},
		{"keepalives_interval", strconv.Itoa(keepalivesSpacing)},
		{"keepalives_count", strconv.Itoa(keepalivesCount)},
		{"tcp_user_timeout", strconv.Itoa(tcpUserTimeout)},
		{"sslmode", "verify-full"},
		{"sslrootcert", path.Join(dir, caFile)},
		// The server proves that it knows the password, too, on this very connection: a stolen proxy has a certificate that
		// clients trust, and would be told the password if it asked.
		{"channel_binding", "require"},
	}
}

// keywords are all of a login's parameters, in libpq's words.
func keywords(c *cluster.Cluster, l Login, dir string) []parameter {
	var hosts, ports []string
	for _, d := range doors(c, l.ReadOnly) {
		hosts, ports = append(hosts, d.Addr().String()), append(ports, strconv.Itoa(int(d.Port())))
	}
	first := []parameter{
		{"host", strings.Join(hosts, ",")}, {"port", strings.Join(ports, ",")}, {"dbname", l.Database}, {"user", l.User},
	}
	return append(first, parameters(l, dir)...)
}

// Libpq is the login as libpq's keywords and values, on one line, without the password.
func Libpq(c *cluster.Cluster, l Login, dir string) string {
	var words []string
	for _, p := range keywords(c, l, dir) {
		words = append(words, p.name+"="+libpq.Value(p.value))
	}
	return strings.Join(words, " ")
}

// URL is the login as libpq's URL, without the password. Other drivers read it, too; not all know every parameter.
func URL(c *cluster.Cluster, l Login, dir string) string {
	return "postgresql://" + l.User + "@" + addresses(c, l) + "/" + l.Database + "?" + query(parameters(l, dir))
}

func addresses(c *cluster.Cluster, l Login) string {
	var all []string
	for _, d := range doors(c, l.ReadOnly) {
		all = append(all, d.String())
	}
	return strings.Join(all, ",")
}

// query keeps the order, which url.Values does not, and writes a blank as %20, which every reader takes. A slash needs
// no escape there (RFC 3986, 3.4), and a path is easier to read with its own.
func query(parameters []parameter) string {
	var words []string
	for _, p := range parameters {
		value := strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(p.value))
		words = append(words, p.name+"="+value)
	}
	return strings.Join(words, "&")
}

func libpqStrings(c *cluster.Cluster, logins []Login, dir string) []byte {
	var b bytes.Buffer
	head(&b, c, fmt.Sprintf(`Connections of everything that is built on libpq: psql, pg_dump, Python, PHP, Ruby, ODBC and others.
The password comes from PGPASSFILE=%s, which must be 0600, or from PGPASSWORD.
Addresses are tried in turn; target_session_attrs decides which of them will do. A certificate of an address, not a
name, is verified by libpq 15 and later.`, path.Join(dir, pgpassFile)))
	for _, l := range logins {
		fmt.Fprintf(&b, "\n# %s\n%s\n%s\n", l.title(), URL(c, l, dir), Libpq(c, l, dir))
	}
	return b.Bytes()
}

// services is pg_service.conf (https://www.postgresql.org/docs/current/libpq-pgservice.html): a value goes to the end of its line.
func services(c *cluster.Cluster, logins []Login, dir string) []byte {
	var b bytes.Buffer
	head(&b, c, "psql service=NAME, with this file as PGSERVICEFILE, ~/.pg_service.conf or /etc/postgresql-common/pg_service.conf.")
	for _, l := range logins {
		fmt.Fprintf(&b, "\n# %s\n[%s]\n", l.title(), Service(c, l))
		for _, p := range append(keywords(c, l, dir), parameter{"passfile", path.Join(dir, pgpassFile)}) {
			fmt.Fprintf(&b, "%s=%s\n", p.name, p.value)
		}
	}
	return b.Bytes()
}

// pgpass has every user at every door, and nowhere else: a password is not to be told to whoever asks for it.
// https://www.postgresql.org/docs/current/libpq-pgpass.html
func pgpass(c *cluster.Cluster, passwords map[string]string) []byte {
	var b bytes.Buffer
	head(&b, c, "Passwords: keep it at mode 0600, or libpq ignores it. One line is host:port:database:user:password.")
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace
	seen := map[string]bool{}
	for _, readOnly := range []bool{false, true} {
		for _, d := range doors(c, readOnly) {
			for _, u := range c.Postgres.Users {
				line := fmt.Sprintf("%s:%d:*:%s:%s\n", escape(d.Addr().String()), d.Port(), escape(u.Name), escape(passwords[u.Name]))
				if !seen[line] && passwords[u.Name] != "" {
					b.WriteString(line)
				}
				seen[line] = true
			}
		}
	}
	return b.Bytes()
}

// head says who wrote a file and what it is for.
func head(b *bytes.Buffer, c *cluster.Cluster, text string) {
	lines := append([]string{fmt.Sprintf("Cluster %s. Written by pgbake connect: change cluster.yaml and run it again.", c.Scope)}, strings.Split(text, "\n")...)
	for _, line := range lines {
		fmt.Fprintf(b, "# %s\n", line)
	}
}
