package monitor

import (
	"fmt"

	"github.com/pgbake/pgbake/cluster"
)

// Elsewhere is a replication slot on a primary that is none of the cluster's machines, and that the cluster follows.
type Elsewhere struct {
	Host string `json:"host"`
	// Slot is the slot's name; There what the primary says of it, nil where it has none.
	Slot  string `json:"slot"`
	There *Slot  `json:"there"`
	// Limit is max_slot_wal_keep_size there, in MB; -1 without one.
	Limit int64 `json:"limit_mb"`
	// Error is why the primary could not be asked; empty when it could.
	Error string `json:"error,omitempty"`
	// Behind is how many bytes of what was sent are not replayed here; negative while nothing is sent.
	Behind int64 `json:"behind_bytes"`
}

// elsewhere is what the member that streams from a primary elsewhere says of the slot there; nil where nobody says so.
func (s *Seen) elsewhere() *Elsewhere {
	if s.Follows == "" {
		return nil
	}
	for _, m := range s.of(cluster.DB) {
		if m.Patroni != nil && m.Patroni.Role == StandbyLeader && m.Watched() {
			return m.Report.Elsewhere
		}
	}
	return nil
}

// elsewhere looks at the slot on the primary that the cluster follows: what nobody reads from it fills the disk of a server that
// others live by.
func elsewhere(s *Seen, v *Verdict) {
	e := s.elsewhere()
	if e == nil {
		return
	}
	const kind = "slot-elsewhere"
	slot := "replication slot " + e.Slot + " on " + e.Host + ", which the cluster follows,"
	drop := "when the cluster is not to follow it any more, on " + e.Host + ": SELECT pg_catalog.pg_drop_replication_slot('" + e.Slot + "')"
	switch t := e.There; {
	case e.Error != "" && e.Behind < 0:
		v.all(kind, Warning, patient, "does PostgreSQL run there, and may this machine connect? Where it runs, the slot grows until the cluster streams again; "+drop,
			"%s cannot be asked what it holds back, and nothing is streamed: %s", slot, e.Error)
	case e.Error != "":
		v.all(kind, Warning, patient, "the role that streams must reach the database postgres there: `pgbake adopt` prints the line of pg_hba.conf",
			"%s cannot be asked what it holds back: %s. The cluster streams, and is behind by %s", slot, e.Error, Bytes(e.Behind))
	case t == nil:
		v.all(kind, Warning, patient, "while the cluster streams, on "+e.Host+": SELECT pg_catalog.pg_create_physical_replication_slot('"+e.Slot+"', true)",
			"%s is not there: WAL that the cluster has not streamed may be removed", slot)
	case t.Lost:
		v.all(kind, Critical, soon, "`pgha cutover` says whether the cluster streams. When it does not, it must be made anew, as a new copy; "+drop,
			"%s has lost WAL that the cluster needs", slot)
	case !t.Active && t.Retained > idleSlot:
		severity := Warning
		if e.Limit < 0 && t.Retained > activeSlot {
			severity = Critical
		}
		v.all(kind, severity, soon, "why does no member stream? On the standby leader: journalctl -u patroni; "+drop,
			"%s holds back %s of WAL, and nobody reads it: %s", slot, Bytes(t.Retained), e.end())
	case t.Retained > activeSlot:
		v.all(kind, Warning, patient, "the network between them, or the disk here, is slower than that primary writes; "+e.end(),
			"%s holds back %s of WAL", slot, Bytes(t.Retained))
	}
}

// end is what becomes of a slot that is not read.
func (e *Elsewhere) end() string {
	if e.Limit < 0 {
		return "nothing limits it, and it fills the disk there"
	}
	return fmt.Sprintf("at %s (max_slot_wal_keep_size there) it is given up, and the cluster must be copied anew", Bytes(e.Limit<<20))
}
