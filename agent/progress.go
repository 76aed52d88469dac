package agent

import (
	"fmt"
	"time"
)

// Copies, recoveries and checkpoints of a large database take hours, and that is normal. So what waits for one does not ask how long
// it takes, but whether it still moves.

const (
	// standsStill is how long a copy, or a replica that catches up, may stand still.
	standsStill = 10 * time.Minute
	// syncTime is how long pg_basebackup may bring what it has copied to the disk, of which nothing can be seen.
	syncTime = 2 * time.Hour
	// recoverTime is how long PostgreSQL may stop or start: the checkpoint at its end, and then the replay up to where the database is
	// consistent, during which it lets nobody in. A copy that took a day has a day's WAL to replay.
	recoverTime = 24 * time.Hour
	// mostStarts is how often something may be begun anew: more often, it fails for something that stays.
	mostStarts = 5
	// movesMost is what even that which moves gets: it may be a replica that never catches up.
	movesMost = 7 * 24 * time.Hour
)

// The stages of a member on its way to a replica that streams, in their order.
const (
	stageDown    = iota // PostgreSQL does not run
	stageCopy           // the primary's files are copied; position: bytes
	stageCatch          // its WAL
	stageStart          // PostgreSQL starts
	stageRuns           // it replays; position: in the WAL
	stageStreams        // it is there
)

// advance is how far something is, as one look sees it.
type advance struct {
	stage int
	// at is the position within the stage, in bytes; 0 where none can be seen.
	at int64
	// unseen tells that nobody answered: nothing is known. blind tells that a copy goes on, and nobody knows how far it is.
	unseen, blind bool
	// patience is how long it may look like this.
	patience time.Duration
	// text says it for people.
	text string
}

// progress takes one look after another, and tells when to give up. Its zero value has seen nothing.
type progress struct {
	last advance
	// seen is when it was seen last, moved when it was further than before; starts is how often it was begun anew.
	seen, moved time.Time
	starts      int
}

// see returns why to give up; empty while it goes on.
func (p *progress) see(a advance, now time.Time) (why string) {
	if a.blind {
		if copied := p.last.stage == stageCopy && p.last.at > 0 || p.last.stage == stageCatch; copied {
			a.stage, a.at = p.last.stage, p.last.at
		} else {
			a.patience = standsStill
		}
	}
	switch {
	case p.moved.IsZero():
		p.last, p.seen, p.moved = a, now, now
		return ""
	case a.unseen:
		if now.Sub(p.seen) <= a.patience {
			return ""
		}
		return fmt.Sprintf("for %s: %s%s", now.Sub(p.seen).Round(time.Minute), a.text, p.before(a))
	case a.stage > p.last.stage, a.stage == p.last.stage && a.at > p.last.at:
		p.last, p.moved = a, now
	case a.stage < p.last.stage, a.stage == stageCopy && a.at < p.last.at:
		p.starts++
		if p.starts > mostStarts {
			return fmt.Sprintf("it has failed and was begun anew %d times: %s%s", mostStarts, a.text, p.before(a))
		}
		p.last, p.moved = a, now
	}
	p.seen = now
	if still := now.Sub(p.moved); still > a.patience {
		return fmt.Sprintf("nothing has moved for %s: %s%s", still.Round(time.Minute), a.text, p.before(a))
	}
	return ""
}

// before is what was seen last, where that is not what is seen now.
func (p *progress) before(a advance) string {
	if p.last.unseen || p.last.text == a.text {
		return ""
	}
	return "; last seen: " + p.last.text
}

// sent is what the primary says of a copy that it sends: pg_stat_progress_basebackup. It is empty where it says nothing.
type sent struct {
	phase string
	// bytes are sent, of total, which is an estimate; 0 where there is none.
	bytes, total int64
}

func (c sent) String() string {
	switch {
	case c.bytes == 0:
		return c.phase
	case c.total <= 0:
		return fmt.Sprintf("%d GiB copied", c.bytes>>30)
	case c.bytes >= c.total:
		return fmt.Sprintf("100 %% of %d MiB copied: %s", c.total>>20, c.phase)
	}
	// In steps of five percent: each is a line.
	return fmt.Sprintf("%d %% of %d MiB copied", c.bytes*20/c.total*5, c.total>>20)
}

// advance says how far a member is on its way to a replica that streams.
func (s survey) advance(m surveyed, c sent) advance {
	a := advance{patience: standsStill, text: fmt.Sprintf("it is %q", m.State)}
	switch {
	case m.err != nil:
		a.unseen, a.text = true, "its Patroni does not answer: "+short(m.err)
	case m.runs():
		a.stage, a.at, a.text = stageRuns, max(m.WAL.Received, m.WAL.Replayed), s.streams(m)
		switch {
		case a.text == "":
			a.stage, a.at, a.text = stageStreams, 0, "it streams"
		case m.WAL.Paused:
			a.text += "; its replay is paused"
		}
	case m.State == "creating replica" && c.phase == "":
		a.stage, a.blind, a.patience = stageCopy, true, syncTime
		a.text += ", and the primary sends it nothing: it removes its old data, brings the copy to its disk, or fails"
	case m.State == "creating replica" && (c.phase == "waiting for wal archiving to finish" || c.phase == "transferring wal files"):
		a.stage, a.text = stageCatch, c.String()
	case m.State == "creating replica":
		a.stage, a.at, a.text = stageCopy, c.bytes, c.String()
		if c.bytes == 0 { // the checkpoint before it, of much memory onto slow disks
			a.patience = syncTime
		}
	case m.State == "starting", m.State == "restarting", m.State == "stopping":
		a.stage, a.patience = stageStart, recoverTime
	}
	return a
}
