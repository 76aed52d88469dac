package verify

import (
	_ "embed"
	"html/template"
	"io"
	"time"
)

//go:embed report.html
var reportHTML string

// The page is one file: it loads nothing, and everything in it that came from the cluster is escaped by html/template.
var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"timeline": newTimeline,
	"name":     Trial.name,
	"count":    func(r *Report, v string) int { return r.Count(Verdict(v)) },
	"took":     func(r *Report) string { return seconds(r.Ended.Sub(r.Began)) },
	"time":     func(t time.Time) string { return t.Format("2 January 2006, 15:04:05 MST") },
	"ms":       func(n int64) string { return milliseconds(time.Duration(n) * time.Millisecond) },
}).Parse(reportHTML))

// WriteHTML writes the report as one page that needs nothing beside it.
func (r *Report) WriteHTML(w io.Writer) error { return page.Execute(w, r) }
