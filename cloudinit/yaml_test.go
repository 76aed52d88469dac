package cloudinit

import (
	"encoding/base64"
	"fmt"
	"testing"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// FuzzContent: whatever a file holds, a YAML reader gets it back.
func FuzzContent(f *testing.F) {
	for _, s := range []string{
		"", "\n", "a", "a\n", "a\n\n\n", "\n\na\n", " a\n", "\ta\n", "a\n b\n\n  c", "a\r\nb\r\n", "a\tb\n", "---\n...\n- x: y # z\n",
		"\x00\xff", "\ufeffa\n", "a\u2028b", "a\u0085b", "ключ: 'значение'\n", "🐘\n", "a \n\n \nb\n", "\u00a0a\n", "{{ x }}\n", "\x1b[0m\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var d document
		d.line("files:")
		d.line("- path: a")
		d.content("  ", "content", body)
		d.line("- path: b")
		var got struct {
			Files []struct{ Path, Encoding, Content string }
		}
		if err := yaml.Unmarshal([]byte(d.String()), &got); err != nil {
			t.Fatalf("%v\n%s", err, d.String())
		}
		if len(got.Files) != 2 || got.Files[1].Path != "b" {
			t.Fatalf("the list is torn:\n%s", d.String())
		}
		back := []byte(got.Files[0].Content)
		if got.Files[0].Encoding == "b64" {
			back, _ = base64.StdEncoding.DecodeString(got.Files[0].Content)
		}
		if string(back) != string(body) {
			t.Errorf("%q came back as %q:\n%s", body, back, d.String())
		}
	})
}

// FuzzScalar: whatever a value says, a YAML reader gets it back, and as a text.
func FuzzScalar(f *testing.F) {
	for _, s := range []string{
		"db1", "on", "No", "null", "~", "0x10", "1e3", "1:30", "2001-01-01", "a: b", "a #b", "'", `"`, `\`, "a\tb", "é", "\u0085", "\u2028", "🐘",
		"ssh-ed25519 AAAA ann@example.org", "-", "- a", "[a]", "{a}", "&a", "*a", "!a", "|", ">", "%a", "@a", "`a", "a ", " a", "", "=", "<<",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip("specifications are UTF-8")
		}
		doc := fmt.Sprintf("a: %s\nb:\n- %[1]s\n", scalar(s))
		var got struct {
			A any
			B []any
		}
		if err := yaml.Unmarshal([]byte(doc), &got); err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		if got.A != s || len(got.B) != 1 || got.B[0] != s {
			t.Errorf("%q came back as %#v:\n%s", s, got, doc)
		}
	})
}
