package verify

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteText writes the report for a terminal: what is wrong in full, what is right by its title.
func (r *Report) WriteText(w io.Writer, full bool) error {
	var b strings.Builder
	for _, c := range r.Checks {
		c.writeText(&b, full)
	}
	for _, t := range r.Trials {
		t.writeText(&b)
	}
	fmt.Fprintf(&b, "\n%s\n", r.Summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// Summary is the report in one line.
func (r *Report) Summary() string {
	return fmt.Sprintf("%s, PostgreSQL %d: %d passed, %d failed, %d skipped, in %s",
		r.Scope, r.Postgres, r.Count(Passed), r.Count(Failed), r.Count(Skipped), seconds(r.Ended.Sub(r.Began)))
}

// words are the verdicts as a terminal shows them: what failed is found by the eye.
var words = map[Verdict]string{Passed: "passed ", Failed: "FAILED ", Skipped: "skipped"}

// writeText writes one check: its verdict, name and title, and what is wrong with it.
func (c Result) writeText(b *strings.Builder, full bool) {
	fmt.Fprintf(b, "%s  %-16s  %s\n", words[c.Verdict], c.Check, c.Title)
	indent := strings.Repeat(" ", 11)
	if full || c.Verdict == Skipped {
		for _, line := range c.Found {
			fmt.Fprintf(b, "%s%s\n", indent, line)
		}
	}
	for _, line := range c.Wrong {
		fmt.Fprintf(b, "%swrong: %s\n", indent, line)
	}
	if c.Hint != "" && c.Verdict == Failed {
		fmt.Fprintf(b, "%s hint: %s\n", indent, c.Hint)
	}
}

func (t Trial) writeText(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s  %s: %s\n", words[t.Verdict], t.name(), t.Title)
	indent := strings.Repeat(" ", 9)
	for _, line := range t.Found {
		fmt.Fprintf(b, "%s%s\n", indent, line)
	}
	for _, line := range t.Wrong {
		fmt.Fprintf(b, "%swrong: %s\n", indent, line)
	}
	for _, e := range t.Events {
		fmt.Fprintf(b, "%s%8s  %s\n", indent, offset(e.At.Sub(t.Began)), e.What)
	}
}

// offset is when something happened, since a timeline's beginning.
func offset(d time.Duration) string { return fmt.Sprintf("+%.1f s", d.Seconds()) }

// name is what the trial did, to whom; it has no machine where it did not come so far.
func (t Trial) name() string {
	if t.Machine == "" {
		return string(t.Test)
	}
	return order(t.Test, t.Machine)
}
