package render

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// text is a value that may hold anything; its methods write it down in one language each.
type text string

var (
	plainYAML = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_ ./,+-]*$`)
	plainHBA  = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)
	plainVRRP = regexp.MustCompile(`^[A-Za-z0-9]+$`)
	// Words that YAML 1.1 takes for something else than a string.
	yamlWords = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false|null)$`)
)

func plainWord(t text) bool { return plainVRRP.MatchString(string(t)) }

func cutICU(locale string) (string, bool) { return strings.CutPrefix(locale, "icu:") }

// YAML is a scalar that reads back as this very string. A JSON string is one in YAML, too.
func (t text) YAML() string {
	s := string(t)
	if plainYAML.MatchString(s) && !yamlWords.MatchString(s) && strings.TrimSpace(s) == s {
		return s
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

// Literal is a string constant of SQL. The E form is right whatever standard_conforming_strings says.
func (t text) Literal() string {
	s := strings.ReplaceAll(string(t), "'", "''")
	if strings.Contains(s, `\`) {
		return "E'" + strings.ReplaceAll(s, `\`, `\\`) + "'"
	}
	return "'" + s + "'"
}

// Ident is a name in SQL, always quoted: "user" and "Order" are fine names then.
func (t text) Ident() string { return `"` + strings.ReplaceAll(string(t), `"`, `""`) + `"` }

// CreateRole is the statement that makes the role, as a string for psql's \gexec.
func (t text) CreateRole() string { return text("CREATE ROLE " + t.Ident()).Literal() }

// Create is the statement that makes the database, as a string for psql's \gexec.
func (d database) Create() string {
	return text("CREATE DATABASE " + d.Name.Ident() + " OWNER " + d.Owner.Ident()).Literal()
}

// HBA is a name in pg_hba.conf, where quotes take a keyword's meaning away.
func (t text) HBA() string {
	s := string(t)
	if plainHBA.MatchString(s) && s != "all" && s != "sameuser" && s != "samerole" && s != "replication" {
		return s
	}
	return t.Ident()
}

// HAProxy is a word of haproxy.cfg: between single quotes everything stands for itself.
func (t text) HAProxy() string { return "'" + strings.ReplaceAll(string(t), "'", `'\''`) + "'" }

// yamlMap writes a map of scalars and maps, keys sorted, each line indented by so many spaces, the last without its newline.
func yamlMap(m map[string]any, indent int) string {
	var b strings.Builder
	pad := strings.Repeat(" ", indent)
	for i, key := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b.WriteByte('\n')
		}
		switch v := m[key].(type) {
		case map[string]any:
			fmt.Fprintf(&b, "%s%s:\n%s", pad, text(key).YAML(), yamlMap(v, indent+2))
		case string:
			fmt.Fprintf(&b, "%s%s: %s", pad, text(key).YAML(), text(v).YAML())
		default:
			fmt.Fprintf(&b, "%s%s: %v", pad, text(key).YAML(), v)
		}
	}
	return b.String()
}
