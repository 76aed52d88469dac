// Package doctor judges what was seen of a machine and its cluster: in comes a Look, out come findings, each with what is
// wrong, why, and the command that mends it. It only computes: it asks nobody, runs nothing and reads no clock.
package doctor

import (
	"time"

	"github.com/pgbake/pgbake/agent/archive"
	"github.com/pgbake/pgbake/agent/horizon"
	"github.com/pgbake/pgbake/cluster"
)

// Finding is one thing that is wrong.
type Finding struct {
	// Check is the name of the check that found it.
	Check string `json:"check"`
	// What is wrong, in one sentence, and Why: what it comes from, or what comes of it.
	What string `json:"what"`
	Why  string `json:"why,omitempty"`
	// Mend are the commands, in their order; one that is for another machine begins with "on NAME: ".
	Mend []string `json:"mend"`
	// Warning tells that nothing is wrong: it is what hardly anybody wants, and the exit code does not count it.
	Warning bool `json:"warning,omitempty"`
}

// Check is one row of the table.
type Check struct {
	Name string
	// Looks says what it looks at.
	Looks string
	judge func(*Look) []Finding
}

// Checks is THE TABLE: every check, in the order in which one would mend what they find: what is above may be the cause of what
// is below. A check says nothing of what could not be seen; that it could not be seen is a finding of its own.
//
// The manual's four troubles are in it: "Patroni does not start" (seed to apply, etcd), "a replica lags" (replicas, slots),
// "HAProxy finds no primary" (proxy, leader) and "split brain" (leader, which never says to promote by force).
var Checks = []Check{
	{"seed", "what the machine was told: cluster.yaml, its name, its secrets and certificates", seed},
	{"clock", "this machine's clock, against the other machines'", clock},
	{"disk", "space and inodes, where the data lies", disk},
	{"secrets", "who may read them", secrets},
	{"files", "the files that pgha writes: edited, missing, of another owner", files},
	{"packages", "packages that are only half installed, and security updates that nobody installs", packages},
	{"units", "systemd's units: failed, stopped, masked, changed", units},
	{"apply", "what pgha apply waits for or ended with", apply},
	{"firewall", "the machine's packet filter", firewall},
	{"certificates", "how long they are good for", certificates},
	{"stray database", "PostgreSQL that is not Patroni's", stray},
	{"start", "what PostgreSQL said when it did not start", start},
	{"patroni", "whether it runs with the corrections that pgha has for it", patroni},
	{"etcd", "its quorum, its members, its alarms and its size", etcd},
	{"restore", "whether the cluster is taken back to a backup at this moment", restoring},
	{"maintenance", "a pause of Patroni that nobody ends", maintenance},
	{"leader", "one primary, not none and not two", leader},
	{"replicas", "whether every other member follows", replicas},
	{"synchronous", "whether a failover would lose nothing", synchronous},
	{"restart pending", "parameters that only a restart shows", pending},
	{"settings", "Patroni's dynamic configuration, against cluster.yaml", settings},
	{"slots", "replication slots that keep WAL for nobody", slots},
	{"horizon", "the age of transaction ids, what holds back the oldest xmin, prepared transactions", horizonOf},
	{"access", "who gets in without a password", access},
	{"archive", "whether WAL is archived, and the repository has all of it", archiving},
	{"corruption", "checksums, and indexes that another collation sorted", corruption},
	{"proxy", "whether HAProxy leads writers to the primary", proxy},
	{"backup", "whether there are any", noBackup},
	{"generation", "whether the machine takes newer specifications", generation},
}

// Judge has every check look, and returns what they find.
func Judge(l *Look) []Finding {
	all := []Finding{}
	for _, c := range Checks {
		for _, f := range c.judge(l) {
			f.Check = c.Name
			all = append(all, f)
		}
	}
	return all
}

// Look is what was seen. What could not be asked is empty, or has its reason beside it.
type Look struct {
	// Name is the machine's; DB and Proxy what it is for, by its seed or, without one, by what is installed.
	Name      string
	DB, Proxy bool
	// Ports are the cluster's; without a seed those of one that names none.
	Ports cluster.Ports

	// Seed is why the seed cannot be used, with a hint; empty when it can.
	Seed string
	// Configured tells that an apply has opened the gate.
	Configured bool
	// Open are secrets that somebody else may read, with their modes.
	Open []Mode
	// Changed are the files that pgha apply would write.
	Changed []Changed
	// Apply is what the last apply was at.
	Apply Apply
	// Units are those of the machine's role, and others that have failed.
	Units []Unit
	Disks []Disk
	// Packages are those that dpkg finds half installed.
	Packages []string
	// Updates are the security updates that wait for too long, in a few words.
	Updates string
	// Offsets are how far the other machines' clocks are ahead of this one's.
	Offsets map[string]time.Duration
	// Certificates are the problems with them, each with a hint.
	Certificates []string
	// Unfiltered tells that the machine's packet filter is not loaded.
	Unfiltered bool
	// Stray are PostgreSQL clusters of Debian's tools that start at boot.
	Stray []string
	// Orphan tells that PostgreSQL runs without Patroni.
	Orphan bool

	// Patroni is nil on a proxy, and when it cannot be asked.
	Patroni *Patroni
	// Cluster is nil when nobody could be asked.
	Cluster *Cluster
	// Etcd is nil on a proxy, and when no member of etcd answers.
	Etcd *Etcd
	// Settings are those of Patroni's that differ from cluster.yaml.
	Settings []Setting
	// Parameters are those of PostgreSQL that are not as Patroni was asked to set them.
	Parameters []Parameter
	// Database is nil when PostgreSQL of this machine does not answer.
	Database *Database
	// LastWords are why PostgreSQL of this machine ended or did not start, as it said itself, LastHint its own hint; empty when it answers.
	LastWords, LastHint string
	// Archive is how the WAL of this primary comes into its archive; nil on a replica, and when PostgreSQL does not answer.
	Archive *archive.State
	// Serves are the servers that HAProxy leads writers to; HAProxy is why it does not say.
	Serves  []string
	HAProxy string
	// NoBackup tells that no backup is taken, and that cluster.yaml does not say that none is wanted.
	NoBackup bool
	// Refused is why a newer specification is not taken.
	Refused string
}

// Mode is a file and its permissions.
type Mode struct {
	Path string
	Mode string
	Want string
}

// Changed is a file that is not as pgha writes it.
type Changed struct {
	Path string
	// Missing tells that it is not there; Body that its content differs, not only its owner or mode.
	Missing, Body bool
	// Mode says how owner and mode differ.
	Mode string
}

// Apply is the state of the last pgha apply.
type Apply struct {
	Step, Waiting, Error string
	Since                time.Time
}

// Unit is a systemd unit.
type Unit struct {
	Name string
	// Load is loaded, masked or not-found; Active as systemctl says; Result why it has failed.
	Load, Active, Result string
	// Wanted tells that it should run on this machine.
	Wanted bool
	// Restart is systemd's word for what happens when it ends; only of Wanted ones.
	Restart string
	// Reload tells that its files changed and systemd has not read them.
	Reload bool
}

// Disk is a file system.
type Disk struct {
	Path string
	// Used and Inodes are percent.
	Used, Inodes int
	Free         uint64
	// Aside are directories of data set aside, on it.
	Aside []string
}

// Cluster is what the members say.
type Cluster struct {
	Members []Member
	// Holder is who leads by etcd's word; empty when nobody does, or etcd does not say.
	Holder string
	// Confirm may take over without loss; ConfirmWant is how many there should be.
	Confirm     []string
	ConfirmWant int
	Paused      bool
	// Announced tells of a maintenance, Forgotten that it should have ended.
	Announced, Forgotten bool
	MaintenanceBy        string
	Until                time.Time
	// Restore is the restore that a member carries out; nil when none does.
	Restore *Restore
}

// Restore is one of the whole cluster.
type Restore struct {
	Machine, Moment string
	// Step is where it is, Error why it stopped there.
	Step, Error string
	Since       time.Time
}

// Member is one of them.
type Member struct {
	Name string
	// Silent is why its Patroni does not answer.
	Silent string
	// Etcd tells that its etcd sees a quorum, EtcdRuns that it answers at all; Asked that it could be asked.
	Etcd, EtcdRuns, Asked bool
	Leads, Runs           bool
	State                 string
	Timeline              int
	System                string
	Pending               bool
	// Streams is why it does not follow the primary; empty when it does, or leads.
	Streams string
	Lag     int64
	// Stopped tells that its replay was paused.
	Stopped bool
}

// Etcd is what a member of it says.
type Etcd struct {
	Alarms []string
	// Size and Quota are bytes.
	Size, Quota int64
	// Unknown are members that cluster.yaml does not list.
	Unknown []string
}

// Setting is one of Patroni's that differs.
type Setting struct {
	// Path is its key in the dynamic configuration, with dots.
	Path string
	// Is and Want are as JSON has them; Want is "null" for one that should not be there.
	Is, Want string
}

// Parameter is one of PostgreSQL's that is not what Patroni was asked for.
type Parameter struct {
	// Is has the parameter's own unit behind it.
	Name, Is, Want string
	// Wrong is why PostgreSQL or Patroni does not take what was asked for; empty when they should.
	Wrong string
	// File is the one that sets it, empty when none does.
	File string
	// Restart tells that only a restart changes it, Missing that PostgreSQL does not have it, Ours that cluster.yaml asks for it.
	Restart, Missing, Ours bool
}

// Database is what PostgreSQL of this machine says.
type Database struct {
	Leads bool   `json:"leads"`
	Slots []Slot `json:"slots"`
	// Limit is max_slot_wal_keep_size in MB, -1 without one.
	Limit int64 `json:"limit"`
	// HBA is the file; Trust its lines that ask for no password; HBAErrors those that PostgreSQL does not understand.
	HBA       string   `json:"hba"`
	Trust     []int    `json:"trust"`
	HBAErrors []string `json:"hba_errors"`
	// ArchiveFails is the WAL file that could not be archived.
	ArchiveFails string `json:"archive_fails"`
	// Checksums are databases with blocks whose checksum was wrong; Collations those that another collation's version sorted.
	Checksums  []string `json:"checksums"`
	Collations []string `json:"collations"`
	// Horizon is how old its transaction ids are, and who holds them back; nil on a replica.
	Horizon *horizon.Facts `json:"horizon"`
}

// Slot is a replication slot.
type Slot struct {
	Name   string `json:"name"`
	Active bool   `json:"active"`
	// Status is pg_replication_slots.wal_status.
	Status string `json:"status"`
	// Retained is how many bytes of WAL it keeps.
	Retained int64 `json:"retained"`
	// Member is whose it is; empty when it is no member's.
	Member string `json:"-"`
}
