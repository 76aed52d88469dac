package monitor

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/horizon"
	"github.com/pgbake/pgbake/cluster"
)

// Self is what a monitor says of itself.
type Self struct {
	// Sends tells that it is this machine that tells of alerts.
	Sends bool
	// Took is how long the look took.
	Took time.Duration
}

// metric is one family of Prometheus' text: every sample of it stands together, below its help.
type metric struct {
	name, help string
	samples    []string
}

// exposition is Prometheus' text in the making.
// https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
type exposition struct{ families []*metric }

func (e *exposition) family(name, help string) *metric {
	m := &metric{name: "pgha_" + name, help: help}
	e.families = append(e.families, m)
	return m
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// add takes labels as name, value, name, value …
func (m *metric) add(value float64, labels ...string) {
	var pairs []string
	for i := 0; i+1 < len(labels); i += 2 {
		pairs = append(pairs, labels[i]+`="`+labelEscapes.Replace(labels[i+1])+`"`)
	}
	text := m.name
	if pairs != nil {
		text += "{" + strings.Join(pairs, ",") + "}"
	}
	m.samples = append(m.samples, text+" "+strconv.FormatFloat(value, 'f', -1, 64))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// Metrics is the last look as Prometheus reads it. Every machine shows the whole cluster as it sees it: the label machine
// is what a sample is about, Prometheus' own label instance who says so. What is not known has no sample.
func Metrics(s *Seen, v *Verdict, state State, self Self) []byte {
	var e exposition
	e.machines(s)
	e.members(s)
	e.reports(s)
	e.proxies(s)
	e.backups(s)
	e.archive(s)
	e.horizon(s)
	e.alerts(s, v, state, self)
	var b bytes.Buffer
	for _, m := range e.families {
		if len(m.samples) == 0 {
			continue
		}
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n%s\n", m.name, m.help, m.name, strings.Join(m.samples, "\n"))
	}
	return b.Bytes()
}

func (e *exposition) machines(s *Seen) {
	up, watched := e.family("agent_up", "Whether the machine's agent answers."), e.family("monitor_up", "Whether the machine's monitor runs.")
	skew := e.family("clock_skew_seconds", "How far the machine's clock is ahead of the one that says so.")
	end := e.family("certificate_end_timestamp_seconds", "When the first of the machine's certificates ends.")
	for _, m := range s.Machines {
		up.add(truth(m.Door == ""), "machine", m.Name, "role", string(m.Role))
		watched.add(truth(m.Watched()), "machine", m.Name)
		if m.Timed {
			skew.add(m.Skew.Seconds(), "machine", m.Name)
		}
		if m.Trust != nil {
			end.add(seconds(m.Trust.To), "machine", m.Name, "certificate", m.Trust.First)
		}
	}
}

func (e *exposition) members(s *Seen) {
	patroni, running := e.family("patroni_up", "Whether Patroni answers."), e.family("postgres_running", "Whether PostgreSQL serves.")
	primary, timeline := e.family("postgres_primary", "Whether the member says that it is the primary."), e.family("postgres_timeline", "PostgreSQL's timeline.")
	position := e.family("wal_position_bytes", "The primary's position in the WAL, or how far a replica has replayed it.")
	lagBytes := e.family("replication_lag_bytes", "WAL of the primary that the replica has not replayed.")
	lagSeconds := e.family("replication_lag_seconds", "Age of the last transaction that the replica has replayed; 0 where nothing is missing.")
	streaming := e.family("replication_streaming", "Whether the primary streams to the replica.")
	confirms := e.family("replication_confirms", "Whether the replica may confirm writes.")
	healthy, leads := e.family("etcd_healthy", "Whether the member's etcd sees a quorum."), e.family("etcd_leader", "Whether the member's etcd leads.")
	size, quota := e.family("etcd_size_bytes", "Size of etcd's database."), e.family("etcd_quota_bytes", "What it may have; above it etcd takes no writes.")
	e.family("synchronous", "Whether writes are to be confirmed by a replica.").add(truth(s.Synchronous))
	leader, led := s.Leader()
	for _, m := range s.of(cluster.DB) {
		patroni.add(truth(m.Patroni != nil), "machine", m.Name)
		running.add(truth(m.Runs()), "machine", m.Name)
		primary.add(truth(m.Leads()), "machine", m.Name)
		if m.Patroni != nil {
			timeline.add(float64(m.Patroni.Timeline), "machine", m.Name)
			if m.Patroni.Location > 0 {
				position.add(float64(m.Patroni.Location), "machine", m.Name)
			}
		}
		if bytes, behind, ok := s.Lag(m); ok {
			lagBytes.add(float64(bytes), "machine", m.Name)
			lagSeconds.add(behind.Seconds(), "machine", m.Name)
		}
		if led && m.Name != leader.Name {
			streaming.add(truth(slices.Contains(leader.Patroni.Streams, m.Name)), "machine", m.Name)
			confirms.add(truth(slices.Contains(s.Confirm, m.Name)), "machine", m.Name)
		}
		if m.Etcd != nil {
			healthy.add(truth(m.Etcd.Healthy), "machine", m.Name)
			leads.add(truth(s.EtcdLeader() == m.Name), "machine", m.Name)
			if m.Etcd.Size > 0 {
				size.add(float64(m.Etcd.Size), "machine", m.Name)
				quota.add(float64(cluster.EtcdQuota), "machine", m.Name)
			}
		}
	}
}

func (e *exposition) reports(s *Seen) {
	total, free := e.family("disk_total_bytes", "Size of a file system, without what only root may use."), e.family("disk_free_bytes", "What is free of it.")
	left := e.family("disk_left_seconds", "How long until it is full, if it goes on like the last hours; absent while it does not fill.")
	failed := e.family("failed_units", "Number of systemd's failed units.")
	offset, synchronised := e.family("clock_offset_seconds", "How far the clock is from the time servers'."), e.family("clock_synchronised", "Whether a time server answers.")
	retained, active := e.family("slot_retained_bytes", "WAL that a replication slot holds back."), e.family("slot_active", "Whether anybody reads from the slot.")
	fixes := e.family("security_updates", "Number of packages with a security update that is not installed, as their archives said last.")
	since := e.family("security_updates_since_timestamp_seconds", "When the first of them was seen.")
	cpu := e.family("look_cpu_seconds", "Processor time of one look of the machine's monitor, on average, programs included.")
	for _, m := range s.Machines {
		if !m.Watched() {
			continue
		}
		r := m.Report
		for _, d := range r.Disks {
			total.add(float64(d.Total), "machine", m.Name, "path", d.Path)
			free.add(float64(d.Free), "machine", m.Name, "path", d.Path)
			if d.Hours > 0 {
				left.add(d.Hours*3600, "machine", m.Name, "path", d.Path)
			}
		}
		failed.add(float64(len(r.Failed)), "machine", m.Name)
		if r.Clock != nil {
			offset.add(r.Clock.Offset, "machine", m.Name)
			synchronised.add(truth(r.Clock.Synchronised), "machine", m.Name)
		}
		for _, slot := range r.Slots {
			retained.add(float64(slot.Retained), "machine", m.Name, "slot", slot.Name)
			active.add(truth(slot.Active), "machine", m.Name, "slot", slot.Name)
		}
		if r.Updates != nil {
			fixes.add(float64(r.Updates.Waiting), "machine", m.Name)
			if r.Updates.Waiting > 0 {
				since.add(seconds(r.Updates.Since), "machine", m.Name)
			}
		}
		cpu.add(r.CPU, "machine", m.Name)
	}
}

func (e *exposition) proxies(s *Seen) {
	up, servers := e.family("haproxy_up", "Whether HAProxy answers."), e.family("proxy_servers", "Number of members that a proxy's port leads to.")
	to := e.family("proxy_leads_to", "1 for each member that a proxy's port leads to.")
	holds := e.family("proxy_holds_virtual_address", "Whether the virtual address is on this proxy.")
	for _, m := range s.of(cluster.Proxy) {
		if m.Door != "" {
			continue
		}
		up.add(truth(m.Routes != nil), "machine", m.Name)
		if m.Routes == nil {
			continue
		}
		for _, port := range []struct {
			name    string
			members []string
		}{{"read_write", m.Routes.ReadWrite}, {"read_only", m.Routes.ReadOnly}} {
			servers.add(float64(len(port.members)), "machine", m.Name, "port", port.name)
			for _, member := range port.members {
				to.add(1, "machine", m.Name, "port", port.name, "member", member)
			}
		}
		if s.VirtualAddress != "" {
			holds.add(truth(m.Routes.Holds != ""), "machine", m.Name)
		}
	}
}

func (e *exposition) backups(s *Seen) {
	at, size := e.family("backup_timestamp_seconds", "When the last backup was tried."), e.family("backup_size_bytes", "Size of the last backup.")
	failed := e.family("backup_failed", "Whether the last backup failed.")
	proof, unproven := e.family("backup_proof_timestamp_seconds", "When a backup was last restored for proof."), e.family("backup_proof_failed", "Whether that failed.")
	n := s.Newest()
	if b := n.Backup; b != nil {
		at.add(seconds(b.At), "machine", b.Machine)
		size.add(float64(b.Bytes), "machine", b.Machine)
		failed.add(truth(b.Error != ""), "machine", b.Machine)
	}
	if p := n.Proof; p != nil {
		proof.add(seconds(p.At))
		unproven.add(truth(p.Error != ""))
	}
}

func (e *exposition) archive(s *Seen) {
	failing := e.family("archive_failing", "Whether archive_command of the primary failed, and has archived nothing since.")
	waiting, waits := e.family("archive_waiting_bytes", "WAL that waits to be archived on the primary."), e.family("archive_waiting_seconds", "How long the first of it has waited; 0 when none does.")
	missing := e.family("archive_missing_segments", "Number of segments of WAL behind the newest backup that the repository lacks.")
	unread := e.family("repository_unread", "Whether the repository could not be read.")
	a := s.archive()
	if a == nil {
		return
	}
	leader, _ := s.Leader()
	failing.add(truth(a.Fails != ""), "machine", leader.Name)
	waiting.add(float64(a.WaitingBytes), "machine", leader.Name)
	waits.add(a.WaitingSeconds, "machine", leader.Name)
	r := a.Repository
	if r == nil {
		return
	}
	unread.add(truth(r.Error != ""), "machine", leader.Name)
	switch {
	case r.Hole != nil:
		missing.add(float64(r.Hole.Segments), "machine", leader.Name)
	case r.Backup != "":
		missing.add(0, "machine", leader.Name)
	}
}

func (e *exposition) horizon(s *Seen) {
	age := e.family("transaction_id_age", "Age of the oldest transaction or multixact id of all databases, in transactions.")
	limit := e.family("transaction_id_age_limit", "Age from which on autovacuum does not keep up (warning), or PostgreSQL soon gives out no more ids (critical).")
	held, holds := e.family("oldest_xmin_age", "How many transactions back the oldest xmin is held; 0 when nobody holds it."), e.family("oldest_xmin_seconds", "How long the transaction has lasted that holds it; absent where that is not known.")
	prepared, waits := e.family("prepared_transactions", "Number of prepared transactions."), e.family("prepared_transaction_seconds", "How long the first of them has been prepared; 0 when none is.")
	elsewhere := e.family("slot_elsewhere_retained_bytes", "WAL that the cluster's slot holds back on the primary elsewhere that it follows.")
	if there := s.elsewhere(); there != nil && there.Error == "" && there.There != nil {
		elsewhere.add(float64(there.There.Retained), "slot", there.Slot)
	}
	f := s.horizon()
	if f == nil {
		return
	}
	leader, _ := s.Leader()
	for _, ids := range []struct {
		name string
		horizon.Oldest
	}{{"transaction", f.TransactionIDs}, {"multixact", f.Multixacts}} {
		age.add(float64(ids.Age), "machine", leader.Name, "id", ids.name, "database", ids.Database)
		limit.add(float64(ids.Warning()), "machine", leader.Name, "id", ids.name, "severity", "warning")
		limit.add(float64(ids.Critical()), "machine", leader.Name, "id", ids.name, "severity", "critical")
	}
	if h := f.Holder; h == nil {
		held.add(0, "machine", leader.Name)
	} else {
		held.add(float64(h.Age), "machine", leader.Name)
		if h.Seconds >= 0 {
			holds.add(h.Seconds, "machine", leader.Name)
		}
	}
	prepared.add(float64(f.Prepared), "machine", leader.Name)
	if f.First == nil {
		waits.add(0, "machine", leader.Name)
	} else {
		waits.add(f.First.Seconds, "machine", leader.Name)
	}
}

func (e *exposition) alerts(s *Seen, v *Verdict, state State, self Self) {
	problem, firing := e.family("problem", "1 for each thing that is wrong at this moment."), e.family("alert_firing", "1 for each alert that lasts.")
	owed := e.family("alerts_owed", "Number of alerts that a receiver has not heard of yet.")
	for _, p := range v.Problems {
		problem.add(1, "key", p.Key, "severity", string(p.Severity), "machine", p.Machine)
	}
	receivers := map[string]int{}
	var order []string
	for _, a := range state.Alerts {
		if a.Firing() {
			firing.add(1, "key", a.Key, "severity", string(a.Severity), "machine", a.Machine)
		}
		for _, r := range a.Owed {
			if receivers[r]++; receivers[r] == 1 {
				order = append(order, r)
			}
		}
	}
	for _, r := range order {
		owed.add(float64(receivers[r]), "receiver", r)
	}
	e.family("sends_alerts", "Whether it is this machine that tells of alerts.").add(truth(self.Sends))
	e.family("look_timestamp_seconds", "When this machine looked last.").add(seconds(s.At))
	e.family("look_duration_seconds", "How long that took.").add(self.Took.Seconds())
}
