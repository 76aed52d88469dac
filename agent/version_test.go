package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDatabaseOfAnotherVersion(t *testing.T) {
	const stock = "/etc/postgresql/15/main/postgresql.conf"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"an empty machine":              {nil, ""},
		"its own":                       {map[string]string{"/var/lib/postgresql/17/main/PG_VERSION": "17\n"}, ""},
		"an older one":                  {map[string]string{"/var/lib/postgresql/15/main/PG_VERSION": "15\n"}, "a database of PostgreSQL 15 lies in /var/lib/postgresql/15/main"},
		"a newer one":                   {map[string]string{"/var/lib/postgresql/18/main/PG_VERSION": "18\n"}, "that this machine has PostgreSQL 17; it is left alone"},
		"both":                          {map[string]string{"/var/lib/postgresql/15/main/PG_VERSION": "15\n", "/var/lib/postgresql/17/main/PG_VERSION": "17\n"}, ""},
		"one of Debian's own tools":     {map[string]string{"/var/lib/postgresql/15/main/PG_VERSION": "15\n", stock: "data_directory = '/var/lib/postgresql/15/main'\nport = 5499\n"}, ""},
		"an older one that was moved":   {map[string]string{"/var/lib/postgresql/15/main.aside/PG_VERSION": "15\n"}, ""},
		"another directory of its tool": {map[string]string{"/var/lib/postgresql/15/main/PG_VERSION": "15\n", stock: "data_directory = '/srv/old'\n"}, "is left alone, and none is made beside it"},
	} {
		t.Run(name, func(t *testing.T) {
			w := testWork(t)
			for path, body := range c.files {
				put(t, w.Root, path, body)
			}
			err := w.refuseOtherVersion(t.Context())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			for path, body := range c.files {
				if got, err := os.ReadFile(filepath.Join(w.Root, path)); err != nil || string(got) != body {
					t.Errorf("%s has changed: %q, %v", path, got, err)
				}
			}
		})
	}
}

// Before anything is written, started or made.
func TestDatabaseVersionComesFirst(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: files below /etc belong to it")
	}
	at := func(name string) int {
		for i, s := range recipe {
			if s.name == name {
				return i
			}
		}
		t.Fatalf("no step %q", name)
		return 0
	}
	if v := at("database version"); v < at("data disk") || v > at("files") {
		t.Error("the step stands at the wrong place: after the data disk is mounted, before anything is written")
	}
}
