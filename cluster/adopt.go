package cluster

import (
	"encoding/pem"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Adopts tells whether the cluster begins with a database that this machine has already.
func (c *Cluster) Adopts(machine string) bool { return machine != "" && c.Adopt.Node == machine }

// BeginsElsewhere tells whether the cluster begins as a copy of a primary that is none of its machines.
func (c *Cluster) BeginsElsewhere() bool { return c.Adopt.Remote.Host != "" }

// IsAdopted tells whether the cluster begins with a database that is older than itself, wherever that is.
func (c *Cluster) IsAdopted() bool { return c.Adopt.Node != "" || c.BeginsElsewhere() }

// RemoteSlot is the replication slot that the cluster streams through from a primary elsewhere.
func (c *Cluster) RemoteSlot() string {
	return "pgha_" + strings.NewReplacer("-", "_", ".", "_").Replace(c.Scope)
}

// Verifies tells whether the mode asks for an authority that has signed the certificate.
func (m SSLMode) Verifies() bool { return m == SSLVerifyCA || m == SSLVerifyFull }

// Managed says why a parameter of an adopted database cannot stay as it was: who sets it now, what it would undo, or what
// PostgreSQL or Patroni would say of it. It is empty for one that can. name is in small letters.
func (c *Cluster) Managed(name, value string) (why string) {
	if why = Forbidden(name, value); why == "" && !c.brings(name) {
		if f := c.ParameterTarget().Judge(name, value); f != nil {
			why = f.Wrong
		}
	}
	return why
}

// stockCluster is a cluster as pg_lsclusters lists it; its parts become a path below /etc/postgresql.
var stockCluster = regexp.MustCompile(`^([0-9]+)/[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

func adoption(k *checker) {
	if !k.given("adopt") {
		return
	}
	if k.given("adopt.remote") {
		remote(k)
		return
	}
	if !k.given("adopt.node") {
		k.say("adopt.node", "", "is missing")
	}
	var nodes []string
	for _, n := range k.Nodes {
		nodes = append(nodes, n.Name)
	}
	if k.given("adopt.node") && !slices.Contains(nodes, k.Adopt.Node) && k.sound("nodes[].name") {
		k.say("adopt.node", didYouMean(k.Adopt.Node, nodes, some(nodes)), "%s is none of the nodes", brief(k.Adopt.Node))
	}
	const key = "adopt.cluster"
	parts := stockCluster.FindStringSubmatch(k.Adopt.Cluster)
	switch named := k.given(key); {
	case named && k.Adopt.Data:
		k.say("adopt.data", "keep one of the two", "a cluster of Debian's tools is named as well")
	case !named && !k.Adopt.Data && k.sound(key, "adopt.data"):
		k.say("adopt", fmt.Sprintf("cluster: %d/main, or data: true", k.Postgres.Version), "it does not say where the database lies")
	case !named:
	case parts == nil:
		k.say(key, "such as 17/main; pg_lsclusters lists them", "%s is no cluster of Debian's tools", brief(k.Adopt.Cluster))
	case parts[1] != strconv.Itoa(k.Postgres.Version) && k.sound("postgres.version", "debian", "postgres.source"):
		k.say(key, "pg_upgradecluster it first, or change postgres.version", "a database of PostgreSQL %s cannot become one of PostgreSQL %d", parts[1], k.Postgres.Version)
	case k.Storage.DataDisk != "":
		k.say("storage.data_disk", "take it out; or, when the database lies on that disk, adopt.data: true", "a data disk would be mounted over the data of %s", k.Adopt.Cluster)
	}
}

func remote(k *checker) {
	const key = "adopt.remote"
	for _, other := range []string{"adopt.node", "adopt.cluster", "adopt.data"} {
		if k.given(other) {
			k.say(other, "keep one of the two", "a primary elsewhere is named as well")
		}
	}
	r := k.Adopt.Remote
	address, err := netip.ParseAddr(r.Host)
	if k.given(key+".host") && !dnsName(r.Host) {
		k.say(key+".host", "such as old-db.example.org or 10.1.2.3", "%s is neither a name nor an address", brief(r.Host))
	}
	for _, m := range k.machines() {
		if r.Host != "" && r.Host == m.Name || err == nil && address == m.Address {
			k.say(key+".host", fmt.Sprintf("a database on %s itself: node: %[1]s", m.Name), "%s is a machine of the cluster", brief(r.Host))
		}
	}
	if k.given(key+".port") && (r.Port < 1 || r.Port > 65535) {
		k.say(key+".port", "", "%d is no TCP port: 1 to 65535", r.Port)
	}
	block, _ := pem.Decode([]byte(r.CA))
	switch {
	case r.SSLMode.Verifies() && r.CA == "" && k.sound(key+".ca", key+".sslmode"):
		k.say(key, "ca: the text of the certificate that has signed the other's; or, when it has none, sslmode: require, or prefer", "sslmode %s needs a ca", r.SSLMode)
	case r.CA == "":
	case r.SSLMode != "" && !r.SSLMode.Verifies() && k.sound(key+".sslmode"):
		k.say(key+".ca", "sslmode: verify-full", "sslmode %s looks at no certificate", r.SSLMode)
	case block == nil || block.Type != "CERTIFICATE":
		k.say(key+".ca", "the file's text, with its lines BEGIN and END CERTIFICATE", "no certificate in PEM")
	}
	if len(r.CA) > 0 && strings.Contains(r.CA, "PRIVATE KEY") {
		k.say(key+".ca", "the certificate alone", "a private key stands here")
	}
	if longest := 63; len(k.RemoteSlot()) > longest {
		k.say("scope", "", "pgha_ and the scope name the replication slot: at most %d letters", longest)
	}
}
