package peers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// table is what everybody took, in Markdown.
func table(all []*results, rounds int) string {
	var t strings.Builder
	fmt.Fprintf(&t, "Wall seconds, medians of %d, in turn; the db role of Debian 12 as a raw disk.\n\n", rounds)
	t.WriteString("| | cold | nothing changed | pgha changed | proxy after db | CPU s, cold | peak MB | raw MB | qcow2 MB | starts by |\n")
	t.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
	var notes []string
	for _, r := range all {
		if r.failed != nil {
			why := strings.Split(strings.TrimSpace(r.failed.Error()), "\n")
			fmt.Fprintf(&t, "| %s | not measured: %s | | | | | | | | |\n", cmp.Or(r.about, r.name), why[len(why)-1])
			continue
		}
		fmt.Fprintf(&t, "| %s |", r.about)
		for _, name := range []string{cold, nothing, pgha, proxy} {
			if took := r.took[name]; len(took) > 0 {
				fmt.Fprintf(&t, " %.*f |", decimals(median(took, wall)), median(took, wall))
			} else {
				fmt.Fprintf(&t, " %s |", r.otherwise[name])
			}
		}
		fmt.Fprintf(&t, " %.0f | %.0f | %.0f | %.0f | %s |\n", median(r.took[cold], cpu), r.peak(),
			float64(r.disk.allocated)/1e6, float64(r.qcow2)/1e6, r.bootsBy)
		if len(r.more) > 0 {
			notes = append(notes, fmt.Sprintf("%s also installs %s.", r.name, strings.Join(r.more, ", ")))
		}
	}
	if len(notes) > 0 {
		fmt.Fprintf(&t, "\n%s\n", strings.Join(notes, "\n"))
	}
	return t.String()
}

func decimals(seconds float64) int {
	if seconds < 10 {
		return 2
	}
	return 1
}

// bars is each figure that was promised, and whether it is reached.
func bars(all []*results) string {
	i := slices.IndexFunc(all, func(r *results) bool { return r.name == "pgbake" })
	if i < 0 || all[i].failed != nil {
		return ""
	}
	ours := all[i]
	took := func(name string) float64 { return median(ours.took[name], wall) }
	var t strings.Builder
	t.WriteString("| figure | pgbake | bar | |\n|---|---|---|---|\n")
	row := func(name, unit string, is, bar float64, why string) {
		reached := "reached"
		if is > bar {
			reached = "not reached"
		}
		fmt.Fprintf(&t, "| %s | %.*f %s | ≤ %.*f %s%s | %s |\n", name, decimals(is), is, unit, decimals(bar), bar, unit, why, reached)
	}
	var fastest, smallest *results
	for _, r := range all {
		if r == ours || r.failed != nil {
			continue
		}
		if fastest == nil || median(r.took[cold], wall) < median(fastest.took[cold], wall) {
			fastest = r
		}
		if smallest == nil || r.qcow2 < smallest.qcow2 {
			smallest = r
		}
	}
	if fastest != nil {
		theirs := median(fastest.took[cold], wall)
		row("cold, to a raw disk", "s", took(cold), 0.6*theirs, fmt.Sprintf(" = 0.6 × %.1f, %s", theirs, fastest.name))
	}
	row("second role: proxy after db", "s", took(proxy), 0.4*took(coldProxy), fmt.Sprintf(" = 0.4 × %.1f, cold", took(coldProxy)))
	row("second role: db after proxy", "s", took(dbAfter), 0.4*took(cold), fmt.Sprintf(" = 0.4 × %.1f, cold", took(cold)))
	row("only pgha changed, to a raw disk", "s", took(pgha), 3, "")
	row("only pgha changed, to a compressed qcow2", "s", took(pghaQcow2), 6, "")
	row("nothing changed", "s", took(nothing), 0.5, "")
	if smallest != nil {
		row("compressed qcow2", "MB", float64(ours.qcow2)/1e6, float64(smallest.qcow2)/1e6, ", "+smallest.name)
	}
	if ours.peak() > 0 {
		row("peak memory", "MB", ours.peak(), 300, "")
	}
	return t.String()
}
