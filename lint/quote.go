package lint

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// secret is a password and what stands before it, in any of these files, a command or SQL.
var secret = regexp.MustCompile(`(?i)((?:\w*pass(?:word|wd|phrase)?\w*|secret|token|auth_pass)["']?\s*[:= ]\s*|\bauth\s+[^:\s]+:|user\s+\S+\s+(?:insecure-)?password\s+)\S.*`)

// userinfo is the name and password of an address.
var userinfo = regexp.MustCompile(`://[^/\s]*@`)

// quote is the line at a place as it may be shown, and where the place stands in it: without indentation, secrets and
// control characters, and not wider than a terminal.
func (f *file) quote(at place) (string, int) {
	const width = 100
	if at.line < 1 || at.line > len(f.lines) {
		return "", 0
	}
	line := f.lines[at.line-1]
	if strings.Contains(line, "PRIVATE KEY-----") || len(line) > 4096 {
		return "", 0
	}
	line = userinfo.ReplaceAllString(secret.ReplaceAllString(line, "$1…"), "://…@")
	text := strings.TrimLeftFunc(line, unicode.IsSpace)
	caret := max(0, at.column-1-utf8.RuneCountInString(line[:len(line)-len(text)]))
	runes := []rune(text)
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = ' '
		}
	}
	caret = min(caret, max(0, len(runes)-1))
	if cut := caret - 40; cut > 0 && len(runes) > width {
		runes, caret = append([]rune{'…'}, runes[cut:]...), caret-cut+1
	}
	if len(runes) > width {
		runes = append(runes[:width:width], '…')
	}
	return strings.TrimRight(string(runes), " "), caret
}
