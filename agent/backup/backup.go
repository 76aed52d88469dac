// Package backup decides about backups: who takes one, which stay, what a restore will do.
//
// In come observations and the clock; out come an action and the sentence that says why. It runs nothing and touches
// nothing: package agent acts.
package backup

import (
	"regexp"
	"time"
)

// Record is what a backup says of itself, in its backup.json. It is written last: what has none is no backup.
type Record struct {
	Name    string `json:"name"`
	Scope   string `json:"scope"`
	Machine string `json:"machine"`
	// Role is what the machine was: replica or primary.
	Role string `json:"role"`
	// At is when the backup began: it holds no less than what was committed then.
	At time.Time `json:"at"`
	// Ended is when it was verified and complete.
	Ended time.Time `json:"ended"`
	// Bytes is its size on the disk.
	Bytes   int64 `json:"bytes"`
	Version int   `json:"version"`
	// System is PostgreSQL's system identifier.
	System   string   `json:"system"`
	Timeline int      `json:"timeline"`
	Dumps    []string `json:"dumps,omitempty"`
	Verified bool     `json:"verified"`
	// DumpError says which dumps failed; the database itself is in the backup all the same.
	DumpError string `json:"dump_error,omitempty"`
}

// Proof is what restoring a backup on trial came to.
type Proof struct {
	At     time.Time `json:"at,omitzero"`
	Backup string    `json:"backup,omitempty"`
	// Found says what was read: databases, tables, rows.
	Found string `json:"found,omitempty"`
	Error string `json:"error,omitempty"`
}

// Done is the newest attempt at a backup. One with a name and an error is a backup that counts, beside which something failed.
type Done struct {
	At      time.Time `json:"at,omitzero"`
	Machine string    `json:"machine,omitempty"`
	Name    string    `json:"name,omitempty"`
	Bytes   int64     `json:"bytes"`
	Error   string    `json:"error"`
}

// State is what every database machine knows of the cluster's backups.
type State struct {
	Backup Done  `json:"backup,omitzero"`
	Proof  Proof `json:"proof,omitzero"`
}

// Held is one backup in the directory.
type Held struct {
	Record
	Proof Proof
}

// Good tells whether the backup may be counted on: verified, and not known to be no good.
func (h Held) Good() bool { return h.Verified && h.Proof.Error == "" }

const stamp = "20060102T150405Z"

// Name is a backup's name: when it began, and on which machine, so that two machines never write the same one.
func Name(at time.Time, machine string) string { return at.UTC().Format(stamp) + "-" + machine }

// Taken is when a backup of this name began, to the second; false for another name.
func Taken(name string) (at time.Time, ok bool) {
	if !IsName(name) {
		return at, false
	}
	at, err := time.Parse(stamp, name[:len(stamp)])
	return at, err == nil
}

var nameSyntax = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// IsName tells whether a directory of this name is a backup.
func IsName(name string) bool { return nameSyntax.MatchString(name) }

// The names of what is not a backup yet, or no more. Each ends with the machine that works on it.
const (
	partial  = ".partial-"
	removing = ".removing-"
	proving  = ".proving-"
)

// Partial is the name of a backup that a machine is taking.
func Partial(name, machine string) string { return partial + name + "." + machine }

// Removing is the name of a backup that a machine is deleting.
func Removing(name, machine string) string { return removing + name + "." + machine }

// Proving is the name of a backup that a machine restores on trial.
func Proving(machine string) string { return proving + "." + machine }

var leftover = regexp.MustCompile(`^\.(?:partial|removing|proving)-[^.]*\.([a-z0-9-]+)$`)

// Leftover tells whether this machine has made it, and was stopped before it was done. What another machine has made in
// the same directory may be at work at this moment.
func Leftover(name, machine string) bool {
	m := leftover.FindStringSubmatch(name)
	return m != nil && m[1] == machine
}
