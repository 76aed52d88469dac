package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pgbake/pgbake/internal/processor"
)

var update = flag.Bool("update", false, "write the golden files")

var sameCluster = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

// golden compares with testdata, or writes it.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no files (%v)", pattern, err)
	}
	return files
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestBad: every file in testdata/bad is refused with the complaints in the .txt beside it.
func TestBad(t *testing.T) {
	for _, path := range glob(t, "testdata/bad/*.yaml") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			data := readFile(t, path)
			_, err := Parse("cluster.yaml", data)
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("Parse returned %v, want Problems", err)
			}
			insideFile(t, data, problems)
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", []byte(err.Error()+"\n"))
		})
	}
}

// TestGood: every file in testdata/good and every example loads, and means what the golden file says.
func TestGood(t *testing.T) {
	files := append(glob(t, "testdata/good/*.yaml"), glob(t, "../examples/*.yaml")...)
	for _, path := range append(files, "example.yaml") {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			c, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			out, err := c.Encode()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "testdata/good/"+name+".txt", out)
			again, err := Parse("again.yaml", out)
			if err != nil {
				t.Fatalf("what Encode wrote does not parse: %v", err)
			}
			if diff := cmp.Diff(c, again, sameCluster); diff != "" {
				t.Errorf("Encode and Parse changed it (-before +after):\n%s", diff)
			}
		})
	}
}

// TestEveryRuleIsBroken: each rule has a case in testdata/bad that makes it complain.
func TestEveryRuleIsBroken(t *testing.T) {
	broken := map[string]bool{}
	for _, path := range glob(t, "testdata/bad/*.yaml") {
		src, root, err := read("cluster.yaml", readFile(t, path), false)
		if err != nil {
			continue
		}
		c := defaults()
		_ = src.decode(root, c) // a rule may be broken beside what this refuses
		c.complete()
		for _, r := range append(slices.Clone(rules), operators...) {
			k := &checker{Cluster: c, src: src}
			r.check(k)
			broken[r.name] = broken[r.name] || len(k.problems) > 0
		}
	}
	for _, r := range append(slices.Clone(rules), operators...) {
		if !broken[r.name] {
			t.Errorf("no file in testdata/bad breaks the rule %q", r.name)
		}
	}
}

func TestProblemsAsJSON(t *testing.T) {
	_, err := Parse("cluster.yaml", readFile(t, "testdata/bad/key-unknown.yaml"))
	out, jerr := json.MarshalIndent(err, "", "  ")
	if jerr != nil {
		t.Fatal(jerr)
	}
	golden(t, "testdata/problems.json", append(out, '\n'))
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none.yaml")); err == nil || !strings.Contains(err.Error(), "pgbake init") {
		t.Errorf("a missing file: %v, want a word about pgbake init", err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a folder loads")
	}
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, bytes.Repeat([]byte("# much too much\n"), 1<<17), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big); err == nil || !strings.Contains(err.Error(), "larger than 1024 KiB") {
		t.Errorf("a large file: %v", err)
	}
}

// TestHostileFiles: what is built to take for ever does not.
func TestHostileFiles(t *testing.T) {
	const much = maxSize / 10
	for name, text := range map[string]string{
		"open quote first": "a: \"x\n" + strings.Repeat("b: 1\n", much),
		"open quote last":  strings.Repeat("b: 1\n", much) + "a: \"x\n",
		"brackets":         strings.Repeat("[", 9*much),
		"same key":         strings.Repeat("ab: 1\n", much),
		"same item":        "nodes: [&a {name: n}" + strings.Repeat(",*a", 3*much) + "]",
		"networks":         "client_networks: [" + strings.Repeat("0.0.0.0/0,", much-10) + "]",
	} {
		t.Run(name, func(t *testing.T) {
			before := processor.Time()
			_, err := Parse("cluster.yaml", []byte(text))
			var problems Problems
			if !errors.As(err, &problems) || len(problems) > maxProblems+1 {
				t.Errorf("%d complaints: %.300v", len(problems), err)
			}
			if took := processor.Time() - before; took > 20*time.Second { // 1 s, and a minute passes meanwhile on a busy machine
				t.Errorf("took %s of the processor's time", took)
			}
		})
	}
}

// TestLineEndings: a file from Windows means the same, and its complaints stand at the same places.
func TestLineEndings(t *testing.T) {
	unix := readFile(t, "../examples/global.yaml")
	windows := append([]byte("\ufeff"), bytes.ReplaceAll(unix, []byte("\n"), []byte("\r\n"))...)
	want, err := Parse("a", unix)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("b", windows)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, sameCluster); diff != "" {
		t.Error(diff)
	}
	bad := readFile(t, "testdata/bad/key-unknown.yaml")
	_, first := Parse("c", bad)
	_, second := Parse("c", bytes.ReplaceAll(bad, []byte("\n"), []byte("\r\n")))
	if diff := cmp.Diff(first.Error(), second.Error()); diff != "" {
		t.Error(diff)
	}
}

// insideFile: a place is a line of the file and a column of the line, or its end.
func insideFile(t *testing.T, data []byte, problems Problems) {
	t.Helper()
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	lines := lineBreak.Split(string(data), -1)
	for _, p := range problems {
		switch {
		case p.Line == 0 && p.Column == 0:
		case p.Line < 1 || p.Line > len(lines):
			t.Errorf("line %d of %d: %s", p.Line, len(lines), p.Message)
		case p.Column < 1 || p.Column > utf8.RuneCountInString(strings.ToValidUTF8(lines[p.Line-1], "?"))+1:
			t.Errorf("column %d of line %q: %s", p.Column, lines[p.Line-1], p.Message)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.yaml", "../examples/*.yaml", "example.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, path := range files {
			if data, err := os.ReadFile(path); err == nil && len(data) < 8192 {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("fuzz.yaml", data)
		if err == nil {
			out, err := c.Encode()
			if err != nil {
				t.Fatal(err)
			}
			again, err := Parse("again.yaml", out)
			if err != nil {
				t.Fatalf("what Encode wrote does not parse: %v\n%s", err, out)
			}
			if diff := cmp.Diff(c, again, sameCluster); diff != "" {
				t.Fatal(diff)
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("%T: %v", err, err)
		}
		insideFile(t, data, problems)
		if !utf8.ValidString(err.Error()) {
			t.Errorf("the complaint is not UTF-8: %q", err)
		}
	})
}

// TestMachinesBoot: what only rules for operators refuse does not keep a machine from its next boot, and every other rule is its as
// well.
func TestMachinesBoot(t *testing.T) {
	taken := 0
	for _, path := range glob(t, "testdata/bad/*.yaml") {
		data := readFile(t, path)
		src, root, err := read("cluster.yaml", data, false)
		if err != nil {
			continue
		}
		c := defaults()
		problems := src.decode(root, c)
		c.complete()
		refused := len(problems) + len(validate(c, src, nil, rules))
		if _, err = ParseTaken("cluster.yaml", data); (err == nil) != (refused == 0) {
			t.Errorf("%s: %v", path, err)
		}
		if err == nil {
			taken++
		}
	}
	if taken == 0 {
		t.Error("no file in testdata/bad is refused by rules for operators alone")
	}
}
