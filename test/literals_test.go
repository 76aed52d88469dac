package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/cluster"
)

// Once: what has a name in Go stands nowhere else in it as text. Files of the rooms in but may have it, for the reason beside.
var once = []struct {
	text *regexp.Regexp
	name string
	but  map[string]string
}{
	{whole(cluster.PatroniConfig), "cluster.PatroniConfig", map[string]string{
		"cluster/places.go": "defined", "render/files.go": "the table of paths", "cmd/pgbake/lint.go": "an example of others' files",
	}},
	{whole(cluster.PatroniTLS), "cluster.PatroniTLS", map[string]string{"cluster/places.go": "defined", "render/files.go": "the table of paths"}},
	{whole(cluster.EtcdDataDir), "cluster.EtcdDataDir", map[string]string{"cluster/places.go": "defined", "agent/joining.go": "a file beside it"}},
	{whole(cluster.DatabaseHome), "cluster.DatabaseHome", map[string]string{"cluster/places.go": "defined", "lint/": "what others have written"}},
	{whole(cluster.SocketDir), "cluster.SocketDir", map[string]string{"cluster/places.go": "defined", "cluster/validate_parameters.go": "a sentence about it"}},
	{whole(cluster.HAProxySocket), "cluster.HAProxySocket", map[string]string{"cluster/places.go": "defined"}},
	{whole(cluster.StatusFile), "cluster.StatusFile", map[string]string{"cluster/places.go": "defined"}},
	{regexp.MustCompile(`etcdctl( -|$| (defrag|member|endpoint|alarm)\b)|--endpoints=`), "Ports.Etcdctl", map[string]string{
		"cluster/commands.go": "defined", "lint/": "what others have written",
	}},
	{regexp.MustCompile(`\bpsql -|-- psql`), "Ports.Psql", map[string]string{
		"cluster/commands.go": "defined", "lint/": "what others have written",
		"render/adopt.go": "on a primary elsewhere, of which the ports are not known", "cmd/pgbake/": "pgbake's own lab psql, and a primary elsewhere",
	}},
}

// ports are numbers that stand once, with the defaults.
var ports = func() (all []string) {
	p := cluster.DefaultPorts()
	for _, n := range []int{p.Postgres, p.Patroni, p.EtcdClient, p.EtcdPeer, p.ReadWrite, p.ReadOnly, p.Stats, p.PGHA, p.Metrics} {
		all = append(all, strconv.Itoa(n))
	}
	return all
}()

// numbers are files in which such a number is something else.
var numbers = map[string]string{
	"cluster/defaults.go": "defined",
	"cluster/derive.go":   "milliseconds of an election",
}

func whole(text string) *regexp.Regexp {
	return regexp.MustCompile(`(^|[^\w/-])` + regexp.QuoteMeta(text) + `($|[^\w-])`)
}

// TestLiteralsStandOnce reads the Go code, tests left out: a port, a path or a command that has a name is called by it.
func TestLiteralsStandOnce(t *testing.T) {
	port := regexp.MustCompile(`(^|[^\w.-])(` + strings.Join(ports, "|") + `)($|[^\w.-])`)
	read := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), "../")
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && name != ".." || name == "test" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		read++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if _, imports := n.(*ast.ImportSpec); imports {
				return false
			}
			if field, ok := n.(*ast.Field); ok && field.Tag != nil {
				field.Tag = nil // no text of ours
			}
			l, ok := n.(*ast.BasicLit)
			if !ok {
				return true
			}
			text := l.Value
			if l.Kind == token.STRING {
				text, _ = strconv.Unquote(l.Value) // the parser has read it
			}
			for _, o := range once {
				if l.Kind == token.STRING && o.text.MatchString(text) && !excused(name, o.but) {
					t.Errorf("%s: %s stands for this: %s", set.Position(l.Pos()), o.name, l.Value)
				}
			}
			if number := l.Kind == token.INT && slices.Contains(ports, text) || l.Kind == token.STRING && port.MatchString(text); number && !excused(name, numbers) {
				t.Errorf("%s: a port stands in cluster/defaults.go, and every cluster may have another: %s", set.Position(l.Pos()), l.Value)
			}
			return true
		})
		return nil
	})
	if err != nil || read < 100 {
		t.Errorf("%d files were read: %v", read, err)
	}
}

func excused(name string, but map[string]string) bool {
	for file, reason := range but {
		if reason != "" && (name == file || strings.HasSuffix(file, "/") && strings.HasPrefix(name, file)) {
			return true
		}
	}
	return false
}
