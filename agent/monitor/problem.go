package monitor

import (
	"fmt"
	"strings"
	"time"
)

// Severity is how much a problem hurries.
type Severity string

// Critical is for now, Warning for today.
const (
	Critical Severity = "critical"
	Warning  Severity = "warning"
)

// The limits. Looks are 30 s apart.
const (
	// stale is how old a machine's report may be, in looks.
	stale = 3.5
	// soon is how many looks in a row see a problem before it is an alert: one look sees much that passes.
	soon = 2
	// patient is for what comes and goes under load.
	patient = 4
	// slow is for what mends itself, as clocks do: ten minutes.
	slow = 20
	// hour is for what somebody has done on purpose.
	hour = 120
	// forgotten is how long after its end a maintenance may last: members end it, and look every ten seconds.
	forgotten = 2 * time.Minute

	lagBytes   = 64 << 20
	lagTime    = time.Minute
	idleSlot   = 1 << 30
	activeSlot = 4 << 30

	diskWarning, diskCritical   = 0.85, 0.95
	hoursWarning, hoursCritical = 24, 4
	// fills is how full a disk is before the speed at which it fills says anything.
	fills = 0.5

	clockOffset = 500 * time.Millisecond
	clockSkew   = 2 * time.Second

	certificateWarning, certificateCritical = 30 * 24 * time.Hour, 7 * 24 * time.Hour

	// updatesAge leaves a week's time for what `pgha upgrade` does.
	updatesAge = 7 * 24 * time.Hour

	// BackupAge is a day and the time that a backup may take; ProofAge a week and a day.
	BackupAge = 26 * time.Hour
	ProofAge  = 8 * 24 * time.Hour
)

// Problem is one thing that is wrong. Its key stays the same as long as it lasts.
type Problem struct {
	// Key is the kind, and what it is about: "lag/db2".
	Key      string   `json:"key"`
	Severity Severity `json:"severity"`
	// Text says what is wrong, Hint what to do.
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
	// Machine is whose problem it is; empty when it is the cluster's.
	Machine string `json:"machine,omitempty"`
	// Looks is how many in a row must see it before it is an alert.
	Looks int `json:"looks,omitempty"`
}

// source is where a problem is seen: what does not answer does not say that all is well.
type source string

const (
	fromAnywhere source = ""
	fromReport   source = "report"
	fromPatroni  source = "patroni"
	fromRoutes   source = "routes"
	fromLeader   source = "leader" // and Patroni of the machine
	// What the primary's monitor finds out, of PostgreSQL and of the repository.
	fromArchive    source = "archive"
	fromRepository source = "repository"
	fromHorizon    source = "horizon"
	// What the member finds out that streams from a primary elsewhere.
	fromElsewhere source = "elsewhere"
)

// Verdict is what is wrong, and what could not be judged.
type Verdict struct {
	Problems []Problem
	// alone tells that nothing can be said of the others.
	alone bool
	blind map[string]bool
	self  string
	// machines are the names of all of the cluster.
	machines map[string]bool
}

// Blind tells whether nobody can say that a problem is over, by its key and the machine that it is of.
func (v *Verdict) Blind(p Problem) bool {
	if v.alone && p.Machine != v.self {
		return true
	}
	return v.blind[p.Machine+" "+string(sourceOf(p.Key))]
}

// kind is what problems of one kind have in common.
type kind struct {
	// needs is where an answer must come from before such a problem is over.
	needs source
	// whole: they are the cluster's, and the kind is the whole key; the others are one machine's, whose name comes next.
	whole bool
}

// kinds are the first parts of all keys.
var kinds = map[string]kind{
	"backup": {whole: true}, "clock-source": {whole: true}, "etcd-quorum": {whole: true}, "leader": {whole: true}, "leaders": {whole: true},
	"maintenance": {whole: true}, "paused": {whole: true}, "proof": {whole: true}, "restore": {whole: true}, "sync": {fromLeader, true},
	"virtual-address": {whole: true},
	"archive":         {fromArchive, true}, "archive-hole": {fromRepository, true}, "archive-unread": {fromRepository, true},
	"transaction-ids": {fromHorizon, true}, "multixacts": {fromHorizon, true}, "xmin": {fromHorizon, true}, "prepared": {fromHorizon, true},
	"slot-elsewhere": {fromElsewhere, true},
	"agent":          {}, "alone": {}, "certificate": {}, "clock-skew": {}, "etcd": {}, "haproxy": {}, "monitor": {}, "patroni": {}, "silent": {},
	"clock-offset": {needs: fromReport}, "disk": {needs: fromReport}, "etcd-alarm": {needs: fromReport}, "etcd-size": {needs: fromReport}, "recopied": {needs: fromReport},
	"roles": {needs: fromReport}, "slot": {needs: fromReport}, "unasked": {needs: fromReport}, "unit": {needs: fromReport}, "updates": {needs: fromReport},
	"postgres": {needs: fromPatroni}, "lag": {needs: fromLeader}, "streaming": {needs: fromLeader},
	"haproxy-read-write": {needs: fromRoutes}, "haproxy-read-only": {needs: fromRoutes},
}

func sourceOf(key string) source {
	name, _, _ := strings.Cut(key, "/")
	return kinds[name].needs
}

// known tells whether a problem is one that Judge may find: of a kind that there is, and of a machine of the cluster.
func (v *Verdict) known(p Problem) bool {
	name, of, _ := strings.Cut(p.Key, "/")
	k, ok := kinds[name]
	if !ok || k.whole {
		return ok && p.Key == name && p.Machine == ""
	}
	machine, _, _ := strings.Cut(of, "/")
	return v.machines[machine] && p.Machine == machine
}

func (v *Verdict) say(key, machine string, s Severity, looks int, text, hint string) {
	v.Problems = append(v.Problems, Problem{Key: key, Machine: machine, Severity: s, Looks: looks, Text: text, Hint: hint})
}

// of is say about one machine.
func (v *Verdict) of(kind string, m Machine, s Severity, looks int, hint, format string, args ...any) {
	v.say(kind+"/"+m.Name, m.Name, s, looks, fmt.Sprintf(format, args...), hint)
}

// all is say about the whole cluster.
func (v *Verdict) all(kind string, s Severity, looks int, hint, format string, args ...any) {
	v.say(kind, "", s, looks, fmt.Sprintf(format, args...), hint)
}

// Hurries tells whether it is for now.
func (p Problem) Hurries() bool { return p.Severity == Critical }
