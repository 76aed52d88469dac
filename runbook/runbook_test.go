package runbook

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
)

var update = flag.Bool("update", false, "write the golden files anew")

// shapes are clusters that the runbook is written for: the examples, and those of testdata.
func shapes(t *testing.T) map[string]*cluster.Cluster {
	t.Helper()
	all := map[string]*cluster.Cluster{}
	for _, pattern := range []string{"../examples/*.yaml", "testdata/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			c, err := cluster.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			all[filepath.Base(path)] = c
		}
	}
	if len(all) < 5 {
		t.Fatalf("only %d specifications", len(all))
	}
	return all
}

func files(t *testing.T, c *cluster.Cluster) map[string]string {
	t.Helper()
	made, err := Files(c, Options{StatsUser: "admin", Command: "pgbake"})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range made {
		all[f.Name] = string(f.Body)
	}
	return all
}

var (
	blocks = regexp.MustCompile("(?s)```(?:console|yaml|)\n(.*?)```")
	bones  = regexp.MustCompile("(?s)```(?:console|yaml|)\n.*?```|<!-- play: [^\n]* -->|(?m:^#+ [0-9.]*)")
	inText = regexp.MustCompile("`[^`\n]+`")
)

// skeleton is what must be the same in every language: headings' numbers, commands, and what the test plays.
func skeleton(text string) (all []string) {
	return bones.FindAllString(text, -1)
}

// Whoever reads the one language does the same as who reads the other.
func TestBothLanguagesAreTheSame(t *testing.T) {
	for name, c := range shapes(t) {
		f := files(t, c)
		en, ru := skeleton(f["runbook.en.md"]), skeleton(f["runbook.ru.md"])
		if d := cmp.Diff(en, ru); d != "" {
			t.Errorf("%s (-en +ru):\n%s", name, d)
		}
		if n := len(blocks.FindAllString(f["runbook.en.md"], -1)); n < 10 {
			t.Errorf("%s: only %d blocks", name, n)
		}
	}
}

// What stands in the text between backquotes is the same, too, as often in the one as in the other.
func TestBothLanguagesNameTheSame(t *testing.T) {
	for name, c := range shapes(t) {
		f := files(t, c)
		counts := map[string]int{}
		for _, word := range inText.FindAllString(blocks.ReplaceAllString(f["runbook.en.md"], ""), -1) {
			counts[word]++
		}
		for _, word := range inText.FindAllString(blocks.ReplaceAllString(f["runbook.ru.md"], ""), -1) {
			counts[word]--
		}
		for word, n := range counts {
			if n != 0 {
				t.Errorf("%s: %s stands %+d times more in English", name, word, n)
			}
		}
	}
}

// A runbook is read at night: nothing of the template may be left in it, and every prompt is of a machine that there is.
func TestRunbookIsWhole(t *testing.T) {
	prompt := regexp.MustCompile(`^(\S+?)[#$] `)
	for name, c := range shapes(t) {
		for file, text := range files(t, c) {
			for _, bad := range []string{"<no value>", "{{", "%!", "invalid", "ZgotmplZ", "\n\n\n"} {
				if strings.Contains(text, bad) {
					t.Errorf("%s: %s has %q", name, file, bad)
				}
			}
			for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(text, -1) {
				for line := range strings.Lines(block[1]) {
					m := prompt.FindStringSubmatch(line)
					if m == nil {
						t.Errorf("%s: %s: a line without a prompt: %s", name, file, line)
						continue
					}
					if _, ok := c.Machine(m[1]); !ok && m[1] != "operator" {
						t.Errorf("%s: %s: there is no machine %s: %s", name, file, m[1], line)
					}
				}
			}
		}
	}
}

func TestPictureIsWellFormed(t *testing.T) {
	for name, c := range shapes(t) {
		picture := files(t, c)["cluster.svg"]
		for d := xml.NewDecoder(bytes.NewReader([]byte(picture))); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, picture)
			}
		}
		for _, m := range c.Machines() {
			if !strings.Contains(picture, ">"+m.Name+"<") || !strings.Contains(picture, ">"+m.Address.String()+"<") {
				t.Errorf("%s: the picture does not show %s", name, m.Name)
			}
		}
	}
}

// The manual's own commands that do not work, or lose data, never come back (D8, D28, D29).
func TestManualsMistakes(t *testing.T) {
	for name, c := range shapes(t) {
		for file, text := range files(t, c) {
			commands := strings.Join(regexp.MustCompile("(?s)```console\n(.*?)```").FindAllString(text, -1), "\n")
			for _, bad := range []string{"--master", "failover", "rm -", "watch ", "-U postgres"} {
				if i := strings.Index(commands, bad); i >= 0 && !strings.Contains(commands[max(0, i-20):i+len(bad)], "verify") {
					t.Errorf("%s: %s has a command with %q", name, file, bad)
				}
			}
		}
	}
}

// One runbook is kept whole, so that a change of it is read as its readers will.
func TestGolden(t *testing.T) {
	c, err := cluster.Load("../examples/quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files(t, c) {
		path := filepath.Join("testdata/golden", name)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), text); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
