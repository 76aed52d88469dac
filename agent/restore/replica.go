package restore

import (
	"fmt"
	"strings"
	"time"
)

const (
	// silentTime is how long a member that does not answer is waited for.
	silentTime = time.Minute
	// takesTime is how long Patroni may take from an order to what it does about it.
	takesTime = time.Minute
	// againMost is the longest pause between a copy that failed and the next order.
	againMost = 10 * time.Minute
	// copyStall is for how long a copy may not move, and startStall for how long PostgreSQL may recover: nothing tells how far it is.
	copyStall  = 30 * time.Minute
	startStall = 24 * time.Hour
	// ordersMost is how many copies may fail.
	ordersMost = 6
)

// Seen is what one look says of a member's copy.
type Seen struct {
	// Answers tells that its Patroni does; State and Timeline are what that says of PostgreSQL.
	Answers  bool
	State    string
	Timeline int
	// Streams tells that the primary, which is on timeline Current, sends it WAL.
	Streams bool
	Current int
	// Another tells that its database has another system identifier than the primary's, as far as its Patroni knows: in a pause that
	// does not look again. The number of its timeline says nothing then.
	Another bool
	// Bytes is how much it has copied, or received: a number that changes while it proceeds.
	Bytes int64
}

// Replica is what is known of a member's copy, from look to look. It may begin anew at any time, as when the program was killed: a copy
// that proceeds is recognised by what it says.
type Replica struct {
	heard, asked, moved time.Time
	last                Seen
	orders              int
}

// Ordered notes that the member was told to copy.
func (r *Replica) Ordered(now time.Time) {
	r.asked, r.moved = now, now
	r.orders++
}

// Next takes a look, and says how far the member is; what is for a person, and says also why it is left.
func (r *Replica) Next(s Seen, now time.Time) (is State, what string) {
	if r.heard.IsZero() {
		r.heard, r.moved = now, now
	}
	if !s.Answers {
		if now.Sub(r.heard) > silentTime {
			return Left, "it does not answer"
		}
		return Copying, "it does not answer at this moment"
	}
	r.heard = now
	if s.State != r.last.State || s.Bytes != r.last.Bytes {
		r.moved = now
	}
	r.last = s
	still := now.Sub(r.moved)
	switch running := s.State == "running" || s.State == "streaming" || s.State == "in archive recovery"; {
	case running && s.Timeline == s.Current && s.Streams:
		return Follows, ""
	case running && s.Another && r.asked.IsZero():
		return Old, "" // at once: its Patroni ends with the pause
	case strings.Contains(s.State, "creating"), running && s.Timeline == s.Current && (!s.Another || still <= takesTime):
		what = fmt.Sprintf("it has %d MiB", s.Bytes>>20)
		if s.Bytes == 0 {
			what = fmt.Sprintf("it is %q", s.State)
		}
		if still > copyStall {
			return Left, fmt.Sprintf("%s, and has not moved for %s", what, still.Round(time.Minute))
		}
		return Copying, what
	case s.State == "starting" || s.State == "restarting" || s.State == "stopping":
		if still > startStall {
			return Left, fmt.Sprintf("it is %q for %s", s.State, still.Round(time.Hour))
		}
		return Copying, fmt.Sprintf("it is %q", s.State)
	case r.asked.IsZero():
		return Old, ""
	case now.Sub(r.asked) < r.pause():
		return Copying, fmt.Sprintf("it is %q on timeline %d, and was told to copy", s.State, s.Timeline)
	}
	if r.orders >= ordersMost {
		return Left, fmt.Sprintf("it is %q: its copy failed %d times", s.State, r.orders)
	}
	return Old, fmt.Sprintf("it is %q: its copy failed", s.State)
}

// pause is from one order to the next where Patroni says that the copy failed, or does nothing.
func (r *Replica) pause() time.Duration {
	pause := takesTime
	for range r.orders - 1 {
		pause = min(2*pause, againMost)
	}
	return pause
}
