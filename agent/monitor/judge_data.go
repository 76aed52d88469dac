package monitor

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

func replication(s *Seen, v *Verdict) {
	leader, ok := s.Leader()
	if !ok {
		return
	}
	for _, m := range s.of(cluster.DB) {
		if m.Name == leader.Name || !m.Runs() {
			continue
		}
		if !slices.Contains(leader.Patroni.Streams, m.Name) {
			v.of("streaming", m, Warning, patient, "on "+m.Name+": journalctl -u patroni, and PostgreSQL's log", "%s does not stream from %s, the primary", m.Name, leader.Name)
		}
		bytes, behind, known := s.Lag(m)
		if known && (bytes > lagBytes || behind > lagTime && bytes > 0) {
			v.of("lag", m, Warning, patient, "a long query there, a slow disk or network? A replica that is far behind is not promoted",
				"%s is behind %s by %s, %s", m.Name, leader.Name, Bytes(bytes), Span(behind))
		}
	}
	if s.Synchronous && len(s.Confirm) == 0 {
		v.all("sync", Critical, patient, "replicas must run and stream: `pgha status`", "no replica confirms writes: if %s died now, nobody would take over", leader.Name)
	}
}

func slots(s *Seen, v *Verdict) {
	for _, m := range s.of(cluster.DB) {
		if !m.Watched() {
			continue
		}
		for _, slot := range m.Report.Slots {
			key, drop := "slot/"+m.Name+"/"+slot.Name, "when its owner is gone for good, on "+m.Name+": "+s.Ports.Psql()+" -c \"SELECT pg_catalog.pg_drop_replication_slot('"+slot.Name+"')\""
			switch {
			case slot.Lost:
				v.say(key, m.Name, Warning, soon, "replication slot "+slot.Name+" on "+m.Name+" has lost WAL that its owner needs", drop+"; a member: pgha reinit NODE")
			case !slot.Active && slot.Retained > idleSlot:
				v.say(key, m.Name, Warning, soon, "replication slot "+slot.Name+" on "+m.Name+" holds back "+Bytes(slot.Retained)+" of WAL, and nobody reads it", drop)
			case slot.Retained > activeSlot:
				v.say(key, m.Name, Warning, patient, "replication slot "+slot.Name+" on "+m.Name+" holds back "+Bytes(slot.Retained)+" of WAL", "its reader is slow; see `pgha status`")
			}
		}
	}
}

func proxies(s *Seen, v *Verdict) {
	leader, led := s.Leader()
	for _, m := range s.of(cluster.Proxy) {
		if m.Door != "" {
			continue
		}
		seeLog := "on " + m.Name + ": journalctl -u haproxy"
		switch r := m.Routes; {
		case r == nil:
			v.of("haproxy", m, Critical, soon, "on "+m.Name+": systemctl status haproxy", "HAProxy of %s does not answer: %s", m.Name, m.NoRoutes)
		case len(r.ReadWrite) == 0 && s.Follows != "": // there is nobody to write to
		case len(r.ReadWrite) == 0:
			v.of("haproxy-read-write", m, Critical, soon, seeLog, "%s leads writers nowhere", m.Name)
		case len(r.ReadWrite) > 1:
			v.of("haproxy-read-write", m, Critical, soon, seeLog, "%s leads writers to more than one member: %v", m.Name, r.ReadWrite)
		case led && r.ReadWrite[0] != leader.Name:
			v.of("haproxy-read-write", m, Critical, soon, seeLog, "%s leads writers to %s, and the primary is %s", m.Name, r.ReadWrite[0], leader.Name)
		}
		if r := m.Routes; r != nil && len(r.ReadOnly) == 0 && len(s.of(cluster.DB)) > 1 {
			v.of("haproxy-read-only", m, Warning, patient, "replicas that run and are not far behind take readers: `pgha status`", "%s leads readers to no replica; they read from the primary", m.Name)
		}
	}
	virtual(s, v)
}

// virtual looks for who has the virtual address, where all proxies say.
func virtual(s *Seen, v *Verdict) {
	holders := 0
	for _, m := range s.of(cluster.Proxy) {
		if m.Routes == nil {
			return
		}
		if m.Routes.Holds != "" {
			holders++
		}
	}
	switch {
	case s.VirtualAddress == "":
	case holders == 0:
		v.all("virtual-address", Critical, soon, "on the proxies: journalctl -u keepalived", "no proxy has the virtual address %s", s.VirtualAddress)
	case holders > 1:
		v.all("virtual-address", Critical, soon, "they do not hear each other: journalctl -u keepalived, and VRRP between them in the firewall", "%d proxies have the virtual address %s at the same time", holders, s.VirtualAddress)
	}
}

func disks(s *Seen, v *Verdict) {
	for _, m := range s.Machines {
		if !m.Watched() {
			continue
		}
		for _, d := range m.Report.Disks {
			key, text := "disk/"+m.Name+d.Path, m.Name+": "+d.Path+" is "+Percent(d.Used())+" full, "+Bytes(d.Free)+" are left"
			filling := d.Hours > 0 && d.Used() > fills
			if filling && d.Hours < hoursWarning {
				text += ", full in " + Span(time.Duration(d.Hours*float64(time.Hour)))
			}
			const hint = "what has grown? du -xh --max-depth=3, and WAL that a slot holds back: `pgha status`. A full disk stops PostgreSQL"
			switch {
			case d.Used() >= diskCritical || filling && d.Hours < hoursCritical:
				v.say(key, m.Name, Critical, soon, text, hint)
			case d.Used() >= diskWarning || filling && d.Hours < hoursWarning:
				v.say(key, m.Name, Warning, soon, text, hint)
			}
		}
	}
}

// RenewHint says how certificates are renewed.
const RenewHint = "where pgbake was run: `pgbake seed`, which renews it for the key that the machine has; then, on any member: pgha spec accept generation.json"

func certificates(s *Seen, v *Verdict) {
	for _, m := range s.Machines {
		if m.Trust == nil {
			continue
		}
		t, left := m.Trust, m.Trust.To.Sub(s.At)
		switch {
		case left < 0:
			v.of("certificate", m, Critical, soon, RenewHint, "%s of %s ended on %s", t.First, m.Name, t.To.Format(time.DateOnly))
		case left < certificateCritical:
			v.of("certificate", m, Critical, soon, RenewHint, "%s of %s ends in %s, on %s", t.First, m.Name, Span(left), t.To.Format(time.DateOnly))
		case left < certificateWarning:
			v.of("certificate", m, Warning, soon, RenewHint, "%s of %s ends in %s, on %s", t.First, m.Name, Span(left), t.To.Format(time.DateOnly))
		}
	}
}

// clocks compares them with the time servers and with each other.
func clocks(s *Seen, v *Verdict) {
	var alone []Machine
	for _, m := range s.Machines {
		if m.Watched() && m.Report.Clock != nil {
			offset := time.Duration(m.Report.Clock.Offset * float64(time.Second)).Abs()
			switch {
			case !m.Report.Clock.Synchronised:
				alone = append(alone, m)
			case offset > clockOffset:
				v.of("clock-offset", m, Warning, patient, "on "+m.Name+": chronyc tracking; chronyc sources", "the clock of %s is %s off", m.Name, Span(offset))
			}
		}
		if m.Timed && m.Skew.Abs() > clockSkew {
			v.of("clock-skew", m, Warning, patient, "chronyc tracking, on both", "the clocks of %s and %s differ by %s", m.Name, s.Self, Span(m.Skew.Abs()))
		}
	}
	if len(alone) > 0 {
		v.all("clock-source", Warning, slow, "time_servers in cluster.yaml names others; on one of them: chronyc sources", "no time server answers: the clocks of %s run by themselves", named(alone))
	}
}

func backups(s *Seen, v *Verdict) {
	n := s.Newest()
	const look = "on the members: pgha status; journalctl -u 'pgha-backup*'"
	switch b := n.Backup; {
	case !s.Backups:
	case b == nil && s.At.Sub(s.Since) > BackupAge:
		v.all("backup", Critical, soon, look, "no backup was taken since %s", s.Since.UTC().Format("2006-01-02 15:04 UTC"))
	case b == nil:
	case b.Error != "":
		v.all("backup", Critical, soon, look, "the last backup failed on %s at %s: %s", b.Machine, b.At.UTC().Format("2006-01-02 15:04 UTC"), b.Error)
	case s.At.Sub(b.At) > BackupAge:
		v.all("backup", Critical, soon, look, "the last backup is %s old", Span(s.At.Sub(b.At)))
	}
	switch p := n.Proof; {
	case p == nil || !s.Backups:
	case p.Error != "":
		v.all("proof", Critical, soon, look, "the backup %s cannot be restored: %s", p.Backup, p.Error)
	case s.At.Sub(p.At) > ProofAge:
		v.all("proof", Warning, soon, look, "the last restore that was proven is %s old", Span(s.At.Sub(p.At)))
	}
}

// archiving looks at the way of the primary's WAL into its archive, and at what the repository lacks of it.
func archiving(s *Seen, v *Verdict) {
	a := s.archive()
	if a == nil {
		return
	}
	leader, _ := s.Leader()
	waits := Span(time.Duration(a.WaitingSeconds * float64(time.Second)))
	waiting := strconv.Itoa(a.Waiting) + " files, " + Bytes(a.WaitingBytes) + ", wait, the first of them for " + waits
	const meanwhile = ". PostgreSQL keeps what waits; above archive-push-queue-max pgBackRest gives up the oldest, and the archive has a hole"
	switch {
	case a.Fails != "":
		v.all("archive", Critical, patient, "is the repository there, does it answer, has it room? On "+leader.Name+": pgha backup list; journalctl -b -u patroni --grep archive -n 20"+meanwhile,
			"WAL is not archived: archive_command fails on %s with %s; %s", leader.Name, a.Fails, waiting)
	case a.IsLate() && a.Hangs:
		v.all("archive", Critical, patient, "does the repository's file system or server answer? On "+leader.Name+": ps -C pgbackrest -o pid,etime,stat,args; when it does, end one that hangs, and PostgreSQL tries again. "+
			"While it hangs nothing limits the WAL: it fills the disk",
			"WAL is not archived: archive_command on %s neither ends nor fails; %s", leader.Name, waiting)
	case a.IsLate():
		v.all("archive", Warning, patient, "the network to the repository or its disk are slower than the primary writes, or it has just come back"+meanwhile,
			"WAL is archived late on %s: %s", leader.Name, waiting)
	}
	switch r := a.Repository; {
	case r == nil:
	case r.Error != "":
		v.all("archive-unread", Warning, patient, "on "+leader.Name+": pgha backup list", "the repository cannot be read on %s: %s", leader.Name, r.Error)
	case r.Hole != nil:
		text := "the archive has a hole: " + strconv.Itoa(r.Hole.Segments) + " segments of WAL are not in the repository, the first one " + r.Hole.First + ", the last one " + r.Hole.Last
		if r.Hole.Reach.IsZero() {
			text += "; from " + r.Backup + " no later moment can be restored"
		} else {
			text += "; no moment after " + r.Hole.Reach.UTC().Format("2006-01-02 15:04:05 UTC") + " can be restored"
		}
		v.all("archive-hole", Critical, patient, "at once, on "+leader.Name+": pgha backup; every moment after its end can be restored again. What is between is lost, unless the machine that led before brings it when it is back", "%s", text)
	}
}

// ours are the units that a machine of a cluster lives by.
var ours = []string{"etcd.service", "patroni.service", "haproxy.service", "keepalived.service", "pgha-"}

// units are the failed ones, and what else a machine could not ask.
func units(s *Seen, v *Verdict) {
	for _, m := range s.Machines {
		if !m.Watched() {
			continue
		}
		for _, u := range m.Report.Failed {
			severity := Warning
			if slices.ContainsFunc(ours, func(o string) bool { return strings.HasPrefix(u, o) }) {
				severity = Critical
			}
			v.say("unit/"+m.Name+"/"+u, m.Name, severity, soon, u+" of "+m.Name+" has failed", "on "+m.Name+": systemctl status "+u)
		}
		for _, what := range slices.Sorted(maps.Keys(m.Report.Unasked)) {
			why := m.Report.Unasked[what]
			v.say("unasked/"+m.Name+"/"+what, m.Name, Warning, patient, what+" on "+m.Name+" cannot be asked: "+why, "")
		}
	}
}

// updates looks for security updates that nobody installs, and for machines that cannot hear of them. `pgha upgrade` asks the
// archives first, and says what is wrong with them.
func updates(s *Seen, v *Verdict) {
	for _, m := range s.Machines {
		if !m.Watched() {
			continue
		}
		if late := m.Report.Updates.Late(s.At); late != "" {
			v.of("updates", m, Warning, 1,
				"on one machine after the other, "+m.Name+" among them: pgha upgrade --all; one that is to have no archives: systemctl mask --now pgha-updates.timer; rm /var/lib/pgha/updates.json", "%s: %s", m.Name, late)
		}
	}
}
