package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const seeded = `scope: a
network: 10.0.0.0/24
nodes: [{name: db1, address: 10.0.0.1}, {name: db2, address: 10.0.0.2}, {name: db3, address: 10.0.0.3}]
proxies: [{name: proxy1, address: 10.0.0.9}]
postgres: {users: [{name: app}], databases: [{name: app, owner: app}]}
`

func parsed(t *testing.T, spec string) *Cluster {
	t.Helper()
	c, err := Parse("c.yaml", []byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestChanges(t *testing.T) {
	for _, c := range []struct{ old, by, want string }{
		{"", "", ""},
		{"scope: a\n", "# a comment\nscope: a\ndebian: 13\nfailover: normal\n", ""},
		{"scope: a\n", "scope: b\n", "scope: impossible"},
		{"scope: a\n", "scope: a\nnamespace: /db/\n", "namespace: impossible"},
		{"scope: a\n", "scope: a\ndebian: 12\n", "debian: new machines, postgres.version: impossible"},
		{"postgres: {", "postgres: {version: 18, source: pgdg, ", "postgres.version: impossible, postgres.source: new machines"},
		{"postgres: {", "postgres: {source: pgdg, ", "postgres.source: new machines"},
		{"postgres: {", "postgres: {locale: 'icu:ru-RU', ", "postgres.locale: no effect any more"},
		{"postgres: {", "postgres: {parameters: {work_mem: 9MB}, ", "postgres.parameters: spec accept"},
		{"users: [{name: app}]", "users: [{name: app}, {name: second}]", "postgres.users[second]: spec accept"},
		{"users: [{name: app}]", "users: [{name: app, create_db: true}]", "postgres.users[app].create_db: spec accept"},
		{"10.0.0.2}", "10.0.0.7}", "nodes[db2].address: impossible"},
		{"10.0.0.9}", "10.0.0.8}", "proxies[proxy1].address: new user-data and a reboot"},
		{"{name: db3, address: 10.0.0.3}", "{name: db4, address: 10.0.0.4}", "nodes[db4]: spec accept, nodes[db3]: spec accept"},
		{"nodes: [{name: db1, address: 10.0.0.1}, {name: db2, address: 10.0.0.2}, ", "nodes: [{name: db2, address: 10.0.0.2}, {name: db1, address: 10.0.0.1}, ", ""},
		{"scope: a\n", "scope: a\ngateway: 10.0.0.254\nname_servers: [10.0.0.53]\n", "gateway: new user-data and a reboot, name_servers: new user-data and a reboot"},
		{"scope: a\n", "scope: a\nports: {postgres: 5433, etcd_client: 3379}\n", "ports.postgres: spec accept and restart, ports.etcd_client: impossible"},
		{"scope: a\n", "scope: a\nstorage: {data_disk: /dev/vdb}\n", "storage.data_disk: new machines"},
		{"scope: a\n", "scope: a\nbackup: {directory: /var/backups/pg}\n", "backup.directory: spec accept"},
	} {
		after := strings.Replace(seeded, c.old, c.by, 1)
		var got []string
		for _, ch := range parsed(t, after).Changes(parsed(t, seeded)) {
			got = append(got, fmt.Sprintf("%s: %s", ch.Path, ch.Effect))
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%q: %q, want %q", c.by, got, c.want)
		}
	}
}

// Every key has a row of its own or of what holds it, every row a key, and what is impossible says why and what to do.
func TestEveryKeyHasItsEffect(t *testing.T) {
	keys := map[string]bool{}
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		keys[path] = true
		if typ.Kind() == reflect.Slice && keyed(typ.Elem()) {
			path, typ = path+"[]", typ.Elem()
		}
		if !keyed(typ) {
			if !slices.ContainsFunc(effects, func(e effect) bool {
				return path == e.path || strings.HasPrefix(path, e.path+".") || strings.HasPrefix(path, e.path+"[")
			}) {
				t.Errorf("%s: what does it take until a change of it is in effect?", path)
			}
			return
		}
		for i := range typ.NumField() {
			walk(join(path, keyOf(typ.Field(i))), typ.Field(i).Type)
		}
	}
	walk("", reflect.TypeFor[Cluster]())
	for _, e := range effects {
		if !keys[e.path] {
			t.Errorf("%s is no key", e.path)
		}
		if e.effect == Impossible && (e.why == "" || e.hint == "") {
			t.Errorf("%s: impossible, without a word of why, or of what to do", e.path)
		}
	}
}

func TestRefusedSaysWhatToDo(t *testing.T) {
	for _, c := range []struct{ old, by, want string }{
		{"postgres: {", "postgres: {version: 18, source: pgdg, ", "c.yaml: postgres.version: the cluster is PostgreSQL 17, and cannot become PostgreSQL 18: "},
		{"scope: a\n", "scope: a\ndebian: 12\n", "(version: 17; where it is not written, it follows from debian and postgres.source. keep the version."},
		{"10.0.0.2}", "10.0.0.7}", "c.yaml: nodes[db2].address: it cannot change in a cluster that runs: "},
	} {
		got := parsed(t, strings.Replace(seeded, c.old, c.by, 1)).Refused("c.yaml", parsed(t, seeded))
		if len(got) != 1 || !strings.Contains(got.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.by, got, c.want)
		}
	}
}

func TestLastSeeded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	c := parsed(t, seeded)
	if _, err := InitSecrets(dir, c, time.Now()); err != nil {
		t.Fatal(err)
	}
	if last, err := LastSeeded(dir); last != nil || err != nil {
		t.Errorf("before the first seed: %v, %v", last, err)
	}
	word, _, err := NewGeneration(dir, c, []byte(seeded), map[string]Identity{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := CountGeneration(dir, word.Generation, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	last, err := LastSeeded(dir)
	if err != nil || last == nil || len(c.Changes(last)) > 0 {
		t.Errorf("after it: %v, %v", last, err)
	}
	path := filepath.Join(dir, generationFile)
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(body), "scope: a", "scope: z", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if last, err = LastSeeded(dir); err == nil || !strings.Contains(err.Error(), "is not what the operator has signed") {
		t.Errorf("a changed file: %v, %v", last, err)
	}
}

// The table in the documentation is the one that pgbake goes by.
func TestChangesAreDocumented(t *testing.T) {
	const path, mark = "../docs/changes.md", "<!-- written by go test ./cluster -update -->\n"
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, _, ok := strings.Cut(string(body), mark)
	if !ok {
		t.Fatalf("%s: no line %s", path, mark)
	}
	var b strings.Builder
	b.WriteString(text + mark + "| key | it takes | because, or what remains to be done |\n|---|---|---|\n")
	for _, e := range effects {
		why := e.why
		if e.hint != "" {
			why += ". Instead: " + e.hint
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", e.path, e.effect, why)
		if !strings.Contains(text, "| "+string(e.effect)+" |") {
			t.Errorf("%s does not say what %q is", path, e.effect)
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if b.String() != string(body) {
		t.Errorf("%s is not the table of change.go: run with -update and read the difference", path)
	}
}

// Which secrets the machines do not have yet is said by their names; the file says nothing of what they are.
func TestNewSecrets(t *testing.T) {
	dir := t.TempDir()
	s := Sealed{Secrets{Replicator: "one", REST: "two", Stats: "three", Users: map[string]string{"app": "four"}}}
	names := func(s Sealed, r Role) string {
		t.Helper()
		got, err := s.NewSecrets(dir, r)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(got, " ")
	}
	if got := names(s, ""); got != "" {
		t.Errorf("where nothing was seeded: %s", got)
	}
	if err := s.CountSecrets(dir); err != nil {
		t.Fatal(err)
	}
	if got := names(s, ""); got != "" {
		t.Errorf("of what was seeded: %s", got)
	}
	next := Sealed{Secrets{Replicator: "one", REST: "new", Stats: "also new", Users: map[string]string{"app": "four", "second": "five"}}}
	for role, want := range map[Role]string{"": "rest stats users.second", DB: "rest users.second", Proxy: "stats"} {
		if got := names(next, role); got != want {
			t.Errorf("%q: %s, want %s", role, got, want)
		}
	}
	if got := names(Sealed{Secrets{Replicator: "one"}}, ""); got != "" {
		t.Errorf("what is gone: %s", got)
	}
	path := filepath.Join(dir, seededFile)
	body, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(body), "two") || strings.Contains(string(body), "four") {
		t.Errorf("%s, %v", body, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.NewSecrets(dir, ""); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a damaged file: %v", err)
	}
}
