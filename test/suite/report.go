package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Which tests are worth a line while they run, and how many are listed at the end.
const (
	longTest = 10 * time.Second
	longest  = 20
	// tail is how many lines of a failure are printed; all of them are in the line's log.
	tail = 60
	// reasons is how many lines a failure has in the list that is printed last, reasonLength how long each may be.
	reasons, reasonLength = 3, 300
)

// event is what `go test -json` prints, one on a line: go doc test2json.
type event struct {
	Action, Package, Test, Output string
	// ImportPath is whose compilation an output is of, FailedBuild because of whose a package failed.
	ImportPath, FailedBuild string
	Elapsed                 float64 // seconds
}

// result is a test, a package or a line that has ended.
type result struct {
	name   string
	took   time.Duration
	output []string // when it failed
}

// report gathers the results of all lines.
type report struct {
	out io.Writer

	mu                      sync.Mutex
	passed, skipped, broken int
	failures, ended         []result
}

func newReport(out io.Writer) *report { return &report{out: out} }

func (r *report) failed() bool { return r.broken > 0 }

func (r *report) say(format string, args ...any) {
	fmt.Fprintf(r.out, time.Now().UTC().Format("15:04:05")+"  "+format+"\n", args...)
}

// turn is what a test of machines says when it begins: until then it has waited for others, and needed nothing.
var turn = regexp.MustCompile(`: waited ([0-9.]+) s for its turn\n$`)

// lineWriter takes what a line prints, keeps it in its log, and understands events.
type lineWriter struct {
	r     *report
	l     line
	log   io.Writer
	began time.Time

	mu       sync.Mutex
	rest     []byte
	isTest   bool
	open     map[string]bool     // tests that have begun
	output   map[string][]string // of tests that have not passed yet; of the line itself under ""
	waited   map[string]time.Duration
	failures map[string]int // by package, of those that run
	failed   bool           // in any
}

func (r *report) line(l line, log io.Writer) *lineWriter {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.say("begin %s", l.Name)
	return &lineWriter{r: r, l: l, log: log, began: time.Now(), open: map[string]bool{}, output: map[string][]string{},
		waited: map[string]time.Duration{}, failures: map[string]int{}}
}

// Write implements io.Writer, for both outputs of the line at the same time.
func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		w.take(string(w.rest[:i]))
		w.rest = w.rest[i+1:]
	}
}

// take is one line of output.
func (w *lineWriter) take(text string) {
	var e event
	if !strings.HasPrefix(text, "{") || json.Unmarshal([]byte(text), &e) != nil || e.Action == "" {
		_, _ = fmt.Fprintln(w.log, text) // a log that cannot be written costs nothing but itself
		w.output[""] = append(w.output[""], text)
		return
	}
	w.isTest = true
	id := strings.TrimPrefix(e.Package, "github.com/pgbake/pgbake/") + " " + e.Test
	took := time.Duration(e.Elapsed*float64(time.Second)) - w.waited[id]
	switch e.Action {
	case "run":
		w.open[id] = true
	case "build-output":
		id = e.ImportPath
		fallthrough
	case "output":
		_, _ = io.WriteString(w.log, e.Output)
		w.output[id] = append(w.output[id], strings.TrimRight(e.Output, "\n"))
		if m := turn.FindStringSubmatch(e.Output); m != nil {
			w.waited[id], _ = time.ParseDuration(m[1] + "s")
		}
	case "pass", "fail", "skip":
		delete(w.open, id)
		w.ended(e, id, took)
		delete(w.output, id)
	}
}

// ended counts a test. A package that fails says so of the tests that have not ended: it was stopped. One that fails before
// any test does so by itself: it does not compile.
func (w *lineWriter) ended(e event, id string, took time.Duration) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	name := strings.TrimSpace(id)
	pkg, _, _ := strings.Cut(id, " ")
	if e.Test == "" {
		if e.Action == "fail" {
			w.stopped(pkg, result{name: name, took: took, output: slices.Concat(w.output[e.FailedBuild], w.output[id])})
		}
		maps.DeleteFunc(w.open, func(id string, _ bool) bool { return strings.HasPrefix(id, pkg+" ") })
		delete(w.failures, pkg)
		return
	}
	switch e.Action {
	case "fail":
		w.fail(pkg, result{name: name, took: took, output: w.output[id]})
	case "pass":
		w.r.passed++
	case "skip":
		w.r.skipped++
	}
	if strings.Contains(e.Test, "/") {
		return
	}
	w.r.ended = append(w.r.ended, result{name: name, took: took})
	if e.Action == "pass" && took >= longTest {
		w.r.say("pass  %s (%.0f s)", name, took.Seconds())
	}
}

// stopped is a package that has failed: so have those of its tests that go on, of whose parts only the innermost is named. Those of the
// packages beside it have not.
func (w *lineWriter) stopped(pkg string, p result) {
	for _, id := range slices.Sorted(maps.Keys(w.open)) {
		inner := func(other string) bool { return strings.HasPrefix(other, id+"/") }
		if strings.HasPrefix(id, pkg+" ") && !slices.ContainsFunc(slices.Collect(maps.Keys(w.open)), inner) {
			w.fail(pkg, result{name: id, took: p.took, output: slices.Concat(w.output[id], p.output)})
		}
	}
	if w.failures[pkg] == 0 {
		w.fail(pkg, p)
	}
}

func (w *lineWriter) fail(pkg string, f result) {
	w.failures[pkg]++
	w.failed = true
	w.r.fail(f)
}

// end is the line's end.
func (w *lineWriter) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		w.take(string(w.rest))
	}
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	took := time.Since(w.began)
	switch {
	case err != nil && !w.failed:
		w.r.fail(result{name: w.l.Name, took: took, output: append(w.output[""], err.Error())})
	case err == nil && !w.isTest:
		w.r.passed++
	}
	w.r.say("end   %s (%.0f s)", w.l.Name, took.Seconds())
}

func (r *report) fail(f result) {
	r.broken++
	r.failures = append(r.failures, f)
	r.say("FAIL  %s (%.0f s)", f.name, f.took.Seconds())
}

// said is where a test or the compiler says something itself, or a program why it ends.
var said = regexp.MustCompile(`^\s*((?:\w+_test\.go:[0-9]+|\S+\.go:[0-9]+:[0-9]+|panic): .*)`)

// reasons are the last of a failure's own words, a line each: a CI that keeps only the end of what is printed keeps why.
func (f result) reasons() (why []string) {
	for _, text := range f.output {
		if m := said.FindStringSubmatch(text); m != nil && !turn.MatchString(text+"\n") {
			why = append(why, m[1][:min(len(m[1]), reasonLength)])
		}
	}
	return why[max(0, len(why)-reasons):]
}

// summary is what `make test` ends with.
func (r *report) summary(dir string, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortFunc(r.ended, func(a, b result) int { return cmp.Compare(b.took, a.took) })
	fmt.Fprintf(r.out, "\nThe longest tests, of %.1f minutes in all:\n", took.Minutes())
	for _, e := range r.ended[:min(longest, len(r.ended))] {
		fmt.Fprintf(r.out, "%7.1f s  %s\n", e.took.Seconds(), e.name)
	}
	for _, f := range r.failures {
		fmt.Fprintf(r.out, "\n--- FAIL: %s (%.1f s)\n", f.name, f.took.Seconds())
		for _, text := range f.output[max(0, len(f.output)-tail):] {
			fmt.Fprintln(r.out, text)
		}
	}
	if len(r.failures) > 0 {
		fmt.Fprintf(r.out, "\nAll that was printed is in %s. These failed:\n", filepath.Join(dir, "*.log"))
		for _, f := range r.failures {
			fmt.Fprintf(r.out, "  %s\n", f.name)
			for _, reason := range f.reasons() {
				fmt.Fprintf(r.out, "      %s\n", reason)
			}
		}
	}
	fmt.Fprintf(r.out, "\n%d passed, %d failed, %d skipped\n", r.passed, r.broken, r.skipped)
}
