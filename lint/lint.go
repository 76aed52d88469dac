// Package lint finds what is wrong with a hand-made cluster in the text of its files: patroni.yml, haproxy.cfg, etcd's
// environment file, units, keepalived.conf, pg_hba.conf, postgresql.conf, the scripts that set it up, watch it and back
// it up, and a list of the versions that are installed.
//
// In come files; out come Findings: where, what, what comes of it, and what to write instead. It knows the mistakes of
// the manual that pgbake replaces, by their numbers (D7), and what files say against each other. It only computes, and
// no finding quotes a password.
package lint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/cluster"
)

// File is one file to look at.
type File struct {
	// Name is what findings call it; its path tells what it is for.
	Name string
	// Kind is what it is; recognized by its content and name when empty.
	Kind Kind
	// Mode is its permission bits; 0 when unknown.
	Mode fs.FileMode
	Body []byte
}

// Finding is one thing that is wrong.
type Finding struct {
	File string `json:"file"`
	// Line and Column count from 1, columns in characters.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Rule is the number in the list of the manual's defects, or X and a number for what is not in it.
	Rule string `json:"rule"`
	// Message says what is wrong, Why what comes of it, Fix what to write instead.
	Message string `json:"message"`
	Why     string `json:"why"`
	Fix     string `json:"fix"`
	// Source is the line, without what may be a secret.
	Source string `json:"source,omitempty"`
	caret  int
}

// String is the finding as a compiler would print it, with why and fix, without a newline at the end.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.Short())
	for _, line := range []struct{ label, text string }{{"why", f.Why}, {"fix", f.Fix}} {
		fmt.Fprintf(&b, "\n%s%s: %s", margin, line.label, line.text)
	}
	return b.String()
}

const margin = "      "

// Short is the finding without why and fix, for one whose like has been shown.
func (f Finding) Short() string {
	s := fmt.Sprintf("%s:%d:%d: %s: %s", f.File, f.Line, f.Column, f.Rule, f.Message)
	if strings.TrimSpace(f.Source) != "" {
		s += "\n" + margin + f.Source + "\n" + margin + strings.Repeat(" ", f.caret) + "^"
	}
	return s
}

// ErrKind is a file of which nobody can tell what it is.
var ErrKind = errors.New("what kind of file this is cannot be told by its content or name")

// Check looks at all files together. The error joins what could not be read, file by file; the others are looked at all the same.
func Check(files []File) ([]Finding, error) {
	var all []*file
	var failed []error
	for _, f := range files {
		parsed, err := parse(f)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		all = append(all, parsed...)
	}
	var found []Finding
	for _, f := range all {
		for _, r := range rules {
			if slices.Contains(r.kinds, f.kind) {
				r.find(&look{file: f, all: all, rule: r, found: &found})
			}
		}
	}
	order := map[string]int{}
	for i, f := range files {
		order[f.Name] = i
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(found), errors.Join(failed...)
}

// look is one rule looking at one file, with the others beside it.
type look struct {
	*file
	all   []*file
	rule  rule
	found *[]Finding
}

// say adds a finding at a place.
func (l *look) say(at place, format string, args ...any) {
	f := Finding{File: l.name, Line: at.line, Column: at.column, Rule: l.rule.id, Message: fmt.Sprintf(format, args...), Why: l.rule.why, Fix: l.rule.fix}
	f.Source, f.caret = l.quote(at)
	*l.found = append(*l.found, f)
}

// of are the files of a kind.
func (l *look) of(kinds ...Kind) (files []*file) {
	for _, f := range l.all {
		if slices.Contains(kinds, f.kind) {
			files = append(files, f)
		}
	}
	return files
}

// parse makes a file's entries, and those of the files that a script writes.
func parse(in File) ([]*file, error) {
	const maxSize = 256 << 10
	if len(in.Body) > maxSize {
		return nil, fmt.Errorf("read %s: larger than %d KiB: no configuration is", in.Name, maxSize>>10)
	}
	kind := in.Kind
	if kind == "" {
		if kind = Recognize(in.Name, in.Body); kind == "" {
			return nil, fmt.Errorf("read %s: %w\n      hint: --kind %s", in.Name, ErrKind, strings.Join(Kinds(), "|"))
		}
	}
	f := newFile(in.Name, in.Name, kind, string(in.Body))
	f.mode = in.Mode
	if err := f.read(in.Body); err != nil {
		return nil, err
	}
	files := []*file{f}
	if kind == Script {
		for _, w := range f.written() {
			if w.read([]byte(strings.Join(w.lines, "\n"))) == nil { // what is in a heredoc may be half a file
				files = append(files, w)
			}
		}
	}
	return files, nil
}

// read fills the entries. A script has none: its rules look at its lines.
func (f *file) read(body []byte) error {
	switch f.kind {
	case Patroni, EtcdYAML:
		values, err := cluster.Values(f.name, body)
		if err != nil {
			return err
		}
		f.yaml(values)
	case Unit:
		f.ini()
	case Etcd:
		f.environment()
	case PostgreSQL:
		f.settings()
	case HBA:
		f.records()
	case HAProxy:
		f.sections()
	case Keepalived:
		f.blocks()
	}
	f.index()
	f.checked = f.backends()
	return nil
}
