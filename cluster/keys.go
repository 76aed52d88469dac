package cluster

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pgbake/pgbake/internal/suggest"
)

// synonyms are words from the neighbourhood that mean a key of ours.
var synonyms = map[string]string{
	"name": "scope", "cluster": "scope", "cluster_name": "scope", "release": "debian", "os": "debian",
	"subnet": "network", "cidr": "network", "router": "gateway", "dns": "name_servers", "resolvers": "name_servers",
	"members": "nodes", "servers": "nodes", "hosts": "nodes", "replicas": "nodes", "haproxy": "proxies",
	"vip": "virtual_address", "ntp": "time_servers", "postgresql": "postgres", "authorized_keys": "ssh_keys",
	"ip": "address", "host": "address", "hostname": "name", "macaddress": "mac", "repository": "mirror",
	"settings": "parameters", "config": "parameters", "roles": "users", "dbs": "databases", "createdb": "create_db",
	"createrole": "create_role", "synchronous_mode": "mode", "synchronous_mode_strict": "strict", "retention": "keep",
	"path": "directory", "schedule": "at", "time": "at", "mail": "email", "slack": "webhook", "disk": "data_disk",
}

// pair is a key and its value in the file.
type pair struct{ key, value *yaml.Node }

// pairs lists the keys of a mapping: its own, then those it merges ("<<") and does not have itself. whole is false when there
// is nothing to merge where something should be.
func (d *decoder) pairs(path string, n *yaml.Node) (all []pair, whole bool) {
	var own, merged []pair
	whole = true
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.ShortTag() == "!!merge" {
			more, ok := d.merged(path, value)
			merged, whole = append(merged, more...), whole && ok
			continue
		}
		if first := seen[key.Value]; first != nil && key.Kind == yaml.ScalarNode {
			d.sayAt(key, path, "keep one of the two", "the key %s is already on line %d", brief(key.Value), first.Line)
			d.src.refused.values[join(path, key.Value)] = true // nobody knows which of the two stays
			continue
		}
		seen[key.Value] = key
		own = append(own, pair{key, value})
	}
	for _, p := range merged {
		if seen[p.key.Value] == nil {
			seen[p.key.Value] = p.key
			own = append(own, p)
		}
	}
	return own, whole
}

// merged lists the keys behind one "<<": a mapping, or a list of them of which the first wins. whole is as for pairs.
func (d *decoder) merged(path string, n *yaml.Node) (all []pair, whole bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if d.tooMuch() {
		return nil, false
	}
	if d.open[n] || n.Kind != yaml.MappingNode && n.Kind != yaml.SequenceNode {
		d.sayAt(n, path, "", "\"<<\" takes keys from elsewhere, and these are none")
		return nil, false
	}
	d.open[n] = true
	defer delete(d.open, n)
	if n.Kind == yaml.MappingNode {
		return d.pairs(path, n)
	}
	whole = true
	for _, item := range n.Content {
		more, ok := d.merged(path, item)
		all, whole = append(all, more...), whole && ok
	}
	return all, whole
}

// unknown complains about a key, says which was probably meant, and marks that.
func (d *decoder) unknown(path string, key *yaml.Node, in reflect.Type) {
	if d.problems.full() {
		return
	}
	if key.Kind != yaml.ScalarNode {
		d.sayAt(key, path, "", "%s where a key belongs", kind(key))
		return
	}
	known := firstKeys(in)
	hint := ""
	meant := suggest.Nearest(key.Value, known)
	if s := synonyms[strings.ToLower(key.Value)]; meant == "" && slices.Contains(known, s) {
		meant = s
	}
	if meant != "" {
		hint = fmt.Sprintf("did you mean %q?", meant)
		d.src.refused.meant[anyItem(join(path, meant))] = true
	} else if homes := d.homes(key.Value); len(homes) > 0 {
		var places []string
		for _, home := range homes {
			places = append(places, strconv.Quote(strings.ReplaceAll(home, "[]", "")))
			d.src.refused.meant[join(home, key.Value)] = true
		}
		hint = "it belongs below " + or(places)
	} else if secretKey.MatchString(key.Value + ":") {
		hint = "no secret stands in this file: pgbake init makes them, in secrets/"
	}
	d.sayAt(key, path, hint, "unknown key %s", brief(key.Value))
}

// homes are the places in the specification that do have the key, with "[]" behind a list.
func (d *decoder) homes(key string) []string {
	var found []string
	var walk func(path string, t reflect.Type)
	walk = func(path string, t reflect.Type) {
		if t.Kind() == reflect.Slice {
			path, t = path+"[]", t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return
		}
		for _, k := range firstKeys(t) {
			if k == key && path != "" {
				found = append(found, path)
			}
			walk(join(path, k), t.Field(fieldsOf(t)[k]).Type)
		}
	}
	walk("", reflect.TypeFor[Cluster]())
	return found
}

// fieldsOf maps a struct's keys to its fields.
func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		if key := keyOf(t.Field(i)); key != "" {
			fields[key] = i
		}
	}
	return fields
}

// firstKeys lists a struct's keys in their order.
func firstKeys(t reflect.Type) []string {
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for i := range t.NumField() {
		if key := keyOf(t.Field(i)); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return key
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// or lists words for a sentence: "a, b or c".
func or(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// some lists the first few words.
func some(words []string) string {
	if len(words) > 6 {
		words = append(slices.Clone(words[:6]), "…")
	}
	return strings.Join(words, ", ")
}

// didYouMean is the hint for a word: the nearest, else all of them.
func didYouMean(word string, known []string, all string) string {
	if near := suggest.Nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return all
}

// brief quotes a value for a complaint, the beginning of a long one.
func brief(s string) string { return suggest.Quote(s) }

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// kind says what a value is, in words that do not need YAML's.
func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!null":
		return "nothing"
	case "!!timestamp":
		return "a date"
	case "!!str":
		return "a text"
	}
	return "something tagged " + strconv.Quote(n.Tag)
}

func atoi(s string) int { i, _ := strconv.Atoi(s); return i }
