package cluster

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// schemaPatterns are the rules of the second gate that an editor can check as well. "[]" is every item.
var schemaPatterns = map[string]*regexp.Regexp{
	"scope": scopeSyntax, "namespace": namespaceSyntax,
	"nodes[].name": hostSyntax, "proxies[].name": hostSyntax, "nodes[].mac": macSyntax, "proxies[].mac": macSyntax,
	"postgres.databases[].name": identifier, "postgres.users[].name": identifier, "postgres.replication_user": identifier,
	"postgres.locale": localeSyntax, "storage.data_disk": diskSyntax,
	"backup.directory": folderPath, "backup.repository.path": folderPath, "backup.repository.host_key": hostKeySyntax, "backup.at": timeOfDay, "alerts.email[]": emailSyntax,
	"alerts.repeat": repeatSyntax, "alerts.chat": chatSyntax,
}

// schemaRanges are the least and the most of a number, or of a list's items.
var schemaRanges = map[string][2]int{
	"nodes": {1, 5}, "proxies": {0, 2}, "postgres.version": {15, 18}, "backup.keep": {1, 0}, "backup.keep_days": {0, 0},
}

// schemaOf makes the schema of a type. docs holds the comments, by "Type" and "Type.Field".
func schemaOf(path string, v reflect.Value, docs map[string]string) map[string]any {
	t := v.Type()
	s := map[string]any{}
	low, high := "minimum", "maximum"
	switch {
	case t == reflect.TypeFor[netip.Addr]():
		s["type"], s["pattern"] = "string", `^[0-9A-Fa-f.:]+$`
	case t == reflect.TypeFor[netip.Prefix]():
		s["type"], s["pattern"] = "string", `^[0-9A-Fa-f.:]+/[0-9]{1,3}$`
	case t.Kind() == reflect.Struct:
		s = schemaOfStruct(path, v, docs)
	case t.Kind() == reflect.Slice:
		low, high = "minItems", "maxItems"
		s["type"], s["items"] = "array", schemaOf(path+"[]", reflect.New(t.Elem()).Elem(), docs)
	case t.Kind() == reflect.Map:
		s["type"], s["additionalProperties"] = "object", map[string]any{"type": []string{"string", "number", "boolean"}}
	case t.Kind() == reflect.String:
		s["type"] = "string"
	case t.Kind() == reflect.Int:
		s["type"] = "integer"
	case t.Kind() == reflect.Bool:
		s["type"] = "boolean"
	}
	var words []any
	for _, w := range enums[t] {
		if n, err := strconv.Atoi(w); err == nil {
			words = append(words, n)
		} else {
			words = append(words, w)
		}
	}
	if words != nil {
		s["enum"] = words
	}
	if p := schemaPatterns[path]; p != nil {
		s["pattern"] = p.String()
	}
	r, ranged := schemaRanges[path]
	if strings.HasPrefix(path, "ports.") {
		r, ranged = [2]int{1, 65535}, true
	}
	if ranged {
		s[low] = r[0]
		if r[1] > 0 {
			s[high] = r[1]
		}
	}
	if _, given := s["type"].(string); given && !v.IsZero() && (v.CanInt() || t.Kind() == reflect.String) {
		s["default"] = v.Interface()
	}
	return s
}

func schemaOfStruct(path string, v reflect.Value, docs map[string]string) map[string]any {
	properties := map[string]any{}
	var required []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := keyOf(f)
		p := schemaOf(join(path, key), v.Field(i), docs)
		p["description"] = docs[v.Type().Name()+"."+f.Name]
		properties[key] = p
		for _, r := range requiredKeys {
			if r == join(path, key) {
				required = append(required, key)
			}
		}
	}
	s := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if required != nil {
		s["required"] = required
	}
	return s
}

// comments reads the doc comments of cluster.go.
func comments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "cluster.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if st, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range st.Fields.List {
				docs[spec.Name.Name+"."+f.Names[0].Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
			}
		}
		return true
	})
	return docs
}

func TestSchemaIsCurrent(t *testing.T) {
	docs := comments(t)
	for name, text := range docs {
		if text == "" {
			t.Errorf("cluster.go: the field %s has no comment: editors show it", name)
		}
	}
	s := schemaOf("", reflect.ValueOf(*defaults()), docs)
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "pgbake's cluster.yaml"
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		t.Fatal(err)
	}
	golden(t, "schema.json", b.Bytes())
}

// TestSchema: what Parse loads satisfies the schema, and a wrong key or type does not.
func TestSchema(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(readFile(t, "schema.json")))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("cluster.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("cluster.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, path string) error {
		t.Helper()
		var v any
		if err := yaml.Unmarshal(readFile(t, path), &v); err != nil {
			t.Fatal(err)
		}
		asJSON, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(instance)
	}
	good := append(glob(t, "testdata/good/*.yaml"), glob(t, "../examples/*.yaml")...)
	for _, path := range append(good, "example.yaml") {
		t.Run("good/"+filepath.Base(path), func(t *testing.T) {
			if err := check(t, path); err != nil {
				t.Error(err)
			}
		})
	}
	bad := append(glob(t, "testdata/bad/key-*.yaml"), glob(t, "testdata/bad/type-*.yaml")...)
	for _, path := range bad {
		t.Run("bad/"+filepath.Base(path), func(t *testing.T) {
			if check(t, path) == nil {
				t.Error("the schema accepts it")
			}
		})
	}
}

// TestExampleTellsEveryKey: what pgbake init writes shows every key there is, and uncommenting one is enough.
func TestExampleTellsEveryKey(t *testing.T) {
	text := string(Example)
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		if typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for key, i := range fieldsOf(typ) {
			if !regexp.MustCompile(`(?m)^[ #-]*` + key + `:`).MatchString(text) {
				t.Errorf("example.yaml does not show %s", join(path, key))
			}
			walk(join(path, key), typ.Field(i).Type)
		}
	}
	walk("", reflect.TypeFor[Cluster]())

	// Every commented key, uncommented: only the sample addresses and keys may be complained about.
	open := regexp.MustCompile(`(?m)^( *)# ( *(?:- )?[a-z_]+:|  *- ssh)`).ReplaceAllString(text, "$1$2")
	open = regexp.MustCompile(`(?m)^( *)# ( *(-----|…).*)$`).ReplaceAllString(open, "$1$2")
	c, err := Parse("example.yaml", []byte(open))
	if err == nil {
		t.Fatalf("one proxy with a virtual address was accepted: %v", c.VirtualAddress)
	}
	got := err.(Problems) //nolint:errorlint // Parse returns no other
	if len(got) != 1 || got[0].Path != "virtual_address" {
		t.Errorf("the example with every key in force:\n%v\n\n%s", err, open)
	}
}
