package verify

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Event is something that was seen to happen.
type Event struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// state is what a member last said of itself.
type state string

const (
	silent  state = "silent"
	primary state = "primary"
	replica state = "replica"
)

// span is a time in which a member is known to have led: it said so at both ends.
type span struct {
	member   string
	from, to time.Time
}

// watch sees the cluster as a client does, while something happens to it: who leads, who is silent, which rows are
// acknowledged. Its methods may be called at the same time.
type watch struct {
	mu     sync.Mutex
	states map[string]state
	events []Event
	led    []span
	rows   Account
}

const (
	// lookPause is between two looks at a member, and lookTime how long it may take to answer one.
	lookPause, lookTime = 200 * time.Millisecond, 2 * time.Second
)

// follow asks one member again and again until ctx ends, on one session for as long as that lives.
func (w *watch) follow(ctx context.Context, v *Verifier, d door) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			hangUp(conn)
		}
	}()
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	for {
		began := time.Now()
		now := silent
		look, cancel := context.WithTimeout(ctx, lookTime)
		var err error
		if conn == nil {
			conn, err = v.connect(look, d, v.login)
		}
		if err == nil {
			var recovery bool
			if err = conn.QueryRow(look, "SELECT pg_is_in_recovery()").Scan(&recovery); err == nil {
				if now = primary; recovery {
					now = replica
				}
			}
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil && conn != nil {
			hangUp(conn)
			conn = nil
		}
		w.saw(d.name, now, began, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// saw takes down what a member said between two moments.
func (w *watch) saw(member string, now state, asked, answered time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	was, known := w.states[member]
	w.states[member] = now
	if now == primary {
		if last := w.lastLed(member); was == primary && last != nil {
			last.to = asked
		} else {
			w.led = append(w.led, span{member, answered, answered})
		}
	}
	if !known || was == now {
		return
	}
	what := map[state]string{silent: "does not answer any more", primary: "is the primary", replica: "is a replica"}[now]
	w.events = append(w.events, Event{answered, member + " " + what})
}

func (w *watch) lastLed(member string) *span {
	for i := len(w.led) - 1; i >= 0; i-- {
		if w.led[i].member == member {
			return &w.led[i]
		}
	}
	return nil
}

// note adds an event of our own making.
func (w *watch) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, Event{time.Now(), what})
}

func (w *watch) acknowledged(r Row) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows = append(w.rows, r)
}

// account are the rows so far.
func (w *watch) account() Account {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rows[:len(w.rows):len(w.rows)]
}

// between are the events of a time.
func (w *watch) between(from, to time.Time) (all []Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if !e.At.Before(from) && !e.At.After(to) {
			all = append(all, e)
		}
	}
	return all
}

// state is what a member last said; leader is the only one that leads, empty when there is none or more.
func (w *watch) state(member string) state {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.states[member]
}

func (w *watch) leader() (name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for member, s := range w.states {
		switch {
		case s == primary && name != "":
			return ""
		case s == primary:
			name = member
		}
	}
	return name
}

// away are the members that are not what they should be beside one primary.
func (w *watch) away(members []door) (names []string) {
	for _, d := range members {
		if s := w.state(d.name); s != primary && s != replica {
			names = append(names, d.name)
		}
	}
	return names
}

// twoLed says which two members led at the same time; empty when none did.
func (w *watch) twoLed() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, a := range w.led {
		for _, b := range w.led[i+1:] {
			if a.member != b.member && a.from.Before(b.to) && b.from.Before(a.to) {
				return fmt.Sprintf("%s and %s", a.member, b.member)
			}
		}
	}
	return ""
}
