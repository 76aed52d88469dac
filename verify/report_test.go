package verify

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample is a report with everything in it, and with a name that wants to be a program.
func sample() *Report {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	var rows Account
	for ms, n := 0, 1; ms < 12000; ms += 20 {
		if ms < 3000 || ms > 7400 {
			rows = append(rows, Row{n, at(ms)})
		}
		n++
	}
	crash := Trial{
		Test: Crash, Title: "the primary crashes, and another member takes over by itself", Machine: "node1", Verdict: Failed,
		Found: []string{"380 rows acknowledged"}, Wrong: []string{"2 rows of 380 are lost that were acknowledged"},
		Began: began, Ended: at(12000), Outage: 4.42, OutageSince: at(2980), Acknowledged: len(rows), Lost: 2,
		Events: []Event{
			{at(2900), "crash of node1"},
			{at(5000), "node1 does not answer any more"},
			{at(6900), "node2 <script>alert(1)</script> is the primary"},
			{at(11900), "node3 is a replica"},
		},
		PerTick: perTick(rows, began, at(12000)),
	}
	return &Report{
		Scope: "shop", Postgres: 17, From: "ops & <b>co</b>", Began: began, Ended: at(14300), Passed: false,
		Checks: []Result{
			{Check: "roles", Title: "one member is the primary, every other one replicates", Verdict: Passed, Found: []string{"node1 is the primary"}, Milliseconds: 41},
			{Check: "users", Title: "every user logs in", Verdict: Failed, Wrong: []string{`app may make <img src="http://x"> databases`}, Hint: "pgha apply", Milliseconds: 7},
			{Check: "statistics", Title: "the statistics page asks for a password", Verdict: Skipped, Found: []string{"there is no proxy"}},
		},
		Trials: []Trial{crash, {Test: Return, Title: "the crashed machine comes back", Verdict: Skipped, Found: []string{"the cluster is not whole after the test before"}}},
	}
}

func TestReport(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"report.txt":  func(w io.Writer) error { return sample().WriteText(w, true) },
		"report.html": sample().WriteHTML,
		"report.json": sample().WriteJSON,
	} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got.String()); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// The page is opened by people who trust it: nothing in it runs, nothing is loaded.
func TestPageIsHarmless(t *testing.T) {
	var page bytes.Buffer
	if err := sample().WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "<img", "<b>co", "src=\"http", "href=", "url(", "@import", "<link"} {
		if strings.Contains(page.String(), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(page.String(), "default-src &#39;none&#39;") && !strings.Contains(page.String(), "default-src 'none'") {
		t.Error("the page forbids nothing")
	}
	// The picture is well-formed by itself.
	_, svg, _ := strings.Cut(page.String(), "<svg")
	svg, _, _ = strings.Cut(svg, "</svg>")
	for d := xml.NewDecoder(strings.NewReader("<svg" + svg + "</svg>")); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(svg, "no write for 4.4 s"); n != 1 {
		t.Errorf("the gap is marked %d times", n)
	}
}
