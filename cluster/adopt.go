package cluster

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Adopts tells whether the cluster begins with a database that this machine has already.
func (c *Cluster) Adopts(machine string) bool { return machine != "" && c.Adopt.Node == machine }

// Managed says why a parameter of an adopted database cannot stay as it was: who sets it now, or what it would undo.
// It is empty for one that can.
func Managed(name, value string) (why string) {
	m, a := managed[name], allowed[name]
	floor, counted := least[name]
	switch {
	case m.why != "":
		return m.why
	case strings.HasPrefix(name, "recovery_target"):
		return "Patroni sets it"
	case a.values != nil && !slices.Contains(a.values, value):
		return a.why
	case counted:
		if n, err := strconv.Atoi(value); err != nil || n < floor {
			return fmt.Sprintf("Patroni ignores less than %d", floor)
		}
	}
	return ""
}

// stockCluster is a cluster as pg_lsclusters lists it; its parts become a path below /etc/postgresql.
var stockCluster = regexp.MustCompile(`^([0-9]+)/[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

func adoption(k *checker) {
	if !k.given("adopt") {
		return
	}
	var nodes []string
	for _, n := range k.Nodes {
		nodes = append(nodes, n.Name)
	}
	if k.given("adopt.node") && !slices.Contains(nodes, k.Adopt.Node) {
		k.say("adopt.node", didYouMean(k.Adopt.Node, nodes, some(nodes)), "%s is none of the nodes", brief(k.Adopt.Node))
	}
	const key = "adopt.cluster"
	parts := stockCluster.FindStringSubmatch(k.Adopt.Cluster)
	switch named := k.given(key); {
	case named && k.Adopt.Data:
		k.say("adopt.data", "keep one of the two", "a cluster of Debian's tools is named as well")
	case !named && !k.Adopt.Data:
		k.say("adopt", fmt.Sprintf("cluster: %d/main, or data: true", k.Postgres.Version), "it does not say where the database lies")
	case !named:
	case parts == nil:
		k.say(key, "such as 17/main; pg_lsclusters lists them", "%s is no cluster of Debian's tools", brief(k.Adopt.Cluster))
	case parts[1] != strconv.Itoa(k.Postgres.Version):
		k.say(key, "pg_upgradecluster it first, or change postgres.version", "a database of PostgreSQL %s cannot become one of PostgreSQL %d", parts[1], k.Postgres.Version)
	case k.Storage.DataDisk != "":
		k.say("storage.data_disk", "take it out; or, when the database lies on that disk, adopt.data: true", "a data disk would be mounted over the data of %s", k.Adopt.Cluster)
	}
}
