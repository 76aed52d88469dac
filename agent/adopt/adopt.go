// Package adopt judges a database that is older than its cluster: whether it can become the first primary's, what that
// changes, and which of its settings the cluster takes over.
//
// In comes what was Found on the machine; out comes a Report. The package only computes, but for ReadConf, which reads
// configuration files.
package adopt

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pgbake/pgbake/cluster"
)

// Found is what lies on the machine whose database is adopted.
type Found struct {
	// Place is the cluster of Debian's tools, "17/main"; empty for a database that lies in Data without one.
	Place string
	// Conf is the directory with its configuration, empty when there is none; Data the directory with its data.
	Conf, Data string
	// Major is what PG_VERSION says, Release the machine's Debian.
	Major, Release string
	// Control is what pg_controldata says, by its own words.
	Control map[string]string
	// Unit is the systemd unit that PostgreSQL runs in there, empty when it does not run.
	Unit string
	// Owner is who the data belongs to, in words, where that is not postgres; empty where it is.
	Owner string
	// Recovery are the files in Data that tell of a standby, of a restore or of a copy that was never started.
	Recovery []string
	// Tablespaces are the directories outside of Data.
	Tablespaces []string
	// LostWAL is the segment that PostgreSQL would begin to read at and that is not there.
	LostWAL string
	// Slots are the replication slots by name; Prepared is how many transactions are prepared.
	Slots    []string
	Prepared int
	// Free is how much room the data's disk has, in bytes.
	Free uint64
	// Settings are those of its files, and of ALTER SYSTEM over them; Access the lines of its pg_hba.conf.
	Settings Settings
	Access   []string
	// Libraries are those that are loaded at the start and are of no package of PostgreSQL itself.
	Libraries []string
	// Inside is what the running database says of itself; nil when it does not run.
	Inside *Inside
}

// Socket is the directory of its socket.
func (f *Found) Socket() string {
	first, _, _ := strings.Cut(f.Settings.Get("unix_socket_directories", cluster.SocketDir), ",")
	return strings.TrimSpace(first)
}

// Port is what it listens on.
func (f *Found) Port() string { return f.Settings.Get("port", strconv.Itoa(cluster.PostgresPort)) }

// Inside is what only a running database knows. The names of its fields are those of the query in the agent.
type Inside struct {
	// Superuser tells that the role postgres is there and is one.
	Superuser bool `json:"superuser"`
	// Recovery tells that it is a standby.
	Recovery  bool       `json:"recovery"`
	Databases []Database `json:"databases"`
	// Weak are the roles that may log in with an MD5 password, Open those that may without any.
	Weak []string `json:"weak"`
	Open []string `json:"open"`
	// Roles are all of them.
	Roles []string `json:"roles"`
	// Standbys are who streams from here at this moment.
	Standbys []string `json:"standbys"`
}

// Database is one database of it.
type Database struct {
	Name string `json:"name"`
	// Provider is who sorts: libc, icu or builtin, as pg_database has it: c, i or b.
	Provider string `json:"provider"`
	// Collate and Type are libc's names.
	Collate string `json:"collate"`
	Type    string `json:"type"`
	// Recorded is the version of the collation that its indexes were made with, Actual the one here.
	Recorded string `json:"recorded"`
	Actual   string `json:"actual"`
	// Stale are the collations in it of which the same two differ.
	Stale []string `json:"stale"`
	// Unlogged are the tables of which a copy has the definition alone.
	Unlogged []string `json:"unlogged"`
	// Strange are the files of its extensions that are of no package of PostgreSQL itself, by extension.
	Strange []string `json:"-"`
}

// Kind is what a finding is worth.
type Kind uint8

// The kinds of findings.
const (
	// Note is what stays as it is, or what nobody will notice.
	Note Kind = iota
	// Change is what somebody may notice.
	Change
	// Refuse is what would lose data or leave the cluster without replicas: nothing is touched.
	Refuse
)

// Finding is one of them, in a sentence. Hint says what to do about it, where there is something.
type Finding struct {
	Kind       Kind
	Text, Hint string
}

// Report is what the adoption would do.
type Report struct {
	Findings []Finding
	// Parameters and Slots go into Patroni's dynamic configuration: the settings that stay, and the slots that Patroni
	// must not drop.
	Parameters map[string]string
	Slots      []string
}

// Of returns the findings of a kind.
func (r *Report) Of(k Kind) []Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Kind != k })
}

func (r *Report) add(k Kind, hint, text string) {
	r.Findings = append(r.Findings, Finding{k, text, hint})
}

// Judge says what becomes of the database in the cluster. ours are the parameters that the cluster begins with.
func Judge(c *cluster.Cluster, f *Found, ours map[string]any) *Report {
	r := &Report{Parameters: map[string]string{}}
	r.state(c, f)
	r.storage(f)
	r.place(c, f)
	r.inside(c, f)
	r.access(c, f)
	r.settings(c, f, ours)
	return r
}
