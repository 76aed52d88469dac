package cluster

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// rule is one thing that must hold. Rules see the whole Cluster, stand alone, and stay silent about a value that
// another rule already refuses. Where a rule compares two values, it asks sound about the other one.
type rule struct {
	name  string
	check func(*checker)
}

// rules in the order of the specification's keys. A test asks for each of them to be broken by a file in testdata/bad.
var rules = []rule{
	{"required", required},
	{"scope", scopeName},
	{"namespace", namespacePath},
	{"network", networkUsable},
	{"gateway", gatewayPlace},
	{"name servers", nameServers},
	{"networks", networksApart},
	{"node count", nodeCount},
	{"proxy count", proxyCount},
	{"machine names", machineNames},
	{"machine addresses", machineAddresses},
	{"hardware addresses", hardwareAddresses},
	{"virtual address", virtualAddress},
	{"postgres version", postgresVersion},
	{"archives", archives},
	{"locale", locale},
	{"parameters", parameters},
	{"databases", databases},
	{"users", users},
	{"replication user", replicationUser},
	{"adoption", adoption},
	{"strict", strictNeedsReplicas},
	{"port range", portRange},
	{"port clash", portClash},
	{"data disk", dataDisk},
	{"backup", backup},
	{"backup directory", backupDirectory},
	{"backup repository", repository},
	{"alerts", alerts},
	{"ssh keys", sshKeys},
	{"time servers", timeServers},
}

// operators are the rules that hold for who writes a specification, and not for a machine that has one already.
var operators = []rule{
	{"language", language},
	{"parameter values", parameterValues},
	{"ipv6 servers", ipv6Servers},
}

// checker is what a rule gets: the cluster, and a place for complaints.
type checker struct {
	*Cluster
	src      *source
	problems Problems
}

// validate checks every one of the rules and returns all complaints, after those that there are already.
func validate(c *Cluster, src *source, problems Problems, rules []rule) Problems {
	k := &checker{Cluster: c, src: src, problems: problems}
	for _, r := range rules {
		r.check(k)
	}
	return k.problems
}

// say complains about the value at path, unless the first gate has refused that. The hint may be empty.
func (k *checker) say(path, hint, format string, args ...any) {
	if k.problems.full() || k.src.inDoubt(path) {
		return
	}
	k.problems.add(k.src.at(path, hint, fmt.Sprintf(format, args...)))
}

// given tells whether the file itself holds the path.
func (k *checker) given(path string) bool { _, ok := k.src.places[path]; return ok }

// machine is a Machine and its path in the file.
type machine struct {
	Machine
	path string
}

func (k *checker) machines() []machine {
	all := make([]machine, 0, len(k.Nodes)+len(k.Proxies))
	for i, m := range k.Machines() {
		if i < len(k.Nodes) {
			all = append(all, machine{m, fmt.Sprintf("nodes[%d]", i)})
		} else {
			all = append(all, machine{m, fmt.Sprintf("proxies[%d]", i-len(k.Nodes))})
		}
	}
	return all
}

// requiredKeys must stand in the file: there is no default one could guess. "[]" is every item.
var requiredKeys = []string{
	"scope", "network", "nodes", "nodes[].name", "nodes[].address", "proxies[].name", "proxies[].address",
	"postgres.databases[].name", "postgres.databases[].owner", "postgres.users[].name",
	"postgres.mirror.url", "postgres.mirror.key", "adopt.remote.host", "packages.url", "packages.key",
}

func required(k *checker) {
	for _, key := range requiredKeys {
		list, rest, each := strings.Cut(key, "[]")
		if !each {
			if (parent(key) == "" || k.given(parent(key))) && !k.given(key) {
				k.say(key, "", "is missing")
			}
			continue
		}
		for i := 0; k.given(fmt.Sprintf("%s[%d]", list, i)); i++ {
			if path := fmt.Sprintf("%s[%d]%s", list, i, rest); !k.given(path) {
				k.say(path, "", "is missing")
			}
		}
	}
}

var scopeSyntax = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

func scopeName(k *checker) {
	if k.given("scope") && !scopeSyntax.MatchString(k.Scope) {
		k.say("scope", "such as postgres-cluster", "%s is no name: small letters, digits, \"-\", \"_\", \".\", at most 63", brief(k.Scope))
	}
}

var namespaceSyntax = regexp.MustCompile(`^/([A-Za-z0-9._-]+/)+$`)

func namespacePath(k *checker) {
	if namespaceSyntax.MatchString(k.Namespace) {
		return
	}
	hint := "such as /service/"
	if fixed := "/" + strings.Trim(k.Namespace, "/") + "/"; namespaceSyntax.MatchString(fixed) {
		hint = "write " + fixed
	}
	k.say("namespace", hint, "%s is no path in etcd with a slash at both ends", brief(k.Namespace))
}

var hostSyntax = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// hostHint is the name that was probably meant.
func hostHint(name string) string {
	fixed, _, _ := strings.Cut(strings.ReplaceAll(strings.ToLower(name), "_", "-"), ".")
	if fixed != name && hostSyntax.MatchString(fixed) {
		return "write " + fixed
	}
	return "small letters, digits and \"-\", at most 63"
}

// dnsName is a host's name or address as it may stand in a list of servers.
func dnsName(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if !hostSyntax.MatchString(strings.ToLower(label)) {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

func timeServers(k *checker) {
	for i, s := range k.TimeServers {
		if !dnsName(s) {
			k.say(fmt.Sprintf("time_servers[%d]", i), "such as ntp.example.org", "%s is neither a host name nor an address", brief(s))
		}
	}
}
