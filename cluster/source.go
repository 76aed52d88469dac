package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxSize is far above any honest specification, and below what would hurt.
const maxSize = 1 << 20

// source is one YAML file: its lines, and where each key and value stands.
type source struct {
	name   string
	lines  []string
	places map[string]place
	// secret files are never quoted.
	secret  bool
	refused refusals
}

// place is where a path stands: its key (none for an item of a list) and its value.
type place struct{ key, value *yaml.Node }

// lineBreak is what ends a line in YAML 1.1, as the library counts them.
var lineBreak = regexp.MustCompile("\r\n|[\n\r\u0085\u2028\u2029]")

// read makes the YAML tree of one file. Whatever is wrong with its text comes back as Problems.
func read(name string, data []byte, secret bool) (*source, *yaml.Node, error) {
	s := &source{name: name, places: map[string]place{}, secret: secret, refused: newRefusals()}
	if len(data) > maxSize {
		return nil, nil, s.fail(0, 0, "", fmt.Sprintf("the file is larger than %d KiB", maxSize>>10))
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	s.lines = lineBreak.Split(strings.ToValidUTF8(string(data), "\ufffd"), -1)
	if err := s.checkText(data); err != nil {
		return nil, nil, err
	}
	var doc, second yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil, s.empty()
	case err != nil:
		return nil, nil, s.syntax(data, err)
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, nil, s.fail(max(second.Line, 1), 1, "keep one file per cluster", "a second document begins here")
	case !errors.Is(err, io.EOF):
		return nil, nil, s.syntax(data, err)
	}
	root := doc.Content[0]
	if isNull(root) {
		return nil, nil, s.empty()
	}
	s.places[""] = place{value: root}
	return s, root, nil
}

func (s *source) empty() error {
	if s.secret {
		return s.fail(0, 0, "remove it, and pgbake init makes another", "the file is empty")
	}
	return s.fail(0, 0, "pgbake init writes one with every key explained", "the file is empty")
}

// checkText refuses what is no text, with the place of its first wrong byte.
func (s *source) checkText(data []byte) error {
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return s.fail(line, column, "save the file as UTF-8", fmt.Sprintf("byte 0x%02x is not UTF-8", data[i]))
		case unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' && r != 0x85:
			return s.fail(line, column, "", fmt.Sprintf("a control character (0x%02x)", r))
		case r == '\n', r == '\r' && !bytes.HasPrefix(data[i:], []byte("\r\n")), r == 0x85, r == 0x2028, r == 0x2029: // as lineBreak
			line, column = line+1, 0
		}
		i, column = i+n, column+1
	}
	return nil
}

// fail is one complaint about the text itself.
func (s *source) fail(line, column int, hint, message string) Problems {
	return Problems{s.problem(line, column, "", hint, message)}
}

func (s *source) problem(line, column int, path, hint, message string) Problem {
	p := Problem{File: s.name, Line: line, Column: column, Path: path, Message: message, Hint: hint}
	if line > 0 && line <= len(s.lines) {
		p.Column = max(1, min(column, utf8.RuneCountInString(s.lines[line-1])+1))
		if !s.secret {
			p.Source, p.caret = quotable(s.lines, line, p.Column)
		}
	}
	return p
}

// at is the complaint about a path: at its value when that is one word, at its key when that is a list or has
// keys of its own, and at what holds it when it is absent.
func (s *source) at(path, hint, message string) Problem {
	line, column := s.where(path)
	return s.problem(line, column, path, hint, message)
}

func (s *source) where(path string) (line, column int) {
	for p := path; ; p = parent(p) {
		at, found := s.places[p]
		switch {
		case found && at.key != nil && (p != path || at.value.Kind != yaml.ScalarNode):
			return at.key.Line, at.key.Column
		case found:
			return at.value.Line, at.value.Column
		case p == "":
			return 0, 0
		}
	}
}

// parent is the path without its last step.
func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

// syntax places a YAML library's complaint. The library names a line at best, and often the wrong one: the start
// of what it was reading. The line to blame is the one after the longest beginning that is sound by itself.
func (s *source) syntax(data []byte, err error) error {
	line := min(linesRead(data), len(s.lines))
	// Reading beginnings again and again is square in the file's length: an honest file needs a hundredth of this.
	for spent := 0; spent < 4*maxSize && line > 1 && !sound(s.lines[:line-1]); line-- {
		spent += len(data)
	}
	text := s.lines[line-1]
	blank := indentOf(text)
	if tab := strings.IndexByte(text[:blank], '\t'); tab >= 0 {
		return s.fail(line, tab+1, "YAML indents by spaces", "a tab in the indentation")
	}
	message, hint := plainWords(err)
	return s.fail(line, blank+1, hint, message)
}

// sound tells whether the lines are YAML by themselves.
func sound(lines []string) bool {
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(strings.Join(lines, "\n") + "\n"))
	for {
		if err := dec.Decode(&doc); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// linesRead is how many lines the YAML library asks for before it gives up.
func linesRead(data []byte) int {
	r := &lineReader{rest: data}
	dec := yaml.NewDecoder(r)
	for {
		if err := dec.Decode(new(yaml.Node)); err != nil {
			return max(1, r.lines)
		}
	}
}

// lineReader gives one line at a time, and counts them.
type lineReader struct {
	rest  []byte
	lines int
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	end := bytes.IndexByte(r.rest, '\n') + 1
	if end == 0 {
		end = len(r.rest)
	}
	n := copy(p, r.rest[:end])
	if n == end {
		r.lines++
	}
	r.rest = r.rest[n:]
	return n, nil
}

var yamlPrefix = regexp.MustCompile(`^yaml: (line \d+: )?`)

// plainWords says what the YAML library found in words that do not need YAML's grammar at hand.
func plainWords(err error) (message, hint string) {
	raw := yamlPrefix.ReplaceAllString(err.Error(), "")
	for _, w := range []struct{ has, message, hint string }{
		{"mapping values are not allowed", "a second \":\" in one value, or a line indented too deep", "quote the value, or align the line with its neighbours"},
		{"did not find expected key", "this line does not fit the lines above", "align it with its neighbours, and look for a quote too many"},
		{"did not find expected '-' indicator", "an item of this list does not begin with \"- \"", ""},
		{"did not find expected ',' or ']'", "a list in brackets is not closed", "add the \"]\", or the comma between two items"},
		{"did not find expected ',' or '}'", "braces are not closed", "add the \"}\", or the comma between two keys"},
		{"could not find expected ':'", "a key without \":\"", "write \"key: value\""},
		{"cannot start any token", "a value cannot begin with this character", "quote the value"},
		{"found unexpected end of stream", "a quoted text is not closed", "add the closing quote"},
		{"found unknown escape character", "an unknown escape in double quotes", `in single quotes a "\" is just itself`},
		{"block sequence entries are not allowed", "a list cannot begin in the middle of a line", "put \"- \" on a line of its own"},
		{"did not find expected alphabetic", "\"*\" and \"&\" begin a reference in YAML", "quote the value"},
		{"incompatible YAML document", "a version of YAML that pgbake does not read", "take the line out"},
		{"unknown anchor", "a reference (\"*name\") to an anchor (\"&name\") that is not there", "quote the value when it is no reference"},
	} {
		if strings.Contains(raw, w.has) {
			return w.message, w.hint
		}
	}
	return "not YAML: " + raw, ""
}
