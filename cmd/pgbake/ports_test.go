package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pgbake/pgbake/cluster"
)

// generate are the commands that write or say something that is made of a specification alone.
var generate = [][]string{
	{"init"}, {"check"}, {"show"}, {"seed"}, {"docs"}, {"metrics"}, {"connect"},
	{"connect", "--print", "libpq"}, {"connect", "--print", "jdbc"}, {"connect", "--print", "libpq", "--read-only"},
	{"export", "terraform", "--target", "libvirt"}, {"export", "terraform", "--target", "proxmox"},
}

// elsewhere are lines in which an old value means something else.
var elsewhere = []struct {
	line   *regexp.Regexp
	reason string
}{
	{regexp.MustCompile(`1000 and 5000 collide with Patroni's retries`), "milliseconds of an election"},
	{regexp.MustCompile("(`replicator`|^replicator: |^ +replicator: )"), "the key of the password in secrets.yaml, whatever the role is called"},
}

// psqlAsks are lines that name psql and run none of a member's own.
var psqlAsks = regexp.MustCompile(`runs in psql and|psql (asks|спросит)|service=|psql, pg_dump|psql "postgresql://|psql "host=`)

// TestNoPortOrNameStandsTwice changes every port and name of each example, and looks for the old ones in everything that is
// generated from it. Ignition is left out: its files are cloud-init's (TestInits in lab).
func TestNoPortOrNameStandsTwice(t *testing.T) {
	examples, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(examples) == 0 {
		t.Fatal(examples, err)
	}
	for _, example := range examples {
		t.Run(filepath.Base(example), func(t *testing.T) {
			body, err := os.ReadFile(example)
			if err != nil {
				t.Fatal(err)
			}
			before, err := cluster.Load(example)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			spec := filepath.Join(dir, "cluster.yaml")
			if err := os.WriteFile(spec, []byte(otherwise(string(body))), 0o600); err != nil {
				t.Fatal(err)
			}
			after, err := cluster.Load(spec)
			if err != nil {
				t.Fatal(err)
			}
			old, fresh := values(before), values(after)
			for key := range old {
				if old[key] == fresh[key] {
					t.Fatalf("%s is still %s: otherwise() is to change it", key, old[key])
				}
			}
			texts := generated(t, dir, after)
			for _, key := range slices.Sorted(maps.Keys(old)) {
				there := false
				for name, text := range texts {
					there = there || whole(fresh[key]).MatchString(text)
					for n, line := range strings.Split(text, "\n") {
						if stale(key, old[key], line) && !whole(old[key]).MatchString(noComment(otherwise(string(body)))) {
							t.Errorf("%s:%d has the old %s, %s: %s", name, n+1, key, old[key], line)
						}
					}
				}
				if !there {
					t.Errorf("%s, %s, stands nowhere", key, fresh[key])
				}
			}
			// A program that is not told the port takes its default.
			for name, text := range texts {
				for n, line := range strings.Split(text, "\n") {
					if strings.Contains(line, "psql ") && !psqlAsks.MatchString(line) && !whole(fresh["ports.postgres"]).MatchString(line) {
						t.Errorf("%s:%d: psql is not told the port: %s", name, n+1, line)
					}
					if strings.Contains(line, "etcdctl ") && !whole(fresh["ports.etcd_client"]).MatchString(line) {
						t.Errorf("%s:%d: etcdctl is not told the port: %s", name, n+1, line)
					}
				}
			}
		})
	}
}

// otherwise is a specification with other ports and names than those of an example, and of the defaults.
func otherwise(example string) string {
	ports := reflect.TypeFor[cluster.Ports]()
	var b strings.Builder
	skip := false
	for line := range strings.Lines(example) {
		key, _, _ := strings.Cut(line, ":")
		if strings.TrimSpace(line) != "" && line[0] != ' ' && line[0] != '#' {
			skip = key == "ports"
		}
		switch {
		case skip, key == "scope", key == "namespace", key == "  replication_user":
		case key == "postgres":
			b.WriteString(line + "  replication_user: streaming-role\n")
		default:
			b.WriteString(line)
		}
	}
	b.WriteString("\nscope: another-scope\nnamespace: /another-namespace/\nports:\n")
	for i := range ports.NumField() {
		fmt.Fprintf(&b, "  %s: %d\n", ports.Field(i).Tag.Get("yaml"), 31847+i*101)
	}
	return b.String()
}

// values are the keys that otherwise changes, and what they are.
func values(c *cluster.Cluster) map[string]string {
	v := map[string]string{"scope": c.Scope, "namespace": c.Namespace, "postgres.replication_user": c.Postgres.ReplicationUser}
	ports := reflect.ValueOf(c.Ports)
	for i := range ports.NumField() {
		v["ports."+ports.Type().Field(i).Tag.Get("yaml")] = strconv.FormatInt(ports.Field(i).Int(), 10)
	}
	return v
}

// whole finds a value that is not a part of a longer one.
func whole(value string) *regexp.Regexp {
	return regexp.MustCompile(`(^|[^\w-])` + regexp.QuoteMeta(value) + `($|[^\w-])`)
}

// stale tells whether a line has an old value, and means it.
func stale(key, value, line string) bool {
	if key == "ports.ssh" { // 22 is also a day and the end of an address
		return regexp.MustCompile(`(?i)(:|\bports?\W+|dport\W+)22\b`).MatchString(line)
	}
	return whole(value).MatchString(line) && !slices.ContainsFunc(elsewhere, func(e struct {
		line   *regexp.Regexp
		reason string
	}) bool {
		return e.line.MatchString(line)
	})
}

func noComment(spec string) string {
	return regexp.MustCompile(`(?m)(^|\s)#.*$`).ReplaceAllString(spec, "")
}

// certificate is text whose letters and digits mean nothing.
var certificate = regexp.MustCompile(`(?s)-----BEGIN .*?-----END `)

// generated is everything by its name: what the commands write into files, and what they say. A file that is no text, such as
// the seeds' ISO, holds others that are.
func generated(t *testing.T, dir string, c *cluster.Cluster) map[string]string {
	texts := map[string]string{}
	commands := slices.Clone(generate)
	for _, m := range c.Machines() {
		commands = append(commands, []string{"render", m.Name})
	}
	for _, args := range commands {
		var out bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "pgbake", args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("pgbake %s: %v\n%s", strings.Join(args, " "), err, out.String())
		}
		texts["what pgbake "+strings.Join(args, " ")+" says"] = certificate.ReplaceAllString(out.String(), "")
	}
	err := filepath.WalkDir(filepath.Join(dir, "dist"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		body, err := os.ReadFile(path)
		if err == nil && utf8.Valid(body) && bytes.IndexByte(body, 0) < 0 {
			name, _ := filepath.Rel(dir, path)
			texts[name] = certificate.ReplaceAllString(string(body), "")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}
