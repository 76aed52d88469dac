package connection

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/pgbake/pgbake/cluster"
)

// JDBC is the login as a URL of PostgreSQL's driver for Java, 42.2 or later, without user and password.
//
// hostRecheckSeconds: the driver remembers for 10 s which address was no primary, and would not look at the new one.
// loginTimeout: an address that takes the connection and then says nothing; long enough to try each address.
// channelBinding: as libpq's channel_binding, from 42.7.4 on; older ones pass it over.
// No socketTimeout: it would end long queries. tcpKeepAlive follows the system's timers (net.ipv4.tcp_keepalive_*).
// https://jdbc.postgresql.org/documentation/use/#connection-parameters
func JDBC(c *cluster.Cluster, l Login, dir string) string {
	target := "primary"
	if l.ReadOnly {
		target = "preferSecondary"
	}
	p := []parameter{
		{"targetServerType", target},
		{"hostRecheckSeconds", "2"},
		{"connectTimeout", strconv.Itoa(connectTimeout)},
		{"loginTimeout", strconv.Itoa(connectTimeout * (1 + len(doors(c, l.ReadOnly))))},
		{"tcpKeepAlive", "true"},
		{"sslmode", "verify-full"},
		{"sslrootcert", path.Join(dir, caFile)},
		{"channelBinding", "require"},
	}
	if l.ReadOnly && len(c.Proxies) == 0 {
		p = append(p, parameter{"loadBalanceHosts", "true"}) // nobody else spreads the readers
	}
	return "jdbc:postgresql://" + addresses(c, l) + "/" + l.Database + "?" + query(p)
}

func jdbcStrings(c *cluster.Cluster, logins []Login, dir string) []byte {
	var b bytes.Buffer
	head(&b, c, `Connections of Java, by PostgreSQL's driver (org.postgresql.Driver). User and password go apart from the URL.
A pool must throw away connections that failed and test those that lay idle: after a failover all of them are new.
A dead peer is noticed by the system's keepalives: net.ipv4.tcp_keepalive_time=60, _intvl=10, _probes=3.`)
	for _, l := range logins {
		fmt.Fprintf(&b, "\n# %s\n%s\n", l.title(), JDBC(c, l, dir))
	}
	return b.Bytes()
}

// globalServer is the manual's section of global3.config.xml, one for each database, which its owner writes to.
func globalServer(c *cluster.Cluster, in Input) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<!-- Cluster %s. Written by pgbake connect: change cluster.yaml and run it again.
     Goes into the section <databases> of global3.config.xml. It holds passwords: keep both files at mode 0600.
     alias is the name that GlobalServer knows the database by: choose your own. -->
`, strings.ReplaceAll(c.Scope, "--", "- -")) // "--" would end the comment
	for _, d := range c.Postgres.Databases {
		l := Login{User: d.Owner, Database: d.Name}
		fmt.Fprintf(&b, `<database alias=%s driver="org.postgresql.Driver" schema="PUBLIC"
          url=%s
          connectionType="proxyShared" authenticationType="btk">
  <users>
    <user name=%s password=%s/>
  </users>
  <metaManager
    mode="Xml"
    defaultNamespace="ru.bitec.app.btk"
    sbtName="main"
  />
  <eclipseLink
    persistenceUnitName="pgdev"
    autoCommit="false"
  />
</database>
`, attribute(l.Database), attribute(JDBC(c, l, in.Dir)), attribute(l.User), attribute(in.Passwords[l.User]))
	}
	return b.Bytes()
}

// attribute is a value of XML in its quotes.
func attribute(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes everything
	return `"` + b.String() + `"`
}

// source is one connection of DBeaver.
type source struct {
	Provider      string        `json:"provider"`
	Driver        string        `json:"driver"`
	Name          string        `json:"name"`
	SavePassword  bool          `json:"save-password"`
	ReadOnly      bool          `json:"read-only,omitempty"`
	Configuration configuration `json:"configuration"`
}

// configuration is by URL: DBeaver's form has one host, and the URL has all that is in it besides.
type configuration struct {
	Host              string `json:"host"`
	Port              string `json:"port"`
	Database          string `json:"database"`
	URL               string `json:"url"`
	ConfigurationType string `json:"configurationType"`
	Type              string `json:"type"`
	AuthModel         string `json:"auth-model"`
	User              string `json:"user"`
}

// dbeaver is data-sources.json of a DBeaver project, without passwords: DBeaver keeps those encrypted, and asks.
func dbeaver(c *cluster.Cluster, logins []Login, dir string) []byte {
	all := map[string]source{}
	for _, l := range logins {
		door := doors(c, l.ReadOnly)[0]
		// The same login keeps its place in the project when the file is written anew.
		id := sha256.Sum256([]byte(c.Scope + " " + Service(c, l)))
		all["postgres-jdbc-"+hex.EncodeToString(id[:8])] = source{
			Provider: "postgresql", Driver: "postgres-jdbc", Name: c.Scope + ": " + l.title(), ReadOnly: l.ReadOnly,
			Configuration: configuration{
				Host: door.Addr().String(), Port: strconv.Itoa(int(door.Port())), Database: l.Database, URL: JDBC(c, l, dir),
				ConfigurationType: "URL", Type: "prod", AuthModel: "native", User: l.User,
			},
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(map[string]any{"folders": struct{}{}, "connections": all}) // strings and booleans always encode
	return b.Bytes()
}
