// Package parameter knows the parameters of PostgreSQL: which ones a version has, what they can be, and what Patroni
// makes of them.
//
// In come names and values as they stand in a configuration; out comes what is wrong with them, or whether two values are
// the same. What it knows was taken from the real programs (take.sh, take-patroni.py). It asks nothing of this machine.
package parameter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pgbake/pgbake/internal/suggest"
)

// Target is what a configuration is for.
type Target struct {
	// Postgres is the major version.
	Postgres int
	// Debian is the release: its tzdata has the time zones.
	Debian int
	// Patroni is 3.0.2 or 4.0.7.
	Patroni string
}

// Fault is what is wrong with a parameter.
type Fault struct {
	// Wrong continues the parameter's name and a colon.
	Wrong string
	// Instead is what to write; it may be empty.
	Instead string
}

// renamed are parameters of versions before the oldest one here, and what took their place.
var renamed = map[string]string{
	"checkpoint_segments": "max_wal_size", "sort_mem": "work_mem", "vacuum_mem": "maintenance_work_mem",
	"replication_timeout": "wal_sender_timeout", "force_parallel_mode": "debug_parallel_query", "ssl_ecdh_curve": "ssl_groups",
	"max_fsm_pages": "", "max_fsm_relations": "", "stats_temp_directory": "", "default_with_oids": "", "operator_precedence_warning": "",
	"vacuum_cleanup_index_scale_factor": "", "wal_keep_segments": "wal_keep_size", "krb_srvname": "",
}

// Own returns a name in small letters where it is written as PostgreSQL itself writes it (TimeZone), else as it is.
func Own(name string) string {
	lower := strings.ToLower(name)
	for _, v := range versions {
		if s, found := servers()[v].settings[lower]; found && s.name == name {
			return lower
		}
	}
	return name
}

// Judge says what is wrong with one parameter; nil when nothing is.
func (t Target) Judge(name, value string) *Fault {
	s, found := servers()[t.Postgres].settings[name]
	if !found {
		return t.unknown(name)
	}
	p, known := knownTo(t.Patroni, name, t.Postgres)
	// Later ones leave in what the server itself knows.
	if !known && t.Patroni == "3.0.2" && !strings.Contains(name, ".") {
		return &Fault{fmt.Sprintf("Patroni %s does not know it and leaves it out", t.Patroni), ""}
	}
	switch s.kind {
	case "bool":
		is, ok := boolean(value)
		if !known { // of a library: Patroni passes it on as it is
			is, ok = truth(value)
		}
		if !ok {
			return &Fault{suggest.Quote(value) + " is neither on nor off", "on or off"}
		}
		if is && name == "bonjour" {
			return &Fault{"Debian's PostgreSQL is built without it, and would not start", "off"}
		}
		return nil
	case "enum":
		if !s.word(value) {
			return &Fault{suggest.Quote(value) + " is none of its values", suggest.Hint(value, s.words)}
		}
		if is, _ := boolean(value); is && name == "huge_pages" {
			return &Fault{"nothing reserves huge pages on the machines: PostgreSQL would not start", "try"}
		}
		if known && p.kind == "enum" && !slices.Contains(p.words, strings.ToLower(value)) {
			return &Fault{fmt.Sprintf("Patroni %s does not know %s and leaves the parameter out", t.Patroni, suggest.Quote(value)), "one of " + strings.Join(p.words, ", ")}
		}
		return nil
	case "integer", "real":
		n, ok := s.number(value)
		forced := "" // Patroni's own range
		if known && p.kind != "bool" && p.kind != "enumbool" {
			forced = p.outside(n)
		}
		switch {
		case !ok && s.unit == "":
			return &Fault{suggest.Quote(value) + " is not a number", s.meant(value)}
		case !ok:
			return &Fault{suggest.Quote(value) + " is not a number with a unit that PostgreSQL knows", s.meant(value)}
		case s.outside(n) != "":
			return &Fault{suggest.Quote(value) + " is " + s.outside(n), ""}
		case forced != "":
			return &Fault{fmt.Sprintf("%s is %s, which Patroni %s makes of it", suggest.Quote(value), forced, t.Patroni), ""}
		}
		return s.special(n, value)
	}
	return t.text(s, value)
}

// unknown is what to say of a parameter that the server does not have.
func (t Target) unknown(name string) *Fault {
	own := servers()[t.Postgres]
	if prefix, _, custom := strings.Cut(name, "."); custom {
		var prefixes, settings []string
		for known := range own.settings {
			if p, _, ok := strings.Cut(known, "."); ok {
				prefixes = append(prefixes, p)
				if p == prefix {
					settings = append(settings, known)
				}
			}
		}
		slices.Sort(prefixes)
		slices.Sort(settings)
		switch near := suggest.Nearest(prefix, prefixes); {
		case settings != nil:
			return &Fault{fmt.Sprintf("%s of PostgreSQL %d has no such parameter", prefix, t.Postgres), suggest.Hint(name, settings)}
		case near != "":
			return &Fault{"no library has parameters of that name", fmt.Sprintf("did you mean %q?", near+strings.TrimPrefix(name, prefix))}
		}
		return nil // an application's own, which PostgreSQL keeps as it is
	}
	gone := Fault{Wrong: fmt.Sprintf("PostgreSQL %d no longer has it", t.Postgres)}
	if now, old := renamed[name]; old {
		if _, found := own.settings[now]; found {
			gone.Instead = now + " took its place"
		}
		return &gone
	}
	for _, v := range versions {
		switch _, found := servers()[v].settings[name]; {
		case found && v < t.Postgres:
			return &gone
		case found:
			return &Fault{fmt.Sprintf("PostgreSQL %d does not have it yet: it came with %d", t.Postgres, v), ""}
		}
	}
	f := &Fault{Wrong: fmt.Sprintf("PostgreSQL %d has no such parameter to set", t.Postgres)}
	if near := suggest.Nearest(name, own.names()); near != "" {
		f.Instead = fmt.Sprintf("did you mean %q?", near)
	}
	return f
}

// Same tells whether two values of a parameter are one to PostgreSQL: 1GB and 1024MB, on and true.
func (t Target) Same(name, a, b string) bool {
	s := servers()[t.Postgres].settings[strings.ToLower(name)]
	switch s.kind {
	case "bool":
		x, okX := truth(a)
		y, okY := truth(b)
		return okX && okY && x == y
	case "integer", "real":
		x, okX := s.number(a)
		y, okY := s.number(b)
		return okX && okY && (x == y || s.kind == "real" && strconv.FormatFloat(x, 'g', 6, 64) == strconv.FormatFloat(y, 'g', 6, 64))
	case "enum":
		x, okX := boolean(a)
		y, okY := boolean(b)
		if name == "wal_compression" && (strings.EqualFold(a, "pglz") && y || strings.EqualFold(b, "pglz") && x) {
			return true // what on means there
		}
		return strings.EqualFold(a, b) || okX && okY && x == y
	}
	return a == b
}

// word tells whether a value is one of an enum's. Those that can be on and off take the other words for these, too.
func (s setting) word(value string) bool {
	if slices.ContainsFunc(s.words, func(w string) bool { return strings.EqualFold(w, value) }) {
		return true
	}
	_, ok := boolean(value)
	return ok && slices.Contains(s.words, "on") && slices.Contains(s.words, "off")
}

// truth reads what PostgreSQL takes for a boolean: a word, or the beginning of one that leaves no doubt.
func truth(value string) (is, ok bool) {
	v := strings.ToLower(value)
	if is, ok := boolean(v); ok || v == "" || v == "o" {
		return is, ok
	}
	for _, w := range []string{"true", "yes"} {
		if strings.HasPrefix(w, v) {
			return true, true
		}
	}
	for _, w := range []string{"false", "no", "off"} {
		if strings.HasPrefix(w, v) {
			return false, true
		}
	}
	return false, false
}

// boolean reads what both PostgreSQL and Patroni take for one: whole words.
func boolean(value string) (is, ok bool) {
	switch strings.ToLower(value) {
	case "on", "true", "yes", "1":
		return true, true
	case "off", "false", "no", "0":
		return false, true
	}
	return false, false
}
