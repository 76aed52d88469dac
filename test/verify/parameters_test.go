package verify

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/cluster/parameter"
)

var update = flag.Bool("update", false, "write what the real programs know into cluster/parameter")

const catalog = "../../cluster/parameter"

// TestParameters: what the tree knows of PostgreSQL's parameters is what the real server and Patroni know, and a value is
// judged as they judge it.
func TestParameters(t *testing.T) {
	each(t, func(t *testing.T, r release) {
		s := r.sandbox(t)
		s.copied(t, "take.sh")
		s.copied(t, "take-patroni.py")
		bin := fmt.Sprintf("/usr/lib/postgresql/%d/bin", r.postgres)
		s.run("root", "install", "-d", "-o", "postgres", "/tmp/taken")
		took := strings.SplitAfter(s.run("postgres", "sh", "/tmp/take.sh", bin, "/tmp/taken"), "\n")
		cut := slices.IndexFunc(took, func(line string) bool { return strings.HasPrefix(line, "zone\t") })
		patroni := "3.0.2"
		if r.debian == 13 {
			patroni = "4.0.7"
		}
		target := parameter.Target{Postgres: r.postgres, Debian: r.debian, Patroni: patroni}
		for file, lines := range map[string][]string{
			fmt.Sprintf("servers/%d.tsv", r.postgres): took[:cut],
			fmt.Sprintf("debian/%d.tsv", r.debian):    took[cut:],
			"patroni/" + patroni + ".tsv":             strings.SplitAfter(s.run("postgres", "python3", "/tmp/take-patroni.py"), "\n"),
		} {
			same(t, filepath.Join(catalog, file), lines)
		}
		if !*update { // what was just written is not what this program was built with
			judgedAlike(t, s, target, bin)
		}
	})
}

// same compares a file of the catalog. A newer minor version may know more than the file, and never less.
func same(t *testing.T, file string, took []string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(took, "")), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if !slices.Contains(took, line) {
			t.Errorf("%s: the real one does not say\n%s", file, line)
		}
	}
	for _, line := range took {
		if line != "" && !bytes.Contains(body, []byte(line)) {
			t.Logf("%s lacks, since a newer minor version: %s", file, line)
		}
	}
}

func (s *sandbox) copied(t *testing.T, name string) {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(catalog, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "tmp", name), body, 0o644); err != nil {
		t.Fatal(err)
	}
}

// sample is a parameter with a value.
type sample struct{ name, value, kind string }

// samples are values at every edge of a parameter's type, right and wrong.
func samples(f []string) (all []sample) {
	name, kind, unit, least, most, words := f[1], f[2], f[3], f[4], f[5], f[6]
	values := []string{"", "nonsense"}
	switch kind {
	case "bool":
		values = append(values, "on", "off", "TRUE", "false", "yes", "No", "1", "0", "t", "2")
	case "enum":
		for _, w := range strings.Split(words, "|") {
			values = append(values, w, strings.ToUpper(w), w+"x")
		}
		values = append(values, "on", "true", "1")
	case "integer", "real":
		values = append(values, least, most, least+"0", most+"0", "-"+most, "-1", "0", "1", "64", "1000", "1e2", "1.5", "0x40", "08", "010", "1_000", "nan", "inf", "1e400", " 100 ", "100%")
		if unit != "" || name == "port" {
			for _, u := range []string{"B", "kB", "MB", "GB", "TB", "us", "ms", "s", "min", "h", "d", "mb", "KB", " minute", " MB", "k", "M"} {
				values = append(values, "1.5"+u, "100"+u)
			}
		}
	case "string":
		values = append(values, texts[name]...)
	}
	for _, v := range values {
		all = append(all, sample{name, v, kind})
	}
	return all
}

// texts are values of texts that PostgreSQL judges.
var texts = map[string][]string{
	"TimeZone":                         {"Europe/Berlin", "europe/berlin", "UTC", "US/Pacific", "Mars/Phobos", "-7", "+5.5", "<+03>-3", "EST5EDT", "MSK", "Berlin"},
	"DateStyle":                        {"ISO, DMY", "german", "SQL", "iso,iso", "ISO MDY", "european", "dd.mm.yyyy", "ISO,"},
	"log_destination":                  {"stderr", "csvlog, syslog", "jsonlog", "file", "stderr,"},
	"client_encoding":                  {"UTF8", "utf-8", "LATIN1", "win1251", "WINDOWS-1251", "unicode", "UTF9", "iso88591"},
	"lc_messages":                      {"C", "POSIX", "C.UTF-8", "ru_RU.UTF-8", "en_US"},
	"lc_time":                          {"C", "de_DE.UTF-8"},
	"backtrace_functions":              {"a_b, c", "a-b"},
	"default_table_access_method":      {"heap", "zheap"},
	"timezone_abbreviations":           {"Default", "India", "Austria"},
	"createrole_self_grant":            {"set, inherit", "admin"},
	"restrict_nonsystem_relation_kind": {"view, foreign-table", "table"},
	"wal_consistency_checking":         {"all", "heap, btree", "heaps"},
	"debug_io_direct":                  {"data", "wal, wal_init", "log"},
}

// Where pgbake refuses more than PostgreSQL does when it is only told the value, and what it lets pass that only a database
// can judge.
var (
	stricter = []string{"huge_pages", "shared_preload_libraries", "session_preload_libraries", "local_preload_libraries",
		"unix_socket_group", "max_wal_size", "min_wal_size", "max_stack_depth", "ssl_ecdh_curve",
		"ssl_ciphers", "superuser_reserved_connections", "reserved_connections", "ssl_max_protocol_version"}
	looser = []string{"default_tablespace", "temp_tablespaces", "default_text_search_config", "synchronized_standby_slots"}
	// What PostgreSQL takes for a list in itself is quoted as a whole by ALTER SYSTEM.
	quoted = []string{"local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries", "temp_tablespaces", "unix_socket_directories"}
)

func judgedAlike(t *testing.T, s *sandbox, target parameter.Target, bin string) {
	body, err := os.ReadFile(filepath.Join(catalog, fmt.Sprintf("servers/%d.tsv", target.Postgres)))
	if err != nil {
		t.Fatal(err)
	}
	var all []sample
	var libraries []string
	for line := range strings.Lines(string(body)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch {
		case f[0] == "library":
			libraries = append(libraries, f[1])
		case f[0] != "setting" || slices.Contains(quoted, f[1]):
		default:
			all = append(all, samples(f)...)
		}
	}
	s.run("postgres", bin+"/pg_ctl", "-D", "/tmp/taken/data", "-w", "-l", "/tmp/taken/server.log", "-o",
		"-c listen_addresses= -c unix_socket_directories=/tmp/taken -c fsync=off -c shared_preload_libraries="+strings.Join(libraries, ","), "start")
	refused := map[int]string{}
	for i, said := range s.psqlSays(t, all, "ALTER SYSTEM SET %[1]s = %[2]s;") {
		if _, why, is := strings.Cut(said, "ERROR:"); is {
			refused[i] = why
		}
	}
	// What a session can set it shows in the parameter's own unit and words. Some would end the session, and by the
	// socket there is no TCP.
	shown := slices.DeleteFunc(slices.Clone(all), func(x sample) bool {
		return x.kind == "string" || strings.HasSuffix(x.name, "_timeout") || strings.HasPrefix(x.name, "tcp_") || target.Judge(strings.ToLower(x.name), x.value) != nil
	})
	for i, said := range s.psqlSays(t, shown, "BEGIN; SELECT pg_catalog.set_config(%[3]s, %[2]s, true) \\g /dev/null\nSELECT setting FROM pg_catalog.pg_settings WHERE name = %[3]s; ROLLBACK;") {
		if x := shown[i]; !strings.Contains(said, "ERROR:") && !target.Same(x.name, x.value, said) {
			t.Errorf("%s = %q is not the same as %q, which PostgreSQL makes of it", x.name, x.value, said)
		}
	}
	if target.Postgres >= 16 { // 15 does not look, and sorts as if there were none
		for _, language := range []string{"ru", "uk", "cs", "und", "root", "ua", "cz", "jp", "gr", "xx", "english", "tlh"} {
			_, err := s.try("postgres", "psql", "-h", "/tmp/taken", "-d", "postgres", "-XAtq", "-c",
				"SET icu_validation_level = error; CREATE COLLATION pg_temp.c (provider = icu, locale = '"+language+"-001')")
			if f := target.Language(language + "-001"); (f == nil) != (err == nil) {
				t.Errorf("the language %s: %v, and ICU says %v", language, f, err)
			}
		}
	}
	asPatroni := s.patroniJudges(t, target.Postgres, all)
	accepted := 0
	for i, x := range all {
		name := strings.ToLower(x.name)
		f := target.Judge(name, x.value)
		if beside := target.Together(map[string]string{name: x.value}); f == nil && beside != nil {
			f = &beside[0].Fault
		}
		drops := asPatroni[i] != x.value
		switch {
		case cluster.Forbidden(name, x.value) != "", strings.Contains(refused[i], "cannot be changed"):
		case f == nil && refused[i] != "" && !slices.Contains(looser, x.name):
			t.Errorf("%s = %q passes, and PostgreSQL says%s", x.name, x.value, refused[i])
		case f == nil && drops:
			t.Errorf("%s = %q passes, and Patroni makes %q of it", x.name, x.value, asPatroni[i])
		case f != nil && refused[i] == "" && !drops && !slices.Contains(stricter, x.name):
			t.Errorf("%s = %q is refused, and both take it: %s", x.name, x.value, f.Wrong)
		case f == nil:
			accepted++
		}
	}
	t.Logf("%d of %d values accepted, by PostgreSQL %d, Patroni %s and here", accepted, len(all), target.Postgres, target.Patroni)
}

// psqlSays runs a statement for each sample, and returns what came of it. In the statement the first is the name, the second the
// value, the third the name as a value.
func (s *sandbox) psqlSays(t *testing.T, all []sample, statement string) []string {
	t.Helper()
	text := func(v string) string { return "'" + strings.ReplaceAll(v, "'", "''") + "'" }
	var script strings.Builder
	for _, x := range all {
		fmt.Fprintf(&script, "\\echo #\n"+statement+"\n", `"`+strings.ReplaceAll(x.name, ".", `"."`)+`"`, text(x.value), text(x.name))
	}
	if err := os.WriteFile(filepath.Join(s.dir, "tmp/script.sql"), []byte(script.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	said := strings.Split(s.run("postgres", "sh", "-c", "psql -h /tmp/taken -d postgres -XAtq -f /tmp/script.sql 2>&1"), "#\n")[1:]
	if len(said) != len(all) {
		t.Fatalf("%d answers to %d samples", len(said), len(all))
	}
	for i := range said {
		said[i] = strings.TrimSpace(said[i])
	}
	return said
}

// patroniJudges is what Patroni makes of each value; "None" when it leaves it out.
func (s *sandbox) patroniJudges(t *testing.T, postgres int, all []sample) []string {
	t.Helper()
	var pairs [][2]string
	for _, x := range all {
		pairs = append(pairs, [2]string{x.name, x.value})
	}
	body, err := json.Marshal(pairs)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "tmp/samples.json"), body, 0o644); err != nil {
		t.Fatal(err)
	}
	out := s.run("postgres", "python3", "-c", `
import json, logging
logging.disable(logging.CRITICAL)
from patroni.postgresql.validator import transform_postgresql_parameter_value as transform
try:
    from patroni.collections import CaseInsensitiveSet
except ImportError:
    CaseInsensitiveSet = None
made = []
for name, value in json.load(open('/tmp/samples.json')):
    more = () if CaseInsensitiveSet is None else (CaseInsensitiveSet([name]),)
    try:
        made.append(str(transform(`+fmt.Sprint(postgres*10000)+`, name, value, *more)))
    except OverflowError: # 1e400 ends Patroni
        made.append('None')
print(json.dumps(made))`)
	var made []string
	if err := json.Unmarshal([]byte(out), &made); err != nil || len(made) != len(all) {
		t.Fatalf("%v: %s", err, out)
	}
	return made
}
