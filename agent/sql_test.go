package agent

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Each function that names a client of PostgreSQL gives it the environment in which it sees pg_catalog alone.
func TestClients(t *testing.T) {
	client := regexp.MustCompile(`^(.*/)?(psql|pg_amcheck|pg_basebackup|pg_dump|pg_dumpall|pg_receivewal|vacuumdb|reindexdb|clusterdb|pgbackrest)$`)
	// These name one and start none.
	look := []string{"exists", "decode"}
	give := []string{"pgOptions", "client", "ask"}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	clients := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			var named []string
			given := false
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if slices.Contains(look, callee(n)) {
						return false
					}
					given = given || slices.Contains(give, callee(n))
				case *ast.BasicLit:
					if text, err := strconv.Unquote(n.Value); err == nil && client.MatchString(text) {
						named = append(named, text)
					}
				}
				return true
			})
			clients += len(named)
			if named != nil && !given {
				t.Errorf("%s: %s starts %s, which sees what a database's owner has put into it", set.Position(f.Pos()), f.Name, named)
			}
		}
	}
	if clients < 10 {
		t.Errorf("found %d clients: the test does not see them", clients)
	}
}

// callee is the name of what is called, without what it is called on.
func callee(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}
