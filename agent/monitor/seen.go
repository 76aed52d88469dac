// Package monitor judges a cluster, and keeps its alerts.
//
// In comes what one machine has seen of the whole cluster, and what was known before; out come problems, alerts that are
// fired, repeated or resolved, the messages that say so, and Prometheus' text. Everything but Deliver only computes.
package monitor

import (
	"fmt"
	"time"

	"github.com/pgbake/pgbake/agent/archive"
	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/agent/horizon"
	"github.com/pgbake/pgbake/cluster"
)

// Seen is one look at the whole cluster from one of its machines.
type Seen struct {
	At    time.Time
	Scope string
	// Self is the machine that looks.
	Self string
	// Ports are the cluster's, for the commands that hints tell people to type.
	Ports cluster.Ports
	// Synchronous tells that commits are to wait for a replica, Confirm which ones may confirm them.
	Synchronous bool
	Confirm     []string
	// Backups tells that the specification wants some; Since when there should be one at the latest. Repository tells that they
	// lie in one, and the WAL beside them.
	Backups    bool
	Repository bool
	Since      time.Time
	// Follows is the primary elsewhere, "host:port", that the cluster follows as a copy; empty when it leads itself.
	Follows string
	// Maintenance is when the one ends that was announced; zero when none was.
	Maintenance time.Time
	// Restore is the restore that a member carries out, and RestoreFailed tells that it has stopped; both empty when there is none.
	Restore, RestoreFailed string
	// VirtualAddress moves between the proxies; empty when there is none.
	VirtualAddress string
	// Machines are all of them, in the specification's order.
	Machines []Machine
}

// Machine is one machine of the cluster, as it answers. What could not be asked is nil, and the error beside it says why.
type Machine struct {
	Name    string
	Address string
	Role    cluster.Role
	// Door says why the machine's agent does not answer; empty when it does.
	Door string
	// Patroni is what it says, on a database machine; NoPatroni why it does not.
	Patroni   *Member
	NoPatroni string
	// Etcd is the member there; nil where nobody could ask it.
	Etcd *Etcd
	// Report is what its monitor has found out last, Age how long ago by that machine's own clock.
	Report *Report
	Age    time.Duration
	// Routes are where a proxy leads; nil when HAProxy could not be asked, which NoRoutes says.
	Routes   *Routes
	NoRoutes string
	// Trust is what its certificates are worth.
	Trust *cluster.Trust
	// Backup is what was noted there of the last one and of the last proof.
	Backup *Backups
	// Skew is how far its clock is ahead of the asking machine's, when Timed.
	Skew  time.Duration
	Timed bool
	// Alerts are those that it knows of.
	Alerts []Alert
}

// Member is one PostgreSQL, as its Patroni describes it.
type Member struct {
	Role     string
	State    string
	Timeline int
	// Paused tells that Patroni was told to keep its hands off: a maintenance.
	Paused bool
	// Location is the primary's current position in the WAL, or how far a replica has replayed it, in bytes.
	Location int64
	// Replayed is when the last transaction that a replica has replayed was committed.
	Replayed time.Time
	// Streams names who streams from it.
	Streams []string
}

// StandbyLeader is the role of the member that streams from a primary elsewhere for the whole cluster.
const StandbyLeader = "standby leader"

// Leads tells whether it is a primary.
func (m Machine) Leads() bool { return m.Patroni != nil && m.Patroni.Role == "primary" }

// Runs tells whether its PostgreSQL serves.
func (m Machine) Runs() bool {
	return m.Patroni != nil && (m.Patroni.State == "running" || m.Patroni.State == "streaming")
}

// Silent tells whether nothing of the machine answers.
func (m Machine) Silent() bool {
	return m.Door != "" && m.Patroni == nil && (m.Etcd == nil || !m.Etcd.Healthy)
}

// Watched tells whether its monitor runs.
func (m Machine) Watched() bool {
	return m.Report != nil && m.Age.Seconds() < stale*m.Report.Every
}

// Etcd is one member of it.
type Etcd struct {
	// Healthy tells that it sees a quorum.
	Healthy bool `json:"healthy"`
	// ID is its own number, Leader that of the leader that it knows, hexadecimal.
	ID     string `json:"id,omitempty"`
	Leader string `json:"leader,omitempty"`
	// Size is its database's, in bytes.
	Size int64 `json:"size,omitempty"`
	// Alarms are what it complains of, such as no space.
	Alarms []string `json:"alarms,omitempty"`
}

// Routes name the servers that a proxy's ports lead to.
type Routes struct {
	ReadWrite []string `json:"read_write"`
	ReadOnly  []string `json:"read_only"`
	// Holds is the virtual address while it is on this proxy's card.
	Holds string `json:"holds,omitempty"`
}

// Report is what a machine finds out about itself, and nobody else can. Nothing in it is secret: its door shows it.
type Report struct {
	At time.Time `json:"at"`
	// Disks are the file systems that matter, each once.
	Disks []Disk `json:"disks"`
	// Failed are systemd's failed units.
	Failed []string `json:"failed_units,omitempty"`
	// Clock is what chrony says; nil when it was not asked.
	Clock *Clock `json:"clock,omitempty"`
	// Slots are PostgreSQL's replication slots there.
	Slots []Slot `json:"slots,omitempty"`
	// Archive is how the WAL of a primary comes into its archive; nil on others, and where PostgreSQL could not be asked.
	Archive *archive.State `json:"archive,omitempty"`
	// Horizon is how old a primary's transaction ids are, and who holds them back; nil as Archive is.
	Horizon *horizon.Facts `json:"horizon,omitempty"`
	// Elsewhere is the cluster's slot on the primary that it follows; nil on others than the member that streams from there.
	Elsewhere *Elsewhere `json:"elsewhere,omitempty"`
	// Recopied is a database that was set aside, and is still there; nil when none is.
	Recopied *Recopied `json:"recopied,omitempty"`
	// Roles is since when users, databases or passwords of its specification wait to be made; zero when none do.
	Roles time.Time `json:"roles_wait,omitzero"`
	// Updates are the security updates of its packages; nil where nobody looks for them.
	Updates *Updates `json:"updates,omitempty"`
	// Unasked says what could not be asked, and why: postgres, systemd, chrony, recopied, roles, updates.
	Unasked map[string]string `json:"unasked,omitempty"`
	// Mute tells that no receiver of alerts takes any from this machine, for a while already.
	Mute bool `json:"mute,omitempty"`
	// Every is how far looks are apart, in seconds.
	Every float64 `json:"every_seconds"`
	// Run counts the looks since the monitor was started, CPU is what one takes on average, in seconds, programs included.
	Run int     `json:"run"`
	CPU float64 `json:"cpu_seconds"`
}

// Recopied is a replica's data with which PostgreSQL could not start, or not follow the primary, and in whose place the primary's was copied.
type Recopied struct {
	At time.Time `json:"at"`
	// Aside is the directory that it is in now, Why what PostgreSQL said.
	Aside string `json:"aside"`
	Why   string `json:"why"`
}

// Updates are security updates that a machine's archives have and that are not installed.
type Updates struct {
	// Waiting is how many packages have one, Since when the first of them was seen; zero when none does.
	Waiting int       `json:"waiting"`
	Since   time.Time `json:"since,omitzero"`
	// Unanswered is since when the archives cannot be asked, Failed why; zero when they answered the last time.
	Unanswered time.Time `json:"unanswered,omitzero"`
	Failed     string    `json:"failed,omitempty"`
}

// Late says what has waited for longer than a week; empty when nothing has.
func (u *Updates) Late(now time.Time) string {
	switch {
	case u == nil:
		return ""
	case u.Waiting > 0 && now.Sub(u.Since) > updatesAge:
		many := "s"
		if u.Waiting == 1 {
			many = ""
		}
		return fmt.Sprintf("%d security update%s for %s", u.Waiting, many, Span(now.Sub(u.Since)))
	case !u.Unanswered.IsZero() && now.Sub(u.Unanswered) > updatesAge:
		return fmt.Sprintf("security updates are not known for %s: %s", Span(now.Sub(u.Unanswered)), u.Failed)
	}
	return ""
}

// Disk is one file system.
type Disk struct {
	Path  string `json:"path"`
	Total int64  `json:"total"`
	// Free is what is left for those who are not root.
	Free int64 `json:"free"`
	// Hours are left until it is full, if it goes on like the last hours; 0 when it does not fill.
	Hours float64 `json:"hours_left,omitempty"`
}

// Used is the part that is in use, 0 to 1.
func (d Disk) Used() float64 {
	if d.Total <= 0 {
		return 0
	}
	return 1 - float64(d.Free)/float64(d.Total)
}

// Clock is what chrony says of a machine's clock.
type Clock struct {
	// Offset is how far it is from the time servers' time, in seconds; Synchronised that chrony has a source.
	Offset       float64 `json:"offset_seconds"`
	Synchronised bool    `json:"synchronised"`
}

// Slot is one replication slot.
type Slot struct {
	Name   string `json:"name"`
	Active bool   `json:"active"`
	// Retained is how much WAL it holds back, in bytes; Lost tells that what its owner needs is gone.
	Retained int64 `json:"retained_bytes"`
	Lost     bool  `json:"lost,omitempty"`
}

// Backups is the note that whoever takes backups leaves in BackupFile.
type Backups struct {
	Backup *backup.Done  `json:"backup,omitempty"`
	Proof  *backup.Proof `json:"proof,omitempty"`
}

// Leader is the machine that leads; false when none does, or more than one.
func (s *Seen) Leader() (Machine, bool) {
	var leader Machine
	for _, m := range s.Machines {
		if m.Leads() {
			leader = m
		}
	}
	return leader, s.Leaders() == 1
}

// archive is how the primary's WAL comes into its archive; nil where nobody says so.
func (s *Seen) archive() *archive.State {
	leader, led := s.Leader()
	if !led || !leader.Watched() {
		return nil
	}
	return leader.Report.Archive
}

// horizon is what the primary says of its transaction ids; nil where nobody says so.
func (s *Seen) horizon() *horizon.Facts {
	leader, led := s.Leader()
	if !led || !leader.Watched() {
		return nil
	}
	return leader.Report.Horizon
}

// Leaders is how many machines say that they lead.
func (s *Seen) Leaders() (n int) {
	for _, m := range s.Machines {
		if m.Leads() {
			n++
		}
	}
	return n
}

// EtcdLeader names the machine that leads etcd, as those that see a quorum have it; empty when nobody knows.
func (s *Seen) EtcdLeader() string {
	names := map[string]string{}
	for _, m := range s.Machines {
		if m.Etcd != nil && m.Etcd.ID != "" {
			names[m.Etcd.ID] = m.Name
		}
	}
	for _, m := range s.Machines {
		if m.Etcd != nil && m.Etcd.Healthy && names[m.Etcd.Leader] != "" {
			return names[m.Etcd.Leader]
		}
	}
	return ""
}

// Lag is how far a replica is behind the primary: bytes that it has not replayed, and how old the last transaction is
// that it has, which is 0 where nothing is missing. False where either is not known.
func (s *Seen) Lag(m Machine) (bytes int64, behind time.Duration, ok bool) {
	leader, led := s.Leader()
	if !led || m.Patroni == nil || m.Name == leader.Name || leader.Patroni.Location == 0 || m.Patroni.Location == 0 {
		return 0, 0, false
	}
	bytes = max(0, leader.Patroni.Location-m.Patroni.Location)
	if bytes > 0 && !m.Patroni.Replayed.IsZero() {
		behind = max(0, s.At.Sub(m.Patroni.Replayed))
	}
	return bytes, behind, true
}

// Newest is the newest note of a backup and of a proof on any machine. A note without a time is none.
func (s *Seen) Newest() Backups {
	var n Backups
	for _, m := range s.Machines {
		if m.Backup == nil {
			continue
		}
		if b := m.Backup.Backup; b != nil && !b.At.IsZero() && (n.Backup == nil || b.At.After(n.Backup.At)) {
			n.Backup = b
		}
		if p := m.Backup.Proof; p != nil && !p.At.IsZero() && (n.Proof == nil || p.At.After(n.Proof.At)) {
			n.Proof = p
		}
	}
	return n
}
