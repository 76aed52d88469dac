package cloudinit

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/coreos/butane/config/common"
	fcos1_0 "github.com/coreos/butane/config/fcos/v1_0"
	fcos1_1 "github.com/coreos/butane/config/fcos/v1_1"
	fcos1_2 "github.com/coreos/butane/config/fcos/v1_2"
	fcos1_3 "github.com/coreos/butane/config/fcos/v1_3"
	fcos1_4 "github.com/coreos/butane/config/fcos/v1_4"
	flatcar1_0 "github.com/coreos/butane/config/flatcar/v1_0"
	ignition "github.com/coreos/ignition/v2/config/v3_3"
	"github.com/coreos/ignition/v2/config/v3_3/types"
	vpath "github.com/coreos/vcontext/path"
	vreport "github.com/coreos/vcontext/report"
	"github.com/coreos/vcontext/tree"
	yaml "github.com/coreos/vcontext/yaml"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/suggest"
)

type report = vreport.Report

// Snippet is a piece of Butane of the operator's own.
type Snippet struct {
	// Name is the file's, as it was given.
	Name   string
	config types.Config
	places tree.Node
}

// Snippets are some, in the order in which they are merged.
type Snippets []Snippet

// dialect is a variant of Butane in one version.
type dialect struct {
	variant, version string
	translate        translator
	keys             reflect.Type
}

// dialects are the variants and versions of Butane that give what Debian's ignition 2.14.0 reads, Ignition 3.3.0 and
// older. The type's tags are the keys that it knows.
var dialects = []dialect{
	{"fcos", "1.4.0", fcos1_4.ToIgn3_3Bytes, reflect.TypeFor[fcos1_4.Config]()},
	{"fcos", "1.3.0", fcos1_3.ToIgn3_2Bytes, reflect.TypeFor[fcos1_3.Config]()},
	{"fcos", "1.2.0", fcos1_2.ToIgn3_2Bytes, reflect.TypeFor[fcos1_2.Config]()},
	{"fcos", "1.1.0", fcos1_1.ToIgn3_1Bytes, reflect.TypeFor[fcos1_1.Config]()},
	{"fcos", "1.0.0", fcos1_0.ToIgn3_0Bytes, reflect.TypeFor[fcos1_0.Config]()},
	{"flatcar", "1.0.0", flatcar1_0.ToIgn3_3Bytes, reflect.TypeFor[flatcar1_0.Config]()},
}

// ReadSnippets reads files of Butane. Their local files lie beside them. taken are paths that pgbake writes by itself on
// these machines, which no snippet may claim. The error is cluster.Problems, all of them, with their places.
func ReadSnippets(names, taken []string) (Snippets, error) {
	var all Snippets
	var problems cluster.Problems
	owners := map[string]string{}
	for _, path := range taken {
		owners[path] = "pgbake"
	}
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read Butane: %w", err)
		}
		one, wrong := parseSnippet(name, source)
		if len(wrong) == 0 {
			wrong = one.refused(owners)
		}
		problems = append(problems, wrong...)
		all = append(all, one)
	}
	return all, inOrder(problems)
}

// inOrder are the complaints as an error, each file's by their places; nil when there is none.
func inOrder(all cluster.Problems) error {
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, func(a, b cluster.Problem) int {
		if a.File != b.File {
			return 0
		}
		return cmp.Or(a.Line-b.Line, a.Column-b.Column)
	})
	return all
}

// Configs are the snippets as Ignition reads them, each for itself.
func (s Snippets) Configs() ([][]byte, error) {
	var all [][]byte
	for _, one := range s {
		body, err := encode(one.config)
		if err != nil {
			return nil, err
		}
		all = append(all, body)
	}
	return all, nil
}

func parseSnippet(name string, source []byte) (Snippet, cluster.Problems) {
	s := Snippet{Name: name}
	whole := func(err error) (Snippet, cluster.Problems) {
		p := cluster.Problem{File: name, Message: strings.TrimPrefix(err.Error(), "yaml: ")}
		// The YAML library's own places are in its words: "line 3: mapping values …".
		if _, scanErr := fmt.Sscanf(p.Message, "line %d:", &p.Line); scanErr == nil {
			p.Column = 1
			_, p.Message, _ = strings.Cut(p.Message, ": ")
		}
		return s, cluster.Problems{p}
	}
	var err error
	switch s.places, err = yaml.UnmarshalToContext(source); {
	case err != nil:
		return whole(err)
	case s.places == nil:
		return whole(errors.New("it is empty"))
	}
	variant, version := s.text(source, "variant"), s.text(source, "version")
	i := slices.IndexFunc(dialects, func(d dialect) bool { return d.variant == variant && d.version == version })
	if i < 0 {
		p := s.at("it names no variant of Butane", "variant")
		if variant != "" {
			p.Message = fmt.Sprintf("variant %q in version %q gives no Ignition that Debian's package reads", variant, version)
		}
		p.Hint = fmt.Sprintf("write variant: %s, version: %s", dialects[0].variant, dialects[0].version)
		return s, cluster.Problems{p}
	}
	d := dialects[i]
	out, r, err := d.translate(source, common.TranslateBytesOptions{TranslateOptions: common.TranslateOptions{
		FilesDir: filepath.Dir(name), NoResourceAutoCompression: true,
	}})
	if problems := complaints(name, r, d.keys); len(problems) > 0 {
		return s, problems
	}
	if err != nil {
		return whole(err)
	}
	if s.config, _, err = ignition.ParseCompatibleVersion(out); err != nil {
		return whole(err)
	}
	return s, nil
}

// text is the scalar at a key of the outermost mapping.
func (s Snippet) text(source []byte, key string) string {
	node, err := s.places.Get(vpath.New("yaml", key))
	if err != nil {
		return ""
	}
	at := node.GetMarker().StartP
	line := strings.Split(string(source), "\n")[at.Line-1]
	text, _, _ := strings.Cut(line[at.Column-1:], " #")
	return strings.Trim(strings.TrimSpace(text), `"'`)
}

// complaints are all that Butane has to say of a file, warnings too: what it did not understand would be missing on the
// machine.
func complaints(name string, r report, keys reflect.Type) cluster.Problems {
	var all cluster.Problems
	for _, e := range r.Entries {
		p := cluster.Problem{File: name, Path: yamlPath(e.Context.Path), Message: e.Message}
		if at := e.Marker.StartP; at != nil {
			p.Line, p.Column = int(at.Line), int(at.Column)
		}
		if n := len(e.Context.Path) - 1; n >= 0 && keys != nil && strings.HasPrefix(e.Message, "unused key ") {
			key := fmt.Sprint(e.Context.Path[n])
			p.Path, p.Message = yamlPath(e.Context.Path[:n]), fmt.Sprintf("unknown key %q", key)
			if near := suggest.Nearest(key, keysAt(keys, e.Context.Path[:n])); near != "" {
				p.Hint = fmt.Sprintf("did you mean %q?", near)
			}
		}
		all = append(all, p)
	}
	return all
}

// yamlPath is a path as cluster's complaints write it: storage.files[0].path.
func yamlPath(path []any) string {
	var b strings.Builder
	for _, part := range path {
		switch part := part.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", part)
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			fmt.Fprint(&b, part)
		}
	}
	return b.String()
}

// keysAt are the keys that Butane's type has at a path.
func keysAt(t reflect.Type, path []any) []string {
	for _, part := range path {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if _, ok := part.(int); ok {
			continue
		}
		fields := fieldsOf(t)
		if t = fields[fmt.Sprint(part)]; t == nil {
			return nil
		}
	}
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return slices.Sorted(maps.Keys(fieldsOf(t)))
}

// fieldsOf are a struct's fields by their YAML keys, those of embedded structs too.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	if t.Kind() != reflect.Struct {
		return fields
	}
	for _, f := range reflect.VisibleFields(t) {
		if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != "" && key != "-" {
			fields[key] = f.Type
		}
	}
	return fields
}
