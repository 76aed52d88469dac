package debian

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Logs is a folder for what machines say of themselves when a test has failed: dist/test below the top of the tree, and in it
// one by the test's name.
func Logs(t testing.TB) (string, error) {
	top, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(top, "Makefile")); err == nil {
			break
		}
		if top == filepath.Dir(top) {
			return "", fmt.Errorf("find the top of the tree: no Makefile above the test's directory")
		}
		top = filepath.Dir(top)
	}
	dir := filepath.Join(top, "dist", "test", strings.ReplaceAll(t.Name(), "/", "_"))
	return dir, os.MkdirAll(dir, 0o755) //nolint:gosec // its files are the ones that others may not read
}

// What tells why something went wrong, and what never does though it has such words.
var (
	trouble = regexp.MustCompile(`(?i)error|fail|fatal|panic|refus|denied|timed? ?out|lost|killed|no space|demot|could not|cannot|unreachable`)
	usual   = regexp.MustCompile(`(?i)failover: |Failed to (get|set) .*(sysctl|oom)|failed to find (removed|cached)|level":"info"`)
	numbers = regexp.MustCompile(`\b[0-9]+\b|\b[0-9a-f]{8,}\b`) // of processes, times and sessions; not that of a machine, as in db1
	atTime  = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+`)
)

// Journal is how journalctl prints what Telling reads.
var Journal = []string{"journalctl", "--no-pager", "-o", "short-iso-precise"}

// Telling are the last twenty lines of journals, in the order of time, that speak of trouble; of what a machine says again
// and again, with other numbers, the last.
func Telling(journals ...string) string {
	last := map[string]string{}
	for _, journal := range journals {
		for text := range strings.Lines(journal) {
			if atTime.MatchString(text) && trouble.MatchString(text) && !usual.MatchString(text) {
				same := numbers.ReplaceAllString(atTime.ReplaceAllString(text, ""), "")
				last[same] = fmt.Sprintf("%.300s", strings.TrimSpace(text))
			}
		}
	}
	told := slices.Sorted(maps.Values(last)) // they begin with the time, all in one zone
	return strings.Join(told[max(0, len(told)-20):], "\n")
}

// postMortem keeps what the machine has said, and prints what may tell why the test has failed.
func (m *Machine) postMortem(t testing.TB) {
	dir, err := Logs(t)
	if err != nil {
		t.Log(err)
		return
	}
	keep := func(name string, body []byte) {
		if err := os.WriteFile(filepath.Join(dir, m.Name+"."+name), body, 0o600); err != nil {
			t.Log(err)
		}
	}
	console, _ := os.ReadFile(filepath.Join(m.Disk, "console")) // it may never have been on
	keep("console", console)
	journal := ""
	if m.pid != 0 {
		journal, _ = m.Try(Journal...) // what there is of it
		keep("journal", []byte(journal))
	}
	t.Logf("what %s said is in %s\nthe last that may tell why:\n%s", m.Name, dir, Telling(journal))
}
