package agent

import (
	"fmt"
	"strings"
	"time"
)

// A primary elsewhere that was shut down for good and one that is merely restarted look the same for a while: it does not stream, and its
// last record here is that it was shut down. The one that is restarted answers again.

const (
	// refusedFor is how long the other primary's port must refuse connections until it counts as shut down, silentFor how long nobody
	// may answer there at all, as where its machine is switched off.
	refusedFor = 5 * time.Second
	silentFor  = 30 * time.Second
)

// answers is what comes of a connection to the primary elsewhere.
type answers int

const (
	nobodyThere answers = iota // no answer, or none of PostgreSQL
	itRefuses                  // its machine answers, and nobody listens there
	itRuns                     // PostgreSQL does, if only to say that it starts or stops
)

// elsewhere is one look at the primary elsewhere, from the member that streams from it.
type elsewhere struct {
	// streams tells that the log comes, leads that this member still gets it for the whole cluster.
	streams, leads bool
	// record is the last one that was replayed here; err is why it cannot be read.
	record  string
	err     error
	answers answers
}

// farewell takes one look after another, and tells when the other one is shut down for good. Its zero value has seen nothing.
type farewell struct {
	// last is when it was seen to stream, down since when nothing speaks against its being shut down.
	last, down time.Time
	refused    bool // all the time since then
}

// see returns whether it is shut down, and if not, why nobody can say so. moved tells that this member is the wrong one to ask.
func (f *farewell) see(host string, e elsewhere, now time.Time) (done bool, why string, moved bool) {
	switch {
	case !e.leads:
		why, moved = "meanwhile another member, or none, streams for the cluster from the primary at "+host, true
	case e.streams:
		f.last = now
		why = fmt.Sprintf("the primary at %s still streams", host)
	case e.err != nil: // a record that is just being written, too: it is looked at again
		why = e.err.Error()
	case !strings.Contains(e.record, "CHECKPOINT_SHUTDOWN"):
		why = fmt.Sprintf("the primary at %s does not stream, and its last record here is not that it was shut down: it was killed, or cannot be reached; "+
			"start it again, and then shut it down in order. The last record: %s", host, e.record)
	case e.answers == itRuns:
		why = fmt.Sprintf("the primary at %s was shut down, and PostgreSQL answers there: it is being restarted, or was; shut it down for good", host)
	default:
		if f.down.IsZero() {
			f.down, f.refused = now, true
		}
		f.refused = f.refused && e.answers == itRefuses
		wait := silentFor
		if f.refused {
			wait = refusedFor
		}
		if now.Sub(f.down) >= wait {
			return true, "", false
		}
		return false, fmt.Sprintf("the primary at %s was shut down; %s from now on it must not come back", host, wait), false
	}
	f.down = time.Time{}
	return false, why, moved
}
