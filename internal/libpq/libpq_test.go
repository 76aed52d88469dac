package libpq

import "testing"

func TestDatabase(t *testing.T) {
	for name, want := range map[string]string{
		"app": "dbname=app", "": "dbname=''", "two words": "dbname='two words'", `o'b\c`: `dbname='o\'b\\c'`,
		"host=elsewhere": "dbname=host=elsewhere", "postgres://elsewhere": "dbname=postgres://elsewhere", "a\nb": "dbname='a\nb'",
	} {
		if got := Database(name); got != want {
			t.Errorf("Database(%q) = %q, want %q", name, got, want)
		}
	}
}
