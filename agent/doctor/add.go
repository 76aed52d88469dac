package doctor

import (
	"cmp"

	"github.com/pgbake/pgbake/cluster"
)

// Add takes over what a part of the look has filled in.
func (l *Look) Add(part *Look) {
	l.Open = append(l.Open, part.Open...)
	l.Changed = append(l.Changed, part.Changed...)
	l.Units = append(l.Units, part.Units...)
	l.Disks = append(l.Disks, part.Disks...)
	l.Packages = append(l.Packages, part.Packages...)
	l.Certificates = append(l.Certificates, part.Certificates...)
	l.Stray = append(l.Stray, part.Stray...)
	l.Settings = append(l.Settings, part.Settings...)
	l.Parameters = append(l.Parameters, part.Parameters...)
	l.Serves = append(l.Serves, part.Serves...)
	l.Unfiltered = l.Unfiltered || part.Unfiltered
	l.LastWords, l.LastHint = cmp.Or(l.LastWords, part.LastWords), cmp.Or(l.LastHint, part.LastHint)
	l.HAProxy, l.Refused = cmp.Or(l.HAProxy, part.HAProxy), cmp.Or(l.Refused, part.Refused)
	if part.Offsets != nil {
		l.Offsets = part.Offsets
	}
	if part.Cluster != nil {
		l.Cluster = part.Cluster
	}
	if part.Patroni != nil {
		l.Patroni = part.Patroni
	}
	if part.Etcd != nil {
		l.Etcd = part.Etcd
	}
	if part.Archive != nil {
		l.Archive = part.Archive
	}
	if part.Database != nil {
		l.Database = part.Database
	}
}

// Connect draws what follows from several parts together.
func (l *Look) Connect() {
	for _, u := range l.Units {
		if u.Name == "patroni.service" && l.Database != nil && (u.Active == "inactive" || u.Active == "failed") {
			l.Orphan = l.Cluster == nil || !l.Cluster.Paused
		}
	}
	if l.Database == nil || l.Cluster == nil {
		return
	}
	for i := range l.Database.Slots {
		for _, m := range l.Cluster.Members {
			if l.Database.Slots[i].Name == cluster.SlotOf(m.Name) {
				l.Database.Slots[i].Member = m.Name
			}
		}
	}
}
