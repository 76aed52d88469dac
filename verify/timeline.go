package verify

import (
	"fmt"
	"math"
	"time"
)

// timeline is the picture of a trial: how many rows were acknowledged in each tenth of a second, the gap in them, and what
// was seen to happen. All numbers are SVG's units.
type timeline struct {
	Width, Height, Left, Right float64
	// The bars stand on Base and reach up to Top, Tall high; Center is where the gap's length stands.
	Top, Base, Tall, Center float64
	Bars                    []bar
	Gap                     *gap
	Marks                   []mark
	Ticks                   []label
	Rows                    []label
	Title                   string
}

type bar struct{ X, Y, W, H float64 }

type gap struct {
	X, W, Middle float64
	Text         string
}

// mark is an event: a line at its time, and a label on a row of its own where labels would touch.
type mark struct {
	X, LineTop, TextX, Y float64
	Anchor, Text, Color  string
	// Order tells that it is what was done on purpose.
	Order bool
}

type label struct {
	X, Y float64
	Text string
}

const (
	pictureWidth = 960.0
	barsHeight   = 110.0
	labelRow     = 16.0
	letterWidth  = 6.1
	// gapShown is the shortest gap that is marked: anything shorter is an application's ordinary breath.
	gapShown = 500 * time.Millisecond
)

// newTimeline draws a trial.
func newTimeline(t Trial) timeline {
	p := timeline{Width: pictureWidth, Left: 46, Right: pictureWidth - 14}
	whole := t.Ended.Sub(t.Began)
	if whole <= 0 {
		whole = tickTime
	}
	x := func(at time.Time) float64 {
		part := float64(at.Sub(t.Began)) / float64(whole)
		return p.Left + max(0, min(1, part))*(p.Right-p.Left)
	}
	p.marks(t, x)
	p.Base, p.Tall, p.Center = p.Top+barsHeight, barsHeight, p.Top+barsHeight/2
	p.Height = p.Base + 24

	most := 1
	for _, n := range t.PerTick {
		most = max(most, n)
	}
	width := (p.Right - p.Left) / (float64(whole) / float64(tickTime))
	for i, n := range t.PerTick {
		if n == 0 {
			continue
		}
		h := barsHeight * float64(n) / float64(most)
		left := p.Left + float64(i)*width
		p.Bars = append(p.Bars, bar{left, p.Base - h, max(0.6, min(width-0.4, p.Right-left)), h})
	}
	if outage := time.Duration(t.Outage * float64(time.Second)); outage >= gapShown {
		from, to := x(t.OutageSince), x(t.OutageSince.Add(outage))
		p.Gap = &gap{X: from, W: to - from, Middle: max(p.Left+70, min(p.Right-70, (from+to)/2)), Text: "no write for " + seconds(outage)}
	}
	for at := time.Duration(0); at <= whole; at += step(whole) {
		p.Ticks = append(p.Ticks, label{x(t.Began.Add(at)), p.Base + 16, fmt.Sprintf("%g s", at.Seconds())})
	}
	p.Rows = []label{{p.Left - 6, p.Base, "0"}, {p.Left - 6, p.Top + 9, fmt.Sprint(most)}}
	p.Title = fmt.Sprintf("Rows acknowledged in each tenth of a second, %s in all; the longest time without any: %.1f s", plural(t.Acknowledged, "row"), t.Outage)
	return p
}

// marks lays the events' labels out: each on the first row where it touches no other.
func (p *timeline) marks(t Trial, x func(time.Time) float64) {
	var ends []float64 // of the labels, by row
	for _, e := range t.Events {
		m := mark{X: x(e.At), Anchor: "start", Text: e.What, Color: "#44525f", Order: e.What == t.name()}
		if m.Order {
			m.Color = "#b3261e"
		}
		width := float64(len([]rune(e.What)))*letterWidth + 8
		from := m.X + 4
		if from+width > p.Right {
			m.Anchor, from = "end", m.X-width
		}
		m.TextX = m.X + 4
		if m.Anchor == "end" {
			m.TextX = m.X - 4
		}
		row := 0
		for row < len(ends) && ends[row] > from {
			row++
		}
		if row == len(ends) {
			ends = append(ends, 0)
		}
		ends[row] = from + width
		m.Y = float64(row)
		p.Marks = append(p.Marks, m)
	}
	p.Top = float64(len(ends))*labelRow + 14
	for i := range p.Marks {
		p.Marks[i].Y = 12 + p.Marks[i].Y*labelRow
		p.Marks[i].LineTop = p.Marks[i].Y - 9
	}
}

// step is between two numbers below the picture: some ten of them, and round.
func step(whole time.Duration) time.Duration {
	for _, s := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute} {
		if whole/s <= 12 {
			return s
		}
	}
	return time.Duration(math.Ceil(whole.Minutes()/12)) * time.Minute
}
