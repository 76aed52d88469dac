package cluster

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Problem is one complaint about a specification, with its place.
type Problem struct {
	// File is the name the specification was read under.
	File string `json:"file"`
	// Line and Column count from 1, columns in characters; both are 0 when the complaint is about the whole file.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Path is the key complained about: nodes[2].address.
	Path string `json:"path,omitempty"`
	// Message says what is wrong.
	Message string `json:"message"`
	// Hint says what to write instead.
	Hint string `json:"hint,omitempty"`
	// Source is the line itself, without what may be a secret.
	Source string `json:"source,omitempty"`
	caret  int
}

// Problems are all complaints about one specification, in the order of their places. It is the error that Load,
// Parse and LoadSecrets return for a file that can be read and is wrong.
type Problems []Problem

// Error prints every complaint: its place, what is wrong, the line and a caret below it.
func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

// String is the complaint as a compiler would print it, without a newline at the end.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	if strings.TrimSpace(p.Source) != "" {
		const margin = "      "
		fmt.Fprintf(&b, "\n%s%s\n%s%s^", margin, p.Source, margin, strings.Repeat(" ", p.caret))
	}
	return b.String()
}

// maxProblems is where we stop: who has more has pasted another file.
const maxProblems = 100

func (ps *Problems) add(p Problem) {
	if len(*ps) < maxProblems {
		*ps = append(*ps, p)
	}
}

func (ps Problems) full() bool { return len(ps) >= maxProblems }

// err sorts the complaints by place and returns them, nil when there is none.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if ps.full() {
		ps = append(ps, Problem{File: ps[0].File, Message: fmt.Sprintf("more than these %d complaints: is this a cluster's specification?", maxProblems)})
	}
	return ps
}

// secretKey finds a key whose value nobody may see again. The specification has no such key besides the webhook,
// whose address often is its own password; but people try, and then read the complaint over somebody's shoulder.
var secretKey = regexp.MustCompile(`(?i)(pass(word|wd|phrase)?|secret|token|webho|credential|private|replicator|rewind)[\w-]*["']?\s*[:=]\s*`)

// quotable is the line as it may be shown, and where column stands in it: without the indentation, without control
// characters, without secrets, and not wider than a terminal.
func quotable(lines []string, line, column int) (string, int) {
	const before, width, tooLong = 40, 100, 4096
	text := lines[line-1]
	if len(text) > tooLong || belowSecret(lines, line) || strings.Contains(text, "PRIVATE KEY-----") {
		return "", 0
	}
	caret := column - 1
	if at := secretKey.FindStringIndex(text); at != nil && strings.TrimSpace(text[at[1]:]) != "" {
		text = text[:at[1]] + "…"
		caret = min(caret, utf8.RuneCountInString(text)-1)
	}
	text = userinfo.ReplaceAllString(text, "://…@")
	runes := []rune(text)
	caret = min(caret, len(runes))
	indent := 0
	for indent < len(runes) && indent < caret && unicode.IsSpace(runes[indent]) {
		indent++
	}
	runes, caret = runes[indent:], caret-indent
	if cut := caret - before; cut > 0 && len(runes) > width {
		runes, caret = append([]rune{'…'}, runes[cut:]...), caret-cut+1
	}
	if len(runes) > width {
		runes = append(runes[:width:width], '…')
	}
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = ' '
		}
	}
	return strings.TrimRight(string(runes), " "), caret
}

// userinfo is the name and password of an address.
var userinfo = regexp.MustCompile(`://[^/\s]*@`)

// belowSecret tells whether the line continues the value of a secret key: a block of text, or a value on its own
// line; or a private key, however it is indented.
func belowSecret(lines []string, line int) bool {
	for i := line - 1; i >= 0 && !strings.Contains(lines[i], "-----END"); i-- {
		if strings.Contains(lines[i], "PRIVATE KEY-----") {
			return true
		}
	}
	depth := indentOf(lines[line-1])
	for i := line - 2; i >= 0 && depth > 0; i-- {
		if d := indentOf(lines[i]); d < depth && strings.TrimSpace(lines[i]) != "" {
			if secretKey.MatchString(lines[i] + " ") {
				return true
			}
			depth = d
		}
	}
	return false
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }
