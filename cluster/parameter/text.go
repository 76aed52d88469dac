package parameter

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/internal/suggest"
)

// Values that PostgreSQL judges by more than their type. With a wrong one it does not start, or refuses every connection.

// special judges a number that is in its range.
func (s setting) special(n float64, value string) *Fault {
	switch s.name {
	case "commit_timestamp_buffers", "multixact_member_buffers", "multixact_offset_buffers", "notify_buffers",
		"serializable_buffers", "subtransaction_buffers", "transaction_buffers":
		if int64(n)%16 != 0 {
			return &Fault{suggest.Quote(value) + " is not a multiple of 16 blocks", "a multiple of 128kB"}
		}
	case "max_stack_depth":
		// A service's process has 8 MB, of which PostgreSQL wants 512 kB left.
		if n > 7680 {
			return &Fault{suggest.Quote(value) + " is more than a process's stack of 8 MB has room for", "at most 7680kB"}
		}
	case "vacuum_buffer_usage_limit":
		if n > 0 && n < 128 {
			return &Fault{suggest.Quote(value) + " is less than 128 kB", "0, or at least 128kB"}
		}
	case "max_wal_size", "min_wal_size":
		if n < 32 {
			return &Fault{suggest.Quote(value) + " is less than two segments of WAL", "at least 32MB"}
		}
	}
	return nil
}

// words are what a list of words, between commas, can hold.
var words = map[string][]string{
	"log_destination":                  {"stderr", "csvlog", "jsonlog", "syslog"},
	"restrict_nonsystem_relation_kind": {"view", "foreign-table"},
	"createrole_self_grant":            {"set", "inherit"},
	"debug_io_direct":                  {"data", "wal", "wal_init"},
	"log_connections": {"receipt", "authentication", "authorization", "setup_durations", "all",
		"on", "off", "true", "false", "yes", "no", "1", "0"},
	"plpgsql.extra_errors": extra, "plpgsql.extra_warnings": extra,
	"wal_consistency_checking": {"all", "brin", "btree", "generic", "gin", "gist", "hash", "heap", "heap2", "sequence", "spgist"},
}

var extra = []string{"all", "none", "shadowed_variables", "strict_multi_assignment", "too_many_rows"}

// single are what a text can be where only some are there.
var single = map[string][]string{
	"default_table_access_method": {"heap"},
	"timezone_abbreviations":      {"Default", "Australia", "India"},
	"unix_socket_group":           {"", "postgres", "ssl-cert"},
	"ssl_ecdh_curve":              {"prime256v1", "secp384r1", "secp521r1"},
	// The only locales that the machines have.
	"lc_messages": locales, "lc_monetary": append(locales, ""), "lc_numeric": append(locales, ""), "lc_time": append(locales, ""),
}

var locales = []string{"C", "POSIX", "C.UTF-8", "C.utf8"}

// text judges the value of a parameter of type string.
func (t Target) text(s setting, value string) *Fault {
	one, limited := single[s.name]
	several, listed := words[s.name]
	switch {
	case limited && !slices.Contains(one, value):
		hint := "one of " + strings.Join(slices.DeleteFunc(slices.Clone(one), func(w string) bool { return w == "" }), ", ")
		if strings.HasPrefix(s.name, "lc_") {
			return &Fault{"the machines have no locale " + suggest.Quote(value), hint}
		}
		return &Fault{suggest.Quote(value) + " is none of its values", hint}
	case listed:
		return list(value, func(word string) *Fault {
			if slices.Contains(several, strings.ToLower(word)) {
				return nil
			}
			return &Fault{suggest.Quote(word) + " is none of its words", suggest.Hint(word, several)}
		})
	}
	switch s.name {
	case "TimeZone", "log_timezone":
		return t.zone(value)
	case "DateStyle":
		return list(value, dateStyle)
	case "client_encoding":
		return t.encoding(value)
	case "shared_preload_libraries":
		return list(value, func(name string) *Fault { return t.library(name, "PostgreSQL would not start") })
	case "session_preload_libraries":
		return list(value, func(name string) *Fault { return t.library(name, "PostgreSQL would refuse every connection") })
	case "local_preload_libraries", "oauth_validator_libraries":
		return list(value, func(name string) *Fault {
			return &Fault{"no package that pgbake installs has the library " + suggest.Quote(name), ""}
		})
	case "search_path", "temp_tablespaces", "synchronized_standby_slots":
		return list(value, func(string) *Fault { return nil })
	case "ssl_ciphers":
		// OpenSSL passes over what it does not know; with nothing left PostgreSQL does not start.
		if !slices.ContainsFunc(strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(":, ", r) }), cipher.MatchString) {
			return &Fault{suggest.Quote(value) + " has no cipher that OpenSSL knows", "such as HIGH:!aNULL"}
		}
	case "backtrace_functions":
		if strings.Trim(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_, \t") != "" {
			return &Fault{suggest.Quote(value) + " is no list of a C program's functions", ""}
		}
	}
	return nil
}

// listWord is one element of a list: a word, or anything in double quotes.
var listWord = regexp.MustCompile(`^\s*(?:"((?:[^"]|"")*)"|([^\s,"]+))\s*(?:,|$)`)

// list judges each element of a list between commas; an empty one is one.
func list(value string, judge func(word string) *Fault) *Fault {
	for rest := value; strings.TrimSpace(rest) != ""; {
		m := listWord.FindStringSubmatch(rest)
		if m == nil || m[1] == "" && m[2] == "" {
			return &Fault{suggest.Quote(value) + " is no list", "names between commas, those with special characters in double quotes"}
		}
		word := m[2]
		if word == "" {
			word = strings.ReplaceAll(m[1], `""`, `"`)
		}
		if f := judge(word); f != nil {
			return f
		}
		rest = rest[len(m[0]):]
		if strings.HasSuffix(strings.TrimSpace(m[0]), ",") && strings.TrimSpace(rest) == "" {
			return &Fault{suggest.Quote(value) + " ends with a comma", "take it out"}
		}
	}
	return nil
}

// cipher is the name of a cipher for TLS 1.2, or a word for several.
var cipher = regexp.MustCompile(`^\+?(ALL|DEFAULT|HIGH|MEDIUM|PROFILE=SYSTEM|((A?EC)?DHE?|EECDH|EDH|k?RSA|PSK|CAMELLIA(128|256)?|AES(128|256|GCM|CCM8?)?|CHACHA20|ARIA|SHA(1|256|384)?|3DES|TLSv1\.[02])([+-][A-Z0-9+-]+)*)$`)

// Times that need no file of tzdata: an offset in hours, an interval, or POSIX's own form, such as <+03>-3.
var zoneByRule = regexp.MustCompile(`^([+-]?\d+(\.\d+)?|(?i:interval)\s+'.*'.*|([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?\d{1,3}(:\d\d){0,2}([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)?.*)$`)

func (t Target) zone(value string) *Fault {
	all := debians()[t.Debian]["zone"]
	if zoneByRule.MatchString(value) || slices.ContainsFunc(all, func(z string) bool { return strings.EqualFold(z, value) }) {
		return nil
	}
	f := &Fault{fmt.Sprintf("Debian %d has no time zone %s: PostgreSQL would not start", t.Debian, suggest.Quote(value)), "such as Europe/Berlin"}
	for debian, has := range debians() {
		if debian != t.Debian && slices.Contains(has["zone"], value) {
			f.Wrong += fmt.Sprintf(" (Debian %d has it)", debian)
		}
	}
	if near := suggest.Nearest(value, all); near != "" {
		f.Instead = fmt.Sprintf("did you mean %q?", near)
	}
	return f
}

func dateStyle(word string) *Fault {
	w := strings.ToLower(word)
	known := []string{"iso", "sql", "postgres", "german", "ymd", "dmy", "mdy", "us", "euro", "noneuro", "default"}
	if slices.ContainsFunc(known, func(k string) bool {
		return w == k || (k == "postgres" || k == "euro" || k == "noneuro") && strings.HasPrefix(w, k)
	}) {
		return nil
	}
	return &Fault{suggest.Quote(word) + " is no style of a date", "such as ISO, DMY"}
}

// aliases are other names of encodings (pg_encname_tbl in src/common/encnames.c).
var aliases = []string{"unicode", "win", "alt", "koi8", "abc", "tcvn", "tcvn5712", "vscii", "mskanji", "shiftjis", "uhc"}

func (t Target) encoding(value string) *Fault {
	plain := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, strings.ToLower(s))
	}
	all := servers()[t.Postgres].encodings
	v := plain(value)
	v = strings.Replace(v, "windows", "win", 1)
	if slices.Contains(aliases, v) || slices.ContainsFunc(all, func(e string) bool { return plain(e) == v }) {
		return nil
	}
	if strings.HasPrefix(v, "iso8859") { // another name of latin1 and so on
		return nil
	}
	return &Fault{suggest.Quote(value) + " is no encoding", suggest.Hint(value, all)}
}

func (t Target) library(name, consequence string) *Fault {
	all := servers()[t.Postgres].libraries
	plain := strings.TrimSuffix(strings.TrimPrefix(name, "$libdir/"), ".so")
	if slices.Contains(all, plain) {
		return nil
	}
	f := &Fault{fmt.Sprintf("no package that pgbake installs has the library %s: %s", suggest.Quote(name), consequence), ""}
	if near := suggest.Nearest(plain, all); near != "" {
		f.Instead = fmt.Sprintf("did you mean %q?", near)
	}
	return f
}

// countries are those whose language is called otherwise, and which people write for it.
var countries = map[string]string{
	"at": "de", "au": "en", "br": "pt", "by": "be", "ch": "de", "cn": "zh", "cz": "cs", "dk": "da", "gb": "en", "gr": "el", "ir": "fa", "il": "he",
	"in": "hi", "jp": "ja", "kp": "ko", "kr": "ko", "kz": "kk", "mx": "es", "rs": "sr", "tw": "zh", "ua": "uk", "uk": "uk", "us": "en", "vn": "vi",
}

// Language judges the language tag of an ICU locale, such as ru-RU: initdb refuses a language that ICU does not know.
func (t Target) Language(tag string) *Fault {
	language, rest, _ := strings.Cut(strings.ToLower(tag), "-")
	all := debians()[t.Debian]["language"]
	if slices.Contains(all, language) || language == "root" || language == "und" {
		return nil
	}
	f := &Fault{fmt.Sprintf("ICU knows no language %q: PostgreSQL could not be set up", language), "such as icu:ru-RU"}
	if meant := countries[language]; meant != "" {
		f.Instead = "write icu:" + meant
		if rest != "" {
			f.Instead += tag[len(language):]
		}
	}
	return f
}
