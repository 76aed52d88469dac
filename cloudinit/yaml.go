package cloudinit

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// document is YAML in the making: only the few forms that seeds need, always written the same way. Libraries break
// long lines, quote and order as their version likes; a seed's bytes decide whether a machine takes it as a new one.
type document struct{ strings.Builder }

// comment writes lines behind "# ".
func (d *document) comment(lines ...string) {
	for _, l := range lines {
		d.WriteString(strings.TrimRight("# "+l, " ") + "\n")
	}
}

// line writes a line as it is: keys, markers of lists, words that are YAML's own such as true and false.
func (d *document) line(format string, args ...any) {
	fmt.Fprintf(d, format+"\n", args...)
}

// content writes a file's body under key: as a block where that shows it as it is, else in base64, with the key that
// tells cloud-init so.
func (d *document) content(indent, key string, body []byte) {
	if !blockable(body) {
		d.line("%sencoding: b64", indent)
		d.line("%s%s: %s", indent, key, strconv.Quote(base64.StdEncoding.EncodeToString(body)))
		return
	}
	d.block(indent, indent+key+": ", string(body))
}

// block writes a text that is blockable behind prefix, its lines two deeper than indent.
func (d *document) block(indent, prefix, body string) {
	trimmed := strings.TrimRight(body, "\n")
	style := map[int]string{0: "|-", 1: "|"}[len(body)-len(trimmed)]
	if style == "" {
		style = "|+"
	}
	d.WriteString(prefix + style + "\n")
	for l := range strings.Lines(body) {
		if l = strings.TrimSuffix(l, "\n"); l != "" {
			l = indent + "  " + l
		}
		d.WriteString(l + "\n")
	}
}

// blockable tells whether a block shows the text as it is. A block's depth is that of its first line, so that one may
// not begin with white space; and what an editor would not show is no text.
func blockable(body []byte) bool {
	if len(body) == 0 || !utf8.Valid(body) || strings.ContainsRune(" \t\n", rune(body[0])) {
		return false
	}
	return !slices.ContainsFunc([]rune(string(body)), func(r rune) bool {
		return r != '\n' && r != '\t' && !unicode.IsPrint(r)
	})
}

var (
	// plain are words that mean themselves to every version of YAML: no number, date, indicator or comment.
	plain = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./+-]*( [A-Za-z0-9_./+=@-]+)*$`)
	// word are those that mean something else to YAML 1.1, which cloud-init reads.
	word = regexp.MustCompile(`(?i)^(y|yes|n|no|true|false|on|off|null)$`)
)

// scalar writes a text of one line as a value.
func scalar(s string) string {
	if plain.MatchString(s) && !word.MatchString(s) {
		return s
	}
	return strconv.Quote(s) // Go's escapes are YAML's
}
