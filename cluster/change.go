package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
)

// Effect is what it takes until a changed key of cluster.yaml is in effect in a cluster that runs.
type Effect string

// The effects.
const (
	// Travels: the machines take it from each other after `pgha spec accept`.
	Travels Effect = "spec accept"
	// Restarts is Travels, and PostgreSQL sees it after a restart.
	Restarts Effect = "spec accept and restart"
	// NewSeed: only user-data brings it, at the next boot.
	NewSeed Effect = "new user-data and a reboot"
	// NewMachine: only machines that are made anew have it.
	NewMachine Effect = "new machines"
	// NoEffect: it counted when the cluster was made.
	NoEffect Effect = "no effect any more"
	// Impossible: it would harm the cluster. The operator's pgbake refuses it, and so does every machine.
	Impossible Effect = "impossible"
)

// Change is one key that says another thing than the specification before.
type Change struct {
	// Path is the key; an item of a list stands there by its name: nodes[db1].address.
	Path   string
	Effect Effect
	// Why is what the effect comes from, or what remains to be done. Hint is what to do instead of what is impossible.
	Why, Hint string
}

// effect is one row of the table.
type effect struct {
	path      string
	effect    Effect
	why, hint string
}

// effects has a row for every key of cluster.yaml, or for what holds the key: the longest path counts. "nodes" is a
// machine that is new or left out, "nodes[].address" the address of one that stays.
var effects = []effect{
	{"scope", Impossible, "the machines take no specification of another cluster", "another cluster has a directory of secrets of its own"},
	{"namespace", Impossible, "Patroni would find no cluster there in etcd, and a second member could become primary", "keep it"},
	{"debian", NewMachine, "machines keep the release that they run: bake images of the other one, and replace the machines one at a time", ""},
	{"network", NewSeed, "the firewall takes it by `pgha spec accept`, the network interface by new user-data", ""},
	{"gateway", NewSeed, "cloud-init writes it", ""},
	{"name_servers", NewSeed, "cloud-init writes them", ""},
	{"client_networks", Travels, "", ""},
	{"admin_networks", Travels, "", ""},

	{"nodes", Travels, "a new machine is booted from its seed; one that is left out: pgha member remove", ""},
	{"nodes[].name", Travels, "", ""},
	{"nodes[].address", Impossible, "etcd knows a member by its address, and would lose the majority when it changes",
		"take the node out (pgha member remove), and then add it with the other address, as a new machine"},
	{"nodes[].mac", NewSeed, "cloud-init looks for the network interface by it", ""},
	{"proxies", Travels, "a new machine is booted from its seed; one that is left out is to be switched off", ""},
	{"proxies[].name", Travels, "", ""},
	{"proxies[].address", NewSeed, "the proxy's own address and its certificates come with new user-data", ""},
	{"proxies[].mac", NewSeed, "cloud-init looks for the network interface by it", ""},
	{"virtual_address", Travels, "", ""},

	{"postgres.version", Impossible, "the data of one major version cannot be read by another one",
		"keep the version. For another one: make a new cluster, with a directory of secrets of its own, and move the data by pg_dump or logical replication"},
	{"postgres.source", NewMachine, "machines keep the packages that they have: bake images, and replace the machines one at a time", ""},
	{"postgres.mirror", NewMachine, "images and new machines install from it", ""},
	{"postgres.locale", NoEffect, "databases keep the locale that they were made with", ""},
	{"postgres.parameters", Travels, "some need a restart of PostgreSQL: `pgha status` says so, and `pgha restart` does it", ""},
	{"postgres.databases", Travels, "one that is left out is not dropped", ""},
	{"postgres.users", Travels, "one that is left out is not dropped; a new one has a password, which new user-data brings to each machine first", ""},
	{"postgres.replication_user", Travels, "the old role stays: DROP ROLE, when every replica streams as the new one", ""},

	{"adopt", Travels, "without it, users and databases that are older than the cluster are brought up to date, too", ""},
	{"replication", Travels, "", ""},
	{"failover", Travels, "", ""},

	{"ports", Travels, "", ""},
	{"ports.postgres", Restarts, "nobody can connect through a proxy between the two: run `pgha restart` at once", ""},
	{"ports.etcd_client", Impossible, "every etcd would restart at once, and the primary could write no more", "keep it"},
	{"ports.etcd_peer", Impossible, "the members of etcd know each other by it, and would lose the majority", "keep it"},
	{"ports.pgha", Travels, "machines with the other port do not hear of it: run `pgha spec accept` on every one", ""},
	{"storage.data_disk", NewMachine, "a database stays on the disk that it is on: replace the machines one at a time", ""},
	{"backup", Travels, "", ""},
	{"backup.repository", Travels, "its keys and passwords are secrets, which new user-data brings to each machine first", ""},
	{"alerts", Travels, "", ""},
	{"ssh_keys", NewSeed, "cloud-init writes authorized_keys, and takes no key out of it: delete the line on each machine", ""},
	{"time_servers", Travels, "", ""},
	{"packages", NewSeed, "cloud-init writes the apt source, and installs at a machine's first boot alone", ""},
}

// Changes are the keys in which c differs from the specification before, in their order in cluster.yaml.
func (c *Cluster) Changes(before *Cluster) (all []Change) {
	compare("", "", reflect.ValueOf(*before), reflect.ValueOf(*c), func(path, kind string) {
		r := effectOf(kind)
		all = append(all, Change{Path: path, Effect: r.effect, Why: r.why, Hint: r.hint})
	})
	return all
}

// Refused are the complaints about what cannot change in a cluster that runs; name stands in them as the file's.
func (c *Cluster) Refused(name string, before *Cluster) (all Problems) {
	for _, ch := range c.Changes(before) {
		if ch.Effect != Impossible {
			continue
		}
		p := Problem{File: name, Path: ch.Path, Message: "it cannot change in a cluster that runs: " + ch.Why, Hint: ch.Hint}
		if ch.Path == "postgres.version" {
			p.Message = fmt.Sprintf("the cluster is PostgreSQL %d, and cannot become PostgreSQL %d: %s", before.Postgres.Version, c.Postgres.Version, ch.Why)
			if c.Debian != before.Debian || c.Postgres.Source != before.Postgres.Source {
				p.Hint = fmt.Sprintf("version: %d; where it is not written, it follows from debian and postgres.source. ", before.Postgres.Version) + p.Hint
			}
		}
		all = append(all, p)
	}
	return all
}

// effectOf is the row of the longest path that holds the key.
func effectOf(key string) effect {
	for p := key; p != ""; p = parent(p) {
		if i := slices.IndexFunc(effects, func(e effect) bool { return e.path == p }); i >= 0 {
			return effects[i]
		}
	}
	return effect{effect: Travels} // a test asks for a row of every key
}

// compare calls say for every key that differs, with "[]" in kind for an item's name. Items of lists that have names are the same
// ones by their names; those of one side alone are a change of the list.
func compare(path, kind string, a, b reflect.Value, say func(path, kind string)) {
	switch {
	case keyed(a.Type()):
		for i := range a.NumField() {
			key := keyOf(a.Type().Field(i))
			compare(join(path, key), join(kind, key), a.Field(i), b.Field(i), say)
		}
	case a.Kind() == reflect.Slice && keyed(a.Type().Elem()):
		had, has := byName(a), byName(b)
		for _, name := range namesOf(b) {
			if was, ok := had[name]; ok {
				compare(path+"["+name+"]", kind+"[]", was, has[name], say)
			} else {
				say(path+"["+name+"]", kind)
			}
		}
		for _, name := range namesOf(a) {
			if _, ok := has[name]; !ok {
				say(path+"["+name+"]", kind)
			}
		}
	case (a.Kind() == reflect.Slice || a.Kind() == reflect.Map) && a.Len() == 0 && b.Len() == 0:
	case !reflect.DeepEqual(a.Interface(), b.Interface()):
		say(path, kind)
	}
}

// keyed tells whether a type has keys of cluster.yaml of its own.
func keyed(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.NumField() > 0 && keyOf(t.Field(0)) != ""
}

func byName(list reflect.Value) map[string]reflect.Value {
	all := map[string]reflect.Value{}
	for i := range list.Len() {
		all[list.Index(i).FieldByName("Name").String()] = list.Index(i)
	}
	return all
}

func namesOf(list reflect.Value) (names []string) {
	for i := range list.Len() {
		names = append(names, list.Index(i).FieldByName("Name").String())
	}
	return names
}

// LastSeeded is the specification of the newest generation in dir, which machines may have: nil when no seed was made yet.
func LastSeeded(dir string) (*Cluster, error) {
	path := filepath.Join(dir, generationFile)
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // as the comment says
	}
	if err != nil {
		return nil, err
	}
	public, err := os.ReadFile(filepath.Join(dir, operatorPubFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no machine was told by whom: the next seed says what is missing
	}
	if err != nil {
		return nil, err
	}
	g, err := ReadGeneration(body, public)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w\n      hint: bring it back from your backup: machines take no number twice", path, err)
	}
	c, err := ParseTaken(path, g.Specification)
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // of another pgbake: what has changed since, this one cannot say
	}
	return c, nil
}

// NeverBooted is what to do when a specification that was seeded is to be changed in what cannot change.
func NeverBooted(dir string) string {
	return fmt.Sprintf("where no machine was ever booted from this cluster's seeds, or only a lab that is taken down: remove %s, and seed begins again with generation 1", filepath.Join(dir, generationFile))
}
