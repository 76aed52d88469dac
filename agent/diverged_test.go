package agent

import "testing"

// What Patroni says of a replica, and of the cluster's history: timeline 1 was left at 1000, 2 at 2000.
func TestDiverged(t *testing.T) {
	forks := []fork{{1, 1000}, {2, 2000}}
	at := func(state, role string, timeline int, replayed int64) member {
		m := member{State: state, Role: role, Timeline: timeline}
		m.WAL.Replayed = replayed
		return m
	}
	for name, c := range map[string]struct {
		m    member
		want bool
	}{
		"beyond the place":                  {at("running", "replica", 1, 1001), true},
		"streaming, as Patroni 4 may say":   {at("streaming", "replica", 2, 2001), true},
		"at the place":                      {at("running", "replica", 1, 1000), false},
		"before it, and catching up":        {at("running", "replica", 1, 10), false},
		"on the timeline of now":            {at("running", "replica", 3, 9000), false},
		"on one that nobody knows":          {at("running", "replica", 7, 9000), false},
		"the primary":                       {at("running", "primary", 1, 1001), false},
		"the primary, by Patroni 3":         {at("running", "master", 1, 1001), false},
		"a copy of a primary elsewhere":     {at("running", "standby_leader", 1, 1001), false},
		"starting, or being rewound":        {at("starting", "replica", 1, 1001), false},
		"stopped":                           {at("stopped", "replica", 1, 1001), false},
		"nothing replayed, as Patroni says": {at("running", "replica", 0, 0), false},
	} {
		if got := c.m.diverged(forks); (got != "") != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := at("running", "replica", 1, 1001).diverged(nil); got != "" {
		t.Errorf("without a history: %q", got)
	}
}
