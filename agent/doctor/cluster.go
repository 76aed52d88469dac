package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// The checks of the cluster, as this machine sees it.

// on is a command for another machine, or for this one.
func (l *Look) on(name, command string) string {
	if name == l.Name {
		return command
	}
	return "on " + name + ": " + command
}

// onMember is a command that only a member can run: from a proxy, the first that answers.
func (l *Look) onMember(command string) string {
	if !l.Proxy || l.Cluster == nil {
		return command
	}
	for _, m := range l.Cluster.Members {
		if m.Silent == "" {
			return l.on(m.Name, command)
		}
	}
	return "on a member: " + command
}

func etcd(l *Look) (found []Finding) {
	if l.Cluster == nil {
		return nil
	}
	var sick, dead []string
	asked := 0
	for _, m := range l.Cluster.Members {
		if !m.Asked {
			continue
		}
		asked++
		if !m.Etcd {
			sick = append(sick, m.Name)
		}
		if !m.Etcd && !m.EtcdRuns {
			dead = append(dead, m.Name)
		}
	}
	if len(sick) > 0 {
		f := Finding{What: "etcd sees no quorum on " + strings.Join(sick, ", "), Why: fmt.Sprintf("it runs there, and does not reach the others; etcd as a whole works on with %d of %d", asked-len(sick), asked)}
		if len(dead) > 0 {
			f.What, f.Why = "etcd does not answer on "+strings.Join(dead, ", "), fmt.Sprintf("it does not run there, or the machine is off; etcd as a whole works on with %d of %d", asked-len(sick), asked)
		}
		if len(sick)*2 >= asked {
			f.What += ", and has no quorum"
			f.Why = "no more than half of its members are in touch: at best Patroni keeps the primary that there is, and it replaces none"
		}
		if len(dead) == 0 {
			dead = sick
		}
		for _, name := range dead {
			f.Mend = append(f.Mend, l.on(name, "systemctl restart etcd"))
		}
		found = append(found, f)
	}
	e := l.Etcd
	if e == nil {
		return found
	}
	etcdctl := l.Ports.Etcdctl()
	if len(e.Alarms) > 0 {
		found = append(found, Finding{
			What: "etcd has the alarm " + strings.Join(e.Alarms, ", "), Why: "it takes no writes any more, so no leader's lease is renewed",
			Mend: []string{etcdctl + " defrag --cluster", etcdctl + " alarm disarm"},
		})
	} else if e.Quota > 0 && e.Size > e.Quota/4*3 {
		found = append(found, Finding{
			What: fmt.Sprintf("etcd's database has %d MiB of %d", e.Size>>20, e.Quota>>20), Why: "at the quota it takes no writes any more, so no leader's lease is renewed",
			Mend: []string{etcdctl + " defrag --cluster"},
		})
	}
	for _, name := range e.Unknown {
		found = append(found, Finding{
			What: "etcd has a member that cluster.yaml does not list: " + name, Why: "it counts for the quorum, whether it lives or not",
			Mend: []string{l.onMember("pgha member remove " + name)},
		})
	}
	return found
}

// restoring is no fault. It is told since everything else is then to be left alone: the pause, who leads, and the replicas are its own.
func restoring(l *Look) []Finding {
	if l.Cluster == nil || l.Cluster.Restore == nil {
		return nil
	}
	r := l.Cluster.Restore
	f := Finding{
		What: fmt.Sprintf("%s takes the cluster back to %s, since %s, and is at %q", r.Machine, r.Moment, r.Since.UTC().Format("2006-01-02 15:04 UTC"), r.Step),
		Why:  "until that is over nobody else may start, stop, promote or pause anything",
		Mend: []string{l.on(r.Machine, "pgha restore    # where it stands, and how it goes on")},
	}
	if r.Error != "" {
		f.What = fmt.Sprintf("%s, which takes the cluster back to %s, has stopped at %q", r.Machine, r.Moment, r.Step)
		f.Why = r.Error
	}
	return []Finding{f}
}

func maintenance(l *Look) []Finding {
	c := l.Cluster
	if c == nil || c.Restore != nil {
		return nil
	}
	why := "Patroni replaces no primary and starts no PostgreSQL while it is paused"
	switch {
	case c.Forgotten:
		return []Finding{{What: fmt.Sprintf("a maintenance was forgotten: %s began it, and it should have ended at %s", c.MaintenanceBy, c.Until.UTC().Format("2006-01-02 15:04 UTC")), Why: why, Mend: []string{l.onMember("pgha maintenance off")}}}
	case c.Paused && !c.Announced:
		return []Finding{{What: "Patroni is paused, and nobody said for how long", Why: why + "; somebody ran patronictl pause", Mend: []string{l.onMember("pgha maintenance off")}}}
	case c.Announced && !c.Paused && slices.ContainsFunc(c.Members, func(m Member) bool { return m.Silent == "" }):
		return []Finding{{What: "a maintenance is announced by " + c.MaintenanceBy + ", and Patroni is not paused", Why: "somebody ran patronictl resume, or the pause did not reach it", Mend: []string{l.onMember("pgha maintenance off")}}}
	}
	return nil
}

func leader(l *Look) []Finding {
	c := l.Cluster
	if c == nil {
		return nil
	}
	var lead, silent []string
	quorum, asked := 0, 0
	systems := map[string]bool{}
	for _, m := range c.Members {
		switch {
		case m.Leads && m.Runs:
			lead = append(lead, m.Name)
		case m.Silent != "":
			silent = append(silent, m.Name)
		}
		if m.Asked {
			asked++
		}
		if m.Etcd {
			quorum++
		}
		if m.System != "" {
			systems[m.System] = true
		}
	}
	switch {
	case len(lead) == 1, len(lead) == 0 && c.Restore != nil:
		return nil
	case len(lead) > 1:
		f := Finding{
			What: strings.Join(lead, " and ") + " all say that they lead: split brain",
			Why:  "writes that only one of them has are lost to the other; stop whoever does not lead by etcd's word, and look at what it has before it is copied anew",
		}
		for _, name := range lead {
			if name != c.Holder {
				f.Mend = append(f.Mend, l.on(name, "systemctl stop patroni"), l.onMember("pgha reinit "+name+"    # started again, and once somebody has looked at what only it has"))
			}
		}
		if c.Holder == "" {
			f.Mend = append(f.Mend, "# etcd does not say who leads: keep the one that applications have written to, and stop the others only")
		}
		return []Finding{f}
	case asked > 0 && quorum == 0:
		return []Finding{{What: "no member leads", Why: "etcd has no quorum (above): without it Patroni cannot know that it is alone", Mend: []string{"pgha doctor    # once etcd is back"}}}
	case c.Paused:
		return []Finding{{What: "no member leads", Why: "Patroni is paused, and replaces none", Mend: []string{l.onMember("pgha maintenance off")}}}
	case len(systems) > 1:
		return []Finding{{What: "no member leads", Why: "the members have databases of different clusters: their system identifiers differ", Mend: []string{"pgha status", "pgha member set-aside postgres    # on the one whose data is not the cluster's"}}}
	}
	f := Finding{What: "no member leads", Why: "no member that answers may take over without loss; one that has every acknowledged write may be among those that are silent"}
	for _, name := range silent {
		f.Mend = append(f.Mend, l.on(name, "systemctl restart patroni"))
	}
	if len(silent) == 0 {
		f.Why = "every Patroni answers, and none takes the lead; the reason is in its journal"
		f.Mend = []string{"journalctl -b -n 30 -u patroni"}
	}
	return []Finding{f}
}

// lagMost is as HAProxy's read-only port has it.
const lagMost = 16 << 20

func replicas(l *Look) (found []Finding) {
	c := l.Cluster
	if c == nil || c.Restore != nil {
		return nil
	}
	system := ""
	for _, m := range c.Members {
		if m.Leads {
			system = m.System
		}
	}
	for _, m := range c.Members {
		f := Finding{}
		switch {
		case m.Silent != "" && m.Etcd:
			f.What, f.Why = "Patroni of "+m.Name+" does not answer", "the machine is up, for its etcd answers: Patroni does not run, or hangs ("+m.Silent+")"
			f.Mend = []string{l.on(m.Name, "systemctl restart patroni")}
		case m.Silent != "":
			f.What, f.Why = m.Name+" does not answer", "the machine is off, out of reach, or both etcd and Patroni are down there ("+m.Silent+")"
			f.Mend = []string{l.on(m.Name, "pgha doctor")}
		case m.Leads && m.Runs:
			continue
		case m.System != "" && system != "" && m.System != system:
			f.What, f.Why = m.Name+" has a database of another cluster", "its system identifier is "+m.System+", the primary's "+system
			f.Mend = []string{l.on(m.Name, "pgha member set-aside postgres")}
		case !m.Runs && strings.Contains(m.State, "failed") || m.State == "crashed":
			f.What, f.Why = fmt.Sprintf("PostgreSQL of %s does not start: %q", m.Name, m.State), "the reason is in its log; where its data is broken a new copy mends it"
			f.Mend = []string{l.on(m.Name, "journalctl -b -n 30 -u patroni"), l.onMember("pgha reinit " + m.Name)}
		case !m.Runs:
			f.What, f.Why = fmt.Sprintf("PostgreSQL of %s is %q", m.Name, m.State), "Patroni is at work on it, or waits for a primary"
			f.Mend = []string{l.on(m.Name, "journalctl -b -n 30 -u patroni")}
		case m.Streams != "" && system != "":
			f.What, f.Why = m.Streams, "the primary may have no WAL any more that it needs, or its history has parted from the primary's"
			f.Mend = []string{l.on(m.Name, "systemctl restart patroni"), l.onMember("pgha reinit " + m.Name + "    # when that does not help")}
		case m.Stopped:
			f.What, f.Why = m.Name+" does not replay what it receives", "somebody paused its replay: what is read there grows older, and its disk fills"
			f.Mend = []string{l.on(m.Name, l.Ports.Psql()+" -c 'SELECT pg_catalog.pg_wal_replay_resume()'")}
		case m.Lag > lagMost:
			f.What, f.Why = fmt.Sprintf("%s is %d MiB behind", m.Name, m.Lag>>20), "its disk or the network is slower than the primary writes, or it has just come back; HAProxy leads no reader there meanwhile"
			f.Mend = []string{"pgha doctor    # in a minute: when it is more then, look at the disk and the network of " + m.Name}
		default:
			continue
		}
		found = append(found, f)
	}
	return found
}

func synchronous(l *Look) []Finding {
	c := l.Cluster
	if c == nil || len(c.Confirm) >= c.ConfirmWant || !slices.ContainsFunc(c.Members, func(m Member) bool { return m.Leads && m.Runs }) {
		return nil
	}
	if len(c.Confirm) > 0 && len(replicas(l)) > 0 {
		return nil // it is that one
	}
	f := Finding{What: fmt.Sprintf("%d of %d replicas may take over without loss", len(c.Confirm), c.ConfirmWant), Why: "one more machine that is lost and nobody can take over", Mend: []string{"pgha status    # what is named above comes first; Patroni counts a replica that streams within seconds"}}
	if len(c.Confirm) == 0 {
		f.What, f.Why = "no replica may take over", "commits wait for nobody, or for ever: a primary that dies now is not replaced"
	}
	return []Finding{f}
}

func pending(l *Look) []Finding {
	if l.Cluster == nil {
		return nil
	}
	var names []string
	for _, m := range l.Cluster.Members {
		if m.Pending {
			names = append(names, m.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []Finding{{What: "a changed parameter waits for a restart of PostgreSQL on " + strings.Join(names, ", "), Why: "until then the old value counts", Mend: []string{l.onMember("pgha restart --pending")}}}
}

func proxy(l *Look) []Finding {
	if !l.Proxy {
		return nil
	}
	lead := ""
	if l.Cluster != nil {
		for _, m := range l.Cluster.Members {
			if m.Leads && m.Runs {
				lead = m.Name
			}
		}
	}
	switch {
	case slices.ContainsFunc(l.Units, func(u Unit) bool { return u.Name == "haproxy.service" && u.Active != "active" }):
		return nil // named already
	case l.HAProxy != "":
		return []Finding{{What: "HAProxy does not answer", Why: l.HAProxy, Mend: []string{"systemctl restart haproxy"}}}
	case len(l.Serves) > 1:
		return []Finding{{What: "HAProxy leads writers to " + strings.Join(l.Serves, " and "), Why: "more than one member says that it leads, or has just done so", Mend: []string{"on a member: pgha doctor"}}}
	case len(l.Serves) == 0 && lead != "":
		return []Finding{{What: "HAProxy finds no primary, though " + lead + " leads", Why: "its checks do not get through: its configuration or its certificates are old", Mend: []string{"pgha apply", "systemctl restart haproxy"}}}
	case len(l.Serves) == 0:
		return []Finding{{What: "HAProxy finds no primary", Why: "no member that answers leads", Mend: []string{"on a member: pgha doctor"}}}
	case lead != "" && l.Serves[0] != lead:
		return []Finding{{What: fmt.Sprintf("HAProxy leads writers to %s, and %s leads", l.Serves[0], lead), Why: "it has just changed, or two members say that they lead", Mend: []string{"on a member: pgha doctor"}}}
	}
	return nil
}
