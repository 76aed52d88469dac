package doctor

import "github.com/pgbake/pgbake/agent/horizon"

// horizonOf is the check of the primary's transaction ids.
func horizonOf(l *Look) (found []Finding) {
	d := l.Database
	if d == nil || d.Horizon == nil {
		return nil
	}
	in := horizon.Place{Ports: l.Ports}
	if l.Cluster != nil {
		for _, m := range l.Cluster.Members {
			in.Members = append(in.Members, m.Name)
		}
	}
	for _, h := range horizon.Judge(*d.Horizon, in) {
		f := Finding{What: h.What, Why: h.Why}
		for _, c := range h.Mend {
			line := c.Line
			if c.When != "" {
				line += "    # " + c.When
			}
			if c.On != "" {
				line = l.on(c.On, line)
			}
			f.Mend = append(f.Mend, line)
		}
		found = append(found, f)
	}
	return found
}
