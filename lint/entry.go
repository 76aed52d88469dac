package lint

import (
	"io/fs"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/pgbake/pgbake/cluster"
)

// file is one file, read: whatever its grammar is, it is a list of entries.
type file struct {
	name string // in findings
	path string // on the machine: other than the name for what a script writes
	kind Kind
	mode fs.FileMode
	// lines are its text; in a file that a script writes, the lines before it are empty.
	lines   []string
	entries []entry
	// The entries once more, in order: every rule asks for them by section or key.
	bySection, byKey map[string][]entry
	last             map[[2]string]entry
	checked          []backend
}

// entry is one setting: a key of YAML, a directive, a line of pg_hba.conf, a command of a script.
type entry struct {
	// section is what it stands in: "bootstrap.dcs", "backend postgres_rw", "Service"; empty at the top.
	section string
	key     string
	// words are its values: none for a key of YAML that holds keys, a list or nothing.
	words []word
	at    place
}

type word struct {
	text string
	at   place
}

// place counts from 1, columns in characters.
type place struct{ line, column int }

func newFile(name, path string, kind Kind, body string) *file {
	body = strings.TrimPrefix(strings.ToValidUTF8(body, "\ufffd"), "\ufeff")
	return &file{name: name, path: path, kind: kind, lines: strings.Split(strings.ReplaceAll(body, "\r\n", "\n"), "\n")}
}

// value is the entry's first word; empty when it has none.
func (e entry) value() string {
	if len(e.words) == 0 {
		return ""
	}
	return e.words[0].text
}

// valueAt is where the value stands, or else the key.
func (e entry) valueAt() place {
	if len(e.words) == 0 {
		return e.at
	}
	return e.words[0].at
}

// has tells whether one of the words is text, and gives the word after it.
func (e entry) has(text string) (next word, found bool) {
	for i, w := range e.words {
		if w.text == text {
			if i+1 < len(e.words) {
				next = e.words[i+1]
			}
			return next, true
		}
	}
	return word{}, false
}

// index makes the entries quick to find.
func (f *file) index() {
	f.bySection, f.byKey, f.last = map[string][]entry{}, map[string][]entry{}, map[[2]string]entry{}
	for _, e := range f.entries {
		f.bySection[e.section] = append(f.bySection[e.section], e)
		f.byKey[e.key] = append(f.byKey[e.key], e)
		f.last[[2]string{e.section, e.key}] = e
	}
}

// get is the last entry of this name in a section: in most of these files it is the last that counts.
func (f *file) get(section, key string) (entry, bool) {
	e, ok := f.last[[2]string{section, key}]
	return e, ok
}

// in are the entries of a section.
func (f *file) in(section string) []entry { return f.bySection[section] }

// named are the entries of this key, in whatever section.
func (f *file) named(key string) []entry { return f.byKey[key] }

// top is where the file's text begins: for what is wrong with the file as a whole.
func (f *file) top() place {
	if len(f.entries) > 0 {
		return f.entries[0].at
	}
	for i, line := range f.lines {
		if strings.TrimSpace(line) != "" {
			return place{i + 1, 1}
		}
	}
	return place{1, 1}
}

// yaml takes the values of a YAML file.
func (f *file) yaml(values []cluster.Value) {
	for _, v := range values {
		e := entry{section: v.Parent, key: v.Key, at: place{v.Line, v.Column}}
		if v.Single {
			e.words = []word{{v.Text, place{v.ValueLine, v.ValueColumn}}}
		}
		f.entries = append(f.entries, e)
	}
}

// token is one word of a line, with its quotes: words are apart by blanks, and a "#" begins a comment.
var token = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'[^']*'|#.*|[^\s"'#]+(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"'])*`)

// split cuts a line into words at blanks, without quotes and comments.
func split(line string, number int) (words []word) {
	for _, at := range token.FindAllStringIndex(line, -1) {
		text := line[at[0]:at[1]]
		if text[0] == '#' {
			break
		}
		words = append(words, word{unquote(text), place{number, column(line, at[0])}})
	}
	return words
}

func unquote(s string) string {
	if len(s) > 1 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

// column is that of a byte, in characters.
func column(line string, at int) int { return utf8.RuneCountInString(line[:at]) + 1 }

// directive makes an entry of a line whose first word is its key.
func directive(section string, words []word) entry {
	return entry{section: section, key: words[0].text, words: words[1:], at: words[0].at}
}
