package cluster

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder lays a YAML tree over a struct that holds the defaults, and collects what does not fit.
// It is ours because the library's own stops at the shape of a value: no places, half the complaints, and
// conversions nobody asked for (17.0 to 17, 010 to 8).
type decoder struct {
	src      *source
	problems *Problems
	// open are the anchors being followed: one that holds itself would never end.
	open map[*yaml.Node]bool
	// work counts the values decoded: anchors in anchors can make a small file endless.
	work int
}

// maxWork is a hundred times what the largest honest file needs.
const maxWork = 1 << 16

// tooMuch tells whether to give up, and says so once.
func (d *decoder) tooMuch() bool {
	if d.work++; d.work == maxWork {
		d.problems.add(d.src.problem(0, 0, "", "", fmt.Sprintf("more than %d values, with every reference (\"*name\") unfolded", maxWork)))
	}
	d.src.refused.gaveUp = d.work >= maxWork || d.problems.full()
	return d.src.refused.gaveUp
}

// enums are the words that a type knows.
var enums = map[reflect.Type][]string{
	reflect.TypeFor[Release]():     {"12", "13"},
	reflect.TypeFor[Source]():      {string(SourceDebian), string(SourcePGDG)},
	reflect.TypeFor[Mode]():        {string(Quorum), string(Sync), string(Async)},
	reflect.TypeFor[Failover]():    {string(Fast), string(Normal), string(Safe)},
	reflect.TypeFor[SSLMode]():     {string(SSLDisable), string(SSLPrefer), string(SSLRequire), string(SSLVerifyCA), string(SSLVerifyFull)},
	reflect.TypeFor[AlertFormat](): {string(JSON), string(Slack), string(Telegram)},
	reflect.TypeFor[Prove]():       {string(Daily), string(Weekly), string(Never)},
	reflect.TypeFor[Full]():        {string(FullWeekly), string(FullDaily)},
	// "" is none.
	reflect.TypeFor[RepositoryType](): {string(RepositoryPath), string(RepositoryS3), string(RepositorySFTP)},
}

// say complains about the value at path, and marks it as refused.
func (d *decoder) say(path, hint, format string, args ...any) {
	d.src.refused.values[path] = true
	if !d.problems.full() { // finding a place takes longer than not needing it
		d.problems.add(d.src.at(path, hint, fmt.Sprintf(format, args...)))
	}
}

// sayAt complains about what has no path of its own: a key that is unknown or there twice.
func (d *decoder) sayAt(n *yaml.Node, path, hint, format string, args ...any) {
	if !d.problems.full() {
		d.problems.add(d.src.problem(n.Line, n.Column, path, hint, fmt.Sprintf(format, args...)))
	}
}

// show quotes a value for a message, unless it may be a secret.
func (d *decoder) show(path string, n *yaml.Node) string {
	if d.src.secret || secretKey.MatchString(path+":") {
		return "this"
	}
	return brief(n.Value)
}

func (d *decoder) value(path string, n *yaml.Node, v reflect.Value) {
	if d.tooMuch() {
		return
	}
	if n.Kind == yaml.AliasNode {
		if d.open[n.Alias] {
			d.say(path, "", "the anchor &%s holds itself", n.Value)
			return
		}
		d.open[n.Alias] = true
		defer delete(d.open, n.Alias)
		n = n.Alias
	}
	at := d.src.places[path]
	at.value = n
	d.src.places[path] = at
	if isNull(n) {
		d.say(path, "write a value, or take the key out", "nothing after the colon")
		return
	}
	switch target := v.Addr().Interface().(type) {
	case *netip.Addr:
		d.addr(path, n, target)
		return
	case *netip.Prefix:
		d.prefix(path, n, target)
		return
	}
	if words := enums[v.Type()]; words != nil {
		d.word(path, n, v, words)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(path, n, v)
	case reflect.Slice:
		d.list(path, n, v)
	case reflect.Map:
		d.literals(path, n, v)
	case reflect.String:
		if s, ok := d.text(path, n); ok {
			v.SetString(s)
		}
	case reflect.Int:
		if i, ok := d.integer(path, n); ok {
			v.SetInt(i)
		}
	case reflect.Bool:
		d.boolean(path, n, v)
	default:
		panic("cluster: no decoding for " + v.Type().String())
	}
}

// mapping decodes keys into the fields of a struct.
func (d *decoder) mapping(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.say(path, "", "%s where keys belong (%s)", kind(n), some(firstKeys(v.Type())))
		return
	}
	fields := fieldsOf(v.Type())
	pairs, whole := d.pairs(path, n)
	if !whole {
		for key := range fields {
			d.src.refused.meant[anyItem(join(path, key))] = true
		}
	}
	for _, p := range pairs {
		i, known := fields[p.key.Value]
		if !known || p.key.Kind != yaml.ScalarNode {
			d.unknown(path, p.key, v.Type())
			continue
		}
		sub := join(path, p.key.Value)
		d.src.places[sub] = place(p)
		d.value(sub, p.value, v.Field(i))
	}
}

// literals decodes PostgreSQL's parameters and the like: keys of any name, values as they are written.
func (d *decoder) literals(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.say(path, "", "%s where keys belong", kind(n))
		return
	}
	m := make(map[string]string)
	pairs, _ := d.pairs(path, n)
	for _, p := range pairs {
		value := p.value
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		sub := join(path, p.key.Value)
		d.src.places[sub] = place{p.key, value}
		switch {
		case p.key.Kind != yaml.ScalarNode:
			d.unknown(path, p.key, nil)
		case isNull(value):
			d.say(sub, `write "" for an empty one`, "nothing after the colon")
		case value.Kind != yaml.ScalarNode:
			d.say(sub, "", "%s where one value belongs", kind(value))
		default:
			m[p.key.Value] = value.Value
		}
	}
	v.Set(reflect.ValueOf(m))
}

func (d *decoder) list(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.say(path, `each item begins with "- "`, "%s where a list belongs", kind(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		sub := fmt.Sprintf("%s[%d]", path, i)
		d.src.places[sub] = place{value: item}
		d.value(sub, item, out.Index(i))
	}
	v.Set(out)
}

// text decodes a string. What YAML reads as something else must stand in quotes: this library, the next and
// YAML 1.1 disagree about what "no" or "1e3" is, and a name should not depend on that.
func (d *decoder) text(path string, n *yaml.Node) (string, bool) {
	quote := fmt.Sprintf("write %q, in quotes", n.Value)
	if d.src.secret {
		quote = "write it in quotes"
	}
	switch {
	case n.Kind != yaml.ScalarNode:
		d.say(path, "", "%s where a text belongs", kind(n))
	case n.ShortTag() != "!!str":
		d.say(path, quote, "%s is %s to YAML, not a text", d.show(path, n), kind(n))
	case n.Style == 0 && yesNo[strings.ToLower(n.Value)] != "":
		d.say(path, quote, "%s is true or false to many YAML programs, not a text", d.show(path, n))
	default:
		return n.Value, true
	}
	return "", false
}

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,8})$`)

func (d *decoder) integer(path string, n *yaml.Node) (int64, bool) {
	if n.Kind != yaml.ScalarNode {
		d.say(path, "", "%s where a whole number belongs", kind(n))
		return 0, false
	}
	if decimal.MatchString(n.Value) && n.ShortTag() == "!!int" {
		i, err := strconv.ParseInt(n.Value, 10, 64)
		return i, err == nil
	}
	hint := ""
	switch whole := strings.TrimLeft(strings.TrimSuffix(n.Value, ".0"), "0"); {
	case decimal.MatchString(n.Value):
		hint = "write " + n.Value + ", without quotes"
	case whole != n.Value && decimal.MatchString(whole):
		hint = "write " + whole
	}
	d.say(path, hint, "%s is not a whole number in plain digits", d.show(path, n))
	return 0, false
}

// yesNo are YAML 1.1's other words for true and false.
var yesNo = map[string]string{"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}

func (d *decoder) boolean(path string, n *yaml.Node, v reflect.Value) {
	switch {
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" && (n.Value == "true" || n.Value == "false"):
		v.SetBool(n.Value == "true")
	case n.Kind == yaml.ScalarNode:
		hint := "write true or false"
		lower := strings.ToLower(n.Value)
		if w := yesNo[lower]; w != "" {
			hint = "write " + w
		} else if lower == "true" || lower == "false" {
			hint = "write " + lower + ", in small letters and without quotes"
		}
		d.say(path, hint, "%s is neither true nor false", d.show(path, n))
	default:
		d.say(path, "", "%s where true or false belongs", kind(n))
	}
}

// word decodes one of the words that a type knows.
func (d *decoder) word(path string, n *yaml.Node, v reflect.Value, words []string) {
	if n.Kind != yaml.ScalarNode {
		d.say(path, "", "%s where one of %s belongs", kind(n), or(words))
		return
	}
	if v.Kind() == reflect.Int {
		if i := slices.IndexFunc(words, func(w string) bool { return Release(atoi(w)).Codename() == strings.ToLower(n.Value) }); i >= 0 {
			d.say(path, "write "+words[i], "a release is given by its number")
			return
		}
		i, ok := d.integer(path, n)
		if ok && !slices.Contains(words, n.Value) {
			d.say(path, "", "%s is not %s", n.Value, or(words))
		} else if ok {
			v.SetInt(i)
		}
		return
	}
	if !slices.Contains(words, n.Value) {
		d.say(path, didYouMean(n.Value, words, ""), "%s is not %s", d.show(path, n), or(words))
		return
	}
	v.SetString(n.Value)
}

func (d *decoder) addr(path string, n *yaml.Node, target *netip.Addr) {
	if n.Kind != yaml.ScalarNode {
		d.say(path, "", "%s where an address belongs", kind(n))
		return
	}
	a, err := netip.ParseAddr(n.Value)
	switch p, perr := netip.ParsePrefix(n.Value); {
	case perr == nil:
		d.say(path, "write "+p.Addr().String(), "%s is a network, where one address belongs", brief(n.Value))
	case err != nil || a.Zone() != "" || a.Is4In6():
		d.say(path, "such as 192.168.1.10", "%s is not an IP address", brief(n.Value))
	default:
		*target = a
	}
}

func (d *decoder) prefix(path string, n *yaml.Node, target *netip.Prefix) {
	if n.Kind != yaml.ScalarNode {
		d.say(path, "", "%s where a network belongs", kind(n))
		return
	}
	p, err := netip.ParsePrefix(n.Value)
	switch _, aerr := netip.ParseAddr(n.Value); {
	case aerr == nil:
		d.say(path, "such as "+n.Value+"/32 for just this one", "%s has no length behind a slash", brief(n.Value))
	case err != nil || p.Addr().Is4In6():
		d.say(path, "such as 192.168.1.0/24", "%s is not a network", brief(n.Value))
	case p != p.Masked():
		d.say(path, "write "+p.Masked().String(), "%s is an address inside a network", brief(n.Value))
	default:
		*target = p
	}
}
