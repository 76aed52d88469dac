package runbook

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"

	"github.com/pgbake/pgbake/cluster"
)

//go:embed template/cluster.svg
var svg string

// box is one machine in the picture; all numbers are SVG's units.
type box struct {
	X, Y, W, H, Middle float64
	Name               string
	Lines              []string
}

// arrow leads from one box down to another.
type arrow struct{ X1, Y1, X2, Y2, Bend float64 }

// drawing is the whole picture.
type drawing struct {
	Scope          string
	Width, Height  float64
	Clients        box
	Proxies, Nodes []box
	Arrows         []arrow
	// Virtual is the address that moves between the proxies.
	Virtual string
	// Wal is where the replication's line lies, below the members; nowhere with a lone one.
	Wal      float64
	From, To float64
	Note     string
}

const (
	boxWidth, boxHeight = 168.0, 92.0
	gap, margin         = 22.0, 24.0
)

// picture draws who connects where.
func picture(c *cluster.Cluster) ([]byte, error) {
	d := drawing{Scope: c.Scope}
	columns := max(len(c.Nodes), len(c.Proxies), 3)
	d.Width = float64(columns)*(boxWidth+gap) - gap + 2*margin
	row := func(n int, y float64) (boxes []box) {
		left := (d.Width - float64(n)*(boxWidth+gap) + gap) / 2
		for i := range n {
			x := left + float64(i)*(boxWidth+gap)
			boxes = append(boxes, box{X: x, Y: y, W: boxWidth, H: boxHeight, Middle: x + boxWidth/2})
		}
		return boxes
	}
	d.Clients = box{X: margin, Y: 44, W: d.Width - 2*margin, H: 44, Middle: d.Width / 2, Name: "applications", Lines: []string{join(c.ClientNetworks)}}
	y := 134.0
	above := []box{d.Clients}
	if len(c.Proxies) > 0 {
		d.Proxies = row(len(c.Proxies), y)
		for i, n := range c.Proxies {
			d.Proxies[i].Name, d.Proxies[i].Lines = n.Name, []string{n.Address.String(), fmt.Sprintf("read-write :%d", c.Ports.ReadWrite), fmt.Sprintf("read-only :%d", c.Ports.ReadOnly)}
			d.Arrows = append(d.Arrows, down(d.Proxies[i].Middle, d.Clients, d.Proxies[i]))
		}
		if c.VirtualAddress.IsValid() {
			d.Virtual = c.VirtualAddress.String()
		}
		above, y = d.Proxies, y+boxHeight+58
	}
	d.Nodes = row(len(c.Nodes), y)
	for i, n := range c.Nodes {
		d.Nodes[i].Name = n.Name
		d.Nodes[i].Lines = []string{n.Address.String(), fmt.Sprintf("PostgreSQL %d :%d", c.Postgres.Version, c.Ports.Postgres), "Patroni · etcd"}
		for _, from := range above {
			x := from.Middle
			if len(c.Proxies) == 0 {
				x = d.Nodes[i].Middle
			}
			d.Arrows = append(d.Arrows, down(x, from, d.Nodes[i]))
		}
	}
	bottom := y + boxHeight
	if len(c.Nodes) > 1 {
		d.Wal, d.From, d.To = bottom+22, d.Nodes[0].Middle, d.Nodes[len(d.Nodes)-1].Middle
		d.Note = fmt.Sprintf("one of them leads, the others replicate it (%s); of %d members %d may fail", c.Replication.Mode, len(c.Nodes), (len(c.Nodes)-1)/2)
		bottom += 44
	}
	d.Height = bottom + margin
	t, err := template.New("cluster.svg").Funcs(template.FuncMap{"line": func(b box, i int) float64 { return b.Y + 40 + 17*float64(i) }}).Parse(svg)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, d)
	return []byte(strings.TrimSpace(b.String()) + "\n"), err
}

func down(x float64, from, to box) arrow {
	return arrow{x, from.Y + from.H, to.Middle, to.Y - 2, (from.Y + from.H + to.Y) / 2}
}
