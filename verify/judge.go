package verify

import (
	"context"
	"fmt"
	"time"
)

// judge fills in what the watch has seen in the time of a trial.
func (s *series) judge(ctx context.Context, t *Trial, limit time.Duration) {
	account := s.w.account()
	rows := account.Since(t.Began).Until(t.Ended)
	outage, since := rows.Outage()
	t.Outage, t.OutageSince, t.Acknowledged = outage.Seconds(), since, len(rows)
	s.trim(t, since)
	t.Events = s.w.between(t.Began, t.Ended)
	t.PerTick = perTick(rows, t.Began, t.Ended)

	there, err := s.there(ctx, s.v.primary)
	if err != nil {
		t.Wrong = append(t.Wrong, "which rows are there cannot be told: "+oneLine(err))
	} else {
		for _, n := range account.Until(t.Ended).Lost(there) {
			if !s.lost[n] {
				s.lost[n] = true
				t.Lost++
			}
		}
	}
	switch {
	case t.Lost > 0:
		t.Wrong = append(t.Wrong, fmt.Sprintf("%s of %d are lost that were acknowledged", plural(t.Lost, "row"), t.Acknowledged))
	case err == nil:
		t.Found = append(t.Found, fmt.Sprintf("%s acknowledged, none lost", plural(t.Acknowledged, "row")))
	}
	if two := s.w.twoLed(); two != "" {
		t.Wrong = append(t.Wrong, two+" were primaries at the same time")
	}
	if outage > limit {
		t.Wrong = append(t.Wrong, fmt.Sprintf("no row was acknowledged for %s, and %s is the limit", seconds(outage), seconds(limit)))
	} else if len(rows) > 1 {
		t.Found = append(t.Found, fmt.Sprintf("the longest time without an acknowledged row: %s", seconds(outage)))
	}
	if len(t.Wrong) > 0 {
		t.Verdict = Failed
	}
}

const (
	// calm is how much of the time before the first thing that happened a timeline shows.
	calm = 3 * time.Second
	// hesitation is how long a person may take to act without the timeline leaving it out.
	hesitation = 30 * time.Second
)

// trim leaves out the time in which a person had not acted yet.
func (s *series) trim(t *Trial, gap time.Time) {
	first := gap
	if all := s.w.between(t.Began, t.Ended); len(all) > 1 && (first.IsZero() || all[1].At.Before(first)) { // all[0] is the order
		first = all[1].At
	}
	if first.Sub(t.Began) > hesitation {
		t.Began = first.Add(-calm)
	}
}

// perTick counts rows by tenths of a second.
func perTick(rows Account, from, to time.Time) []int {
	counts := make([]int, int(to.Sub(from)/tickTime)+1)
	for _, r := range rows.Since(from) {
		if i := int(r.At.Sub(from) / tickTime); i < len(counts) {
			counts[i]++
		}
	}
	return counts
}
