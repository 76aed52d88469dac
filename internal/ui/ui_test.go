package ui

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func talk(level Level) string {
	var out bytes.Buffer
	u := New(&out, level)
	i := u.Begin("build the root")
	i.Note("downloading")
	i.Result("7 MB")
	i.End(nil)
	u.Done("boot loaders", "from the cache")
	u.Begin("start node1").End(errors.New("said by main"))
	if w := u.Trace(); w != nil {
		fmt.Fprintln(w, "+ true")
	}
	u.Next("pgbake lab down")
	return out.String()
}

func TestPlainLines(t *testing.T) {
	normal := `==> build the root
    build the root: downloading
    build the root: 0.0s · 7 MB
==> boot loaders  from the cache
==> start node1
    start node1: failed after 0.0s
`
	for level, want := range map[Level]string{
		Quiet:   "",
		Normal:  normal + "next: pgbake lab down\n",
		Verbose: normal + "+ true\nnext: pgbake lab down\n",
	} {
		if diff := cmp.Diff(want, talk(level)); diff != "" {
			t.Errorf("level %d: %s", level, diff)
		}
	}
}

// A terminal shows one live line, wiped before every lasting one and at the end.
func TestTerminal(t *testing.T) {
	var out bytes.Buffer
	u := New(&out, Normal)
	u.live, u.columns = true, 24
	i := u.Begin("build the root of node1")
	u.Say("hello")
	i.End(nil)
	const wipe, live = "\r\x1b[K", "... build the root of …"
	want := live + wipe + "hello\n" + live + wipe + "==> build the root of node1  0.0s\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if u.stop != nil {
		t.Error("the live line is still drawn after the last item has ended")
	}
}

// How far the work is has its place on the live line, and none elsewhere; the next note begins anew.
func TestProgress(t *testing.T) {
	for columns, want := range map[int]string{
		80: "... base  0.0s  ████░░░░░░░░░░░░ 25% · fetches 100 MB",
		60: "... base  0.0s  ███░░░░░░░░░ 25% · fetches 100 MB",
		40: "... base  0.0s  25% · fetches 100 MB",
		30: "... base  0.0s  25% · fetche…",
	} {
		var out bytes.Buffer
		u := New(&out, Normal)
		i := u.Begin("base")
		i.Note("fetches 100 MB")
		i.Progress(25, 100)
		if strings.Contains(out.String(), "25") {
			t.Errorf("a file shows progress: %s", &out)
		}
		out.Reset()
		u.live, u.columns = true, columns
		u.draw()
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%d columns: %s", columns, diff)
		}
		i.Note("configures")
		if strings.HasSuffix(out.String(), "25% · configures") {
			t.Errorf("the second note is not at its beginning: %s", &out)
		}
	}
}

func TestElapsed(t *testing.T) {
	for d, want := range map[time.Duration]string{
		430 * time.Millisecond: "0.4s", 12300 * time.Millisecond: "12.3s", 125 * time.Second: "2m05s",
	} {
		if got := Elapsed(d); got != want {
			t.Errorf("Elapsed(%v) = %q, want %q", d, got, want)
		}
	}
}
