package monitor

import (
	"strings"

	"github.com/pgbake/pgbake/agent/horizon"
	"github.com/pgbake/pgbake/cluster"
)

// transactions looks at the primary's transaction ids, which are the cluster's. A topic is a kind of problem.
func transactions(s *Seen, v *Verdict) {
	facts := s.horizon()
	if facts == nil {
		return
	}
	leader, _ := s.Leader()
	in := horizon.Place{Ports: s.Ports}
	for _, m := range s.of(cluster.DB) {
		in.Members = append(in.Members, m.Name)
	}
	for _, f := range horizon.Judge(*facts, in) {
		severity, looks := Warning, patient
		if f.Critical {
			severity = Critical
		}
		if !f.Timed {
			looks = hour
		}
		v.all(string(f.Topic), severity, looks, f.Why+". "+commands(f.Mend, leader.Name), "%s", f.What)
	}
}

// commands are what a hint tells people to type, one after the other. Those that follow on the same machine do not name it again.
func commands(list []horizon.Command, primary string) string {
	var parts []string
	on := ""
	for _, c := range list {
		where := c.On
		if where == "" {
			where = primary
		}
		line := c.Line
		if c.When != "" {
			line += " (" + c.When + ")"
		}
		switch {
		case where != on && on == "":
			line = "On " + where + ": " + line
		case where != on:
			line = "on " + where + ": " + line
		}
		on = where
		parts = append(parts, line)
	}
	return strings.Join(parts, "; ")
}
