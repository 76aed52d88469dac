// Package prometheus is what an operator's Prometheus and Grafana need to watch a cluster.
//
// In comes a *cluster.Cluster; out come a scrape configuration of its machines, alert rules and a dashboard. The last two
// are the same for every cluster. It only computes.
package prometheus

import (
	"bytes"
	_ "embed" // the files
	"text/template"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/render"
)

var (
	//go:embed rules.yml
	rules []byte
	//go:embed dashboard.json
	dashboard []byte
	//go:embed scrape.yml
	scrape string
)

// Files returns what there is, by name, in the order in which a reader wants it. authority is the cluster's ca.crt.
func Files(c *cluster.Cluster, authority []byte) ([]File, error) {
	t, err := template.New("scrape.yml").Option("missingkey=error").Parse(scrape)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	page := struct {
		*cluster.Cluster
		StatsUser string
	}{c, render.StatsUser}
	if err := t.Execute(&b, page); err != nil {
		return nil, err
	}
	return []File{
		{"prometheus.yml", b.Bytes()}, {"pgha-rules.yml", rules}, {"pgha-" + c.Scope + "-ca.crt", authority}, {"pgha-dashboard.json", dashboard},
	}, nil
}

// File is one of them.
type File struct {
	Name string
	Body []byte
}
