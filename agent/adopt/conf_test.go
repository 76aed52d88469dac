package adopt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadConf(t *testing.T) {
	dir := t.TempDir()
	const home = "/etc/postgresql/17/main"
	at := func(path string) string { return strings.Replace(path, home, dir, 1) }
	put(t, dir, "postgresql.conf", `# a comment
listen_addresses = '*'		# what IP address(es) to listen on
port=5433
Work_Mem 8MB
log_line_prefix = '%m [%p] it''s \'#\' '
pg_stat_statements.max = 10000
shared_preload_libraries = 'pg_stat_statements,auto_explain'
max_connections = 100
search_path = '"$user", public'
include_if_exists 'nowhere.conf'
include_dir = 'conf.d'
include '`+home+`/last.conf'
`)
	put(t, dir, "conf.d/20-b.conf", "max_connections = 300\n")
	put(t, dir, "conf.d/10-a.conf", "max_connections = 200\nwork_mem = 9MB\n")
	put(t, dir, "conf.d/.hidden.conf", "max_connections = 1\n")
	put(t, dir, "conf.d/readme", "not a setting at all\n")
	put(t, dir, "last.conf", "port = 5434\r\n")
	got, err := ReadConf(home+"/postgresql.conf", at)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for name, s := range got {
		values[name] = s.Value
	}
	want := map[string]string{
		"listen_addresses": "*", "port": "5434", "work_mem": "9MB", "log_line_prefix": `%m [%p] it's '#' `,
		"pg_stat_statements.max": "10000", "shared_preload_libraries": "pg_stat_statements,auto_explain",
		"max_connections": "300", "search_path": `"$user", public`,
	}
	if diff := cmp.Diff(want, values); diff != "" {
		t.Error(diff)
	}
	if place := got["max_connections"].Place; place != home+"/conf.d/20-b.conf:1" {
		t.Errorf("max_connections stands in %s", place)
	}
}

func TestUnquote(t *testing.T) {
	for in, want := range map[string]string{`a''b`: "a'b", `a\'b`: "a'b", `\\`: `\`, `\n\t`: "\n\t", `\101x\60`: "Ax0", `\q`: "q", "": ""} {
		if got := unquote(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestBadConf(t *testing.T) {
	for name, body := range map[string]string{
		"no value":      "port\n",
		"torn":          "port = 'x\n",
		"two values":    "port = 1 2\n",
		"include":       "include 'missing.conf'\n",
		"itself, again": "include 'postgresql.conf'\n",
	} {
		dir := t.TempDir()
		put(t, dir, "postgresql.conf", "\n"+body)
		if _, err := ReadConf(filepath.Join(dir, "postgresql.conf"), func(path string) string { return path }); err == nil || !strings.Contains(err.Error(), "postgresql.conf") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func put(t *testing.T, dir, name, body string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
}
