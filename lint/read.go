package lint

import (
	"path"
	"regexp"
	"strings"
)

var assignment = regexp.MustCompile(`^\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*=\s*(.*?)\s*$`)

// assign reads "key = value" of a line; false when there is none. A comment begins at "#" where comments is set.
func (f *file) assign(section string, i int, comments bool) bool {
	line := f.lines[i]
	m := assignment.FindStringSubmatchIndex(line)
	if m == nil {
		return false
	}
	value := line[m[4]:m[5]]
	if comments {
		value, _, _ = cutComment(value)
	}
	f.entries = append(f.entries, entry{
		section: section, key: line[m[2]:m[3]], at: place{i + 1, column(line, m[2])},
		words: []word{{unquote(strings.TrimSpace(value)), place{i + 1, column(line, m[4])}}},
	})
	return true
}

// cutComment cuts at a "#" outside of quotes.
func cutComment(s string) (text, comment string, found bool) {
	quote := rune(0)
	for i, r := range s {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote = r
		case quote == 0 && r == '#':
			return s[:i], s[i:], true
		}
	}
	return s, "", false
}

func isComment(line, marks string) bool {
	line = strings.TrimSpace(line)
	return line == "" || strings.ContainsRune(marks, rune(line[0]))
}

// ini reads a unit: [Section], then Key=Value, where a backslash at the end goes on in the next line.
func (f *file) ini() {
	section := ""
	for i, line := range f.lines {
		switch text := strings.TrimSpace(line); {
		case isComment(line, "#;"):
		case text[0] == '[' && text[len(text)-1] == ']':
			section = text[1 : len(text)-1]
			f.entries = append(f.entries, entry{key: section, at: place{i + 1, column(line, strings.IndexByte(line, '['))}})
		default:
			f.assign(section, i, false)
		}
	}
}

// environment reads an environment file: systemd takes what stands behind "=" as it is.
func (f *file) environment() {
	for i, line := range f.lines {
		if !isComment(line, "#;") {
			f.assign("", i, false)
		}
	}
}

// settings reads postgresql.conf, where the "=" may be left out.
func (f *file) settings() {
	for i, line := range f.lines {
		if isComment(line, "#") || f.assign("", i, true) {
			continue
		}
		if words := split(line, i+1); len(words) > 1 {
			f.entries = append(f.entries, directive("", words))
		}
	}
}

// records reads pg_hba.conf.
func (f *file) records() {
	for i, line := range f.lines {
		if words := split(line, i+1); len(words) > 2 {
			f.entries = append(f.entries, directive("", words))
		}
	}
}

// sections reads haproxy.cfg: a section's name at the beginning of a line, however the others are indented.
func (f *file) sections() {
	section := ""
	for i, line := range f.lines {
		words := split(line, i+1)
		if len(words) == 0 {
			continue
		}
		switch words[0].text {
		case "global", "defaults", "frontend", "backend", "listen", "userlist", "peers", "resolvers", "mailers", "program", "cache", "ring":
			section = words[0].text
			if len(words) > 1 {
				section += " " + words[1].text
			}
			f.entries = append(f.entries, entry{key: "section", words: []word{{section, words[0].at}}, at: words[0].at})
		default:
			f.entries = append(f.entries, directive(section, words))
		}
	}
}

const maxDepth, maxWritten = 32, 64

// blocks reads keepalived.conf: a block's name, "{", its lines, "}". "!" begins a comment, too.
func (f *file) blocks() {
	var open []string
	for i, line := range f.lines {
		if isComment(line, "#!") {
			continue
		}
		words := split(strings.NewReplacer("{", " { ", "}", " } ").Replace(line), i+1)
		var now []word
		for _, w := range words {
			switch w.text {
			case "{":
				name := ""
				if len(now) > 0 {
					name = now[0].text
				}
				f.flush(&now, open)
				open = append(open, name)
				if len(open) > maxDepth {
					return // no configuration has it
				}
			case "}":
				f.flush(&now, open)
				open = open[:max(0, len(open)-1)]
			default:
				now = append(now, w)
			}
		}
		f.flush(&now, open)
	}
}

// flush makes the words so far an entry.
func (f *file) flush(now *[]word, open []string) {
	if len(*now) > 0 {
		f.entries = append(f.entries, directive(strings.Join(open, "."), *now))
		*now = nil
	}
}

var (
	heredoc = regexp.MustCompile(`(?:(?:tee(?:\s+-a)?|>>?)\s*([^\s;|&<>]+).*)?<<-?\s*["']?(\w+)["']?`)
	toFile  = regexp.MustCompile(`^\s*(?:sudo\s+)?(?:echo|printf)\s+(["'])(.*?)(?:\\n)?(["'])\s*(?:\|\s*(?:sudo\s+)?tee(?:\s+-a)?\s+|>>?\s*)(/\S+)`)
)

// written are the files that a script writes by heredocs and echo. Their text stands where it stands in the script, so
// that findings point there.
func (f *file) written() (files []*file) {
	for i := 0; i < len(f.lines) && len(files) < maxWritten; i++ {
		line := f.lines[i]
		if m := toFile.FindStringSubmatchIndex(line); m != nil && !isComment(line, "#") {
			text := strings.Repeat(" ", column(line, m[4])-1) + line[m[4]:m[5]]
			files = f.wrote(files, line[m[8]:m[9]], i, []string{text})
			continue
		}
		m := heredoc.FindStringSubmatch(line)
		if m == nil || isComment(line, "#") {
			continue
		}
		begin := i + 1
		for i++; i < len(f.lines) && strings.TrimSpace(f.lines[i]) != m[2]; i++ {
		}
		if m[1] != "" {
			files = f.wrote(files, m[1], begin, f.lines[begin:min(i, len(f.lines))])
		}
	}
	return files
}

// wrote adds a file whose first line is the script's line begin, counted from 0.
func (f *file) wrote(files []*file, target string, begin int, text []string) []*file {
	target = unquote(target)
	kind := Recognize(target, []byte(strings.Join(text, "\n")))
	if strings.HasPrefix(path.Base(target), "postgresql") && strings.HasSuffix(target, ".conf") {
		kind = PostgreSQL
	}
	if kind == "" || kind == Script {
		return files
	}
	w := newFile(f.name, target, kind, strings.Repeat("\n", begin)+strings.Join(text, "\n"))
	return append(files, w)
}
