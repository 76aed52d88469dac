package monitor

import (
	"slices"
	"strings"

	"github.com/pgbake/pgbake/cluster"
)

// check is one thing to look at. Checks stand alone, and stay silent about what another one says better.
type check struct {
	name string
	run  func(*Seen, *Verdict)
}

// checks in the order in which a person would look.
var checks = []check{
	{"machines", machines},
	{"leaders", leaders},
	{"etcd", etcd},
	{"members", members},
	{"replication", replication},
	{"slots", slots},
	{"elsewhere", elsewhere},
	{"transactions", transactions},
	{"proxies", proxies},
	{"disks", disks},
	{"certificates", certificates},
	{"clocks", clocks},
	{"backups", backups},
	{"archiving", archiving},
	{"units", units},
	{"updates", updates},
	{"maintenance", maintenance},
}

// Judge says what is wrong. It is a pure function of what was seen.
func Judge(s *Seen) *Verdict {
	v := &Verdict{self: s.Self, blind: map[string]bool{}, machines: map[string]bool{}}
	_, led := s.Leader()
	others := 0
	for _, m := range s.Machines {
		v.machines[m.Name] = true
		v.blind[m.Name+" "+string(fromReport)] = !m.Watched() || len(m.Report.Unasked) > 0
		v.blind[m.Name+" "+string(fromPatroni)] = m.Patroni == nil
		v.blind[m.Name+" "+string(fromRoutes)] = m.Routes == nil
		v.blind[m.Name+" "+string(fromLeader)] = !led || m.Patroni == nil
		if m.Name != s.Self && !m.Silent() {
			others++
		}
	}
	v.blind[" "+string(fromLeader)] = !led
	archived := s.archive()
	v.blind[" "+string(fromArchive)] = archived == nil
	v.blind[" "+string(fromRepository)] = s.Repository && (archived == nil || archived.Repository == nil)
	v.blind[" "+string(fromHorizon)] = s.horizon() == nil
	v.blind[" "+string(fromElsewhere)] = s.Follows != "" && s.elsewhere() == nil
	if len(s.Machines) > 1 && others == 0 {
		v.alone = true
		v.say("alone/"+s.Self, s.Self, Critical, soon,
			s.Self+" sees no other machine of the cluster: none of "+strings.Join(s.others(), ", ")+" answers",
			"its network, or theirs: `ip -br address` and `ping` there; what the rest of the cluster does, the others say, when they can")
		s = s.only(s.Self)
	}
	for _, c := range checks {
		if v.alone && c.name == "leaders" {
			continue
		}
		c.run(s, v)
	}
	return v
}

func (s *Seen) others() (names []string) {
	for _, m := range s.Machines {
		if m.Name != s.Self {
			names = append(names, m.Name)
		}
	}
	return names
}

// only is what was seen of one machine.
func (s *Seen) only(name string) *Seen {
	one := *s
	one.Machines = slices.DeleteFunc(slices.Clone(s.Machines), func(m Machine) bool { return m.Name != name })
	one.Synchronous, one.Backups = false, false
	return &one
}

// of are the machines of a role.
func (s *Seen) of(r cluster.Role) (list []Machine) {
	for _, m := range s.Machines {
		if m.Role == r {
			list = append(list, m)
		}
	}
	return list
}

func named(list []Machine) string {
	var names []string
	for _, m := range list {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}

// machines looks for those that cannot be asked: that is an alert, too.
func machines(s *Seen, v *Verdict) {
	for _, m := range s.Machines {
		switch {
		case m.Silent() && m.Name != s.Self:
			v.of("silent", m, Critical, soon, "is it on, and its network up? `pgha status` on it says what it sees",
				"%s (%s) does not answer at all, seen from %s", m.Name, m.Address, s.Self)
		case m.Door != "":
			v.of("agent", m, Warning, soon, "on "+m.Name+": systemctl status pgha-follow.service",
				"the agent of %s does not answer: %s", m.Name, m.Door)
		case !m.Watched():
			v.of("monitor", m, Warning, patient, "on "+m.Name+": systemctl status pgha-monitor.service; what only it can see, such as its disks, nobody watches",
				"the monitor of %s does not run", m.Name)
		}
	}
}

// leaders asks every member, not only what etcd holds.
func leaders(s *Seen, v *Verdict) {
	var lead, asked []Machine
	for _, m := range s.of(cluster.DB) {
		if m.Patroni != nil {
			asked = append(asked, m)
		}
		if m.Leads() {
			lead = append(lead, m)
		}
	}
	follows := slices.ContainsFunc(asked, func(m Machine) bool { return m.Patroni.Role == StandbyLeader })
	switch {
	case s.Follows != "" && len(lead) == 0 && follows: // as it was told to
	case s.Follows != "" && len(lead) == 0 && len(asked) > 0:
		v.all("leader", Critical, soon, "`journalctl -u patroni` on a member says why; `pgha status` there what is waited for",
			"no member streams from the primary at %s, which the cluster follows", s.Follows)
	case len(lead) > 1:
		v.all("leaders", Critical, 1, "writes may go both ways. On a member `"+cluster.Patronictl+" list` says which one etcd has as its leader; on the other one, and only there: systemctl stop patroni, then look whether PostgreSQL is gone; keep its data",
			"%d members say that they are the primary: %s", len(lead), named(lead))
	case len(lead) == 0 && len(asked) == 0:
		v.all("leader", Critical, soon, "is it this machine that is cut off? `pgha status` on another one tells", "no member can be asked whether it is the primary, seen from %s", s.Self)
	case len(lead) == 0:
		v.all("leader", Critical, soon, "nobody can write. `pgha status` on a member says what is waited for; `journalctl -u patroni` there says why nobody takes over",
			"no member is the primary; those that answer: %s", named(asked))
	}
}

func etcd(s *Seen, v *Verdict) {
	var healthy, unknown []Machine
	all := s.of(cluster.DB)
	for _, m := range all {
		switch {
		case m.Etcd == nil:
			unknown = append(unknown, m)
		case m.Etcd.Healthy:
			healthy = append(healthy, m)
		}
	}
	switch {
	case len(all) == 0:
	case len(unknown) == len(all):
		v.all("etcd-quorum", Critical, soon, "on a member: systemctl status etcd pgha-monitor", "etcd cannot be asked anywhere, seen from %s", s.Self)
	case len(healthy) == 0:
		v.all("etcd-quorum", Critical, soon, "the primary goes on while it can, but nobody could replace it. On each member: systemctl status etcd",
			"etcd has no quorum: no member sees one%s", among(unknown))
	default:
		for _, m := range all {
			if m.Etcd != nil && !m.Etcd.Healthy || m.Etcd == nil && !m.Silent() && m.Door == "" {
				v.of("etcd", m, Warning, soon, "on "+m.Name+": systemctl status etcd; journalctl -u etcd", "etcd of %s is not healthy", m.Name)
			}
		}
	}
	for _, m := range all {
		if m.Etcd != nil && len(m.Etcd.Alarms) > 0 {
			v.of("etcd-alarm", m, Critical, soon, "when it is NOSPACE nothing can be written any more. On "+m.Name+": "+s.Ports.Etcdctl()+" defrag --cluster; then: "+s.Ports.Etcdctl()+" alarm disarm",
				"etcd of %s complains: %s", m.Name, strings.Join(m.Etcd.Alarms, "; "))
		} else if m.Etcd != nil && m.Etcd.Size > cluster.EtcdQuota/4*3 {
			v.of("etcd-size", m, Warning, soon, "before it is full; one member after the other, for it does not answer meanwhile. On "+m.Name+": "+s.Ports.Etcdctl()+" defrag",
				"etcd's database of %s has %s of %s: when it is full nothing can be written any more", m.Name, Bytes(m.Etcd.Size), Bytes(cluster.EtcdQuota))
		}
	}
}

func among(unknown []Machine) string {
	if len(unknown) == 0 {
		return ""
	}
	return "; not asked: " + named(unknown)
}

// members looks at each PostgreSQL.
func members(s *Seen, v *Verdict) {
	leader, led := s.Leader()
	for _, m := range s.of(cluster.DB) {
		switch {
		case m.Silent():
		case m.Patroni == nil:
			v.of("patroni", m, Critical, soon, "on "+m.Name+": systemctl status patroni; journalctl -u patroni", "Patroni of %s does not answer: %s", m.Name, m.NoPatroni)
		case !m.Runs():
			v.of("postgres", m, Critical, patient, "on "+m.Name+": journalctl -u patroni; a replica that cannot go on: pgha reinit "+m.Name,
				"PostgreSQL of %s is %q as %s", m.Name, m.Patroni.State, m.Patroni.Role)
		}
		if m.Watched() && m.Report.Recopied != nil {
			r := m.Report.Recopied
			v.of("recopied", m, Warning, 1, "is its disk in order? When nothing of that data is needed, on "+m.Name+": rm -r "+r.Aside,
				"PostgreSQL of %s could not go on with its data (%s), which was set aside at %s; the primary's was copied in its place", m.Name, r.Why, r.At.UTC().Format("2006-01-02 15:04 UTC"))
		}
		if m.Watched() && !m.Report.Roles.IsZero() && led && m.Name != leader.Name {
			v.of("roles", m, Warning, slow, "give "+leader.Name+" the seed that "+m.Name+" has, and there: pgha apply",
				"users, databases or passwords that %s was told of at %s are not made: the primary, %s, was not told", m.Name, m.Report.Roles.UTC().Format("2006-01-02 15:04 UTC"), leader.Name)
		}
	}
}

// maintenance is what somebody may have forgotten.
func maintenance(s *Seen, v *Verdict) {
	m, led := s.Leader()
	switch paused := led && m.Patroni.Paused; {
	case s.RestoreFailed != "":
		v.all("restore", Critical, 1, "on the machine that is named: pgha restore", "a restore has stopped: %s", s.Restore)
	case s.Restore != "":
		v.all("restore", Warning, hour, "on the machine that is named: pgha restore", "a restore is at work: %s", s.Restore)
	case !s.Maintenance.IsZero() && s.At.After(s.Maintenance.Add(forgotten)):
		v.all("maintenance", Warning, 1, "pgha maintenance off", "maintenance was forgotten: it should have ended %s ago, and a primary that dies is not replaced", Span(s.At.Sub(s.Maintenance)))
	case paused && s.Maintenance.IsZero():
		v.all("paused", Warning, hour, "when the work is done: pgha maintenance off", "Patroni is paused, and nobody said for how long: a primary that dies is not replaced")
	}
}
