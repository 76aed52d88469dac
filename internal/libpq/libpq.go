// Package libpq writes what PostgreSQL's client library reads.
package libpq

import "strings"

var escape = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

// Value is a value of a connection string of keywords and values, quoted where it must be
// (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE).
func Value(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\n\r\f\v'\\") {
		return s
	}
	return "'" + escape.Replace(s) + "'"
}

// Database is a connection string that names a database. A name alone, where programs take one, is read as a connection
// string when it holds "=", or begins like a URI.
func Database(name string) string { return "dbname=" + Value(name) }

// Ident is a name in SQL, always quoted.
func Ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
