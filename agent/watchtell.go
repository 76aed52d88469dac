package agent

import (
	"context"
	"time"

	"github.com/pgbake/pgbake/agent/monitor"
)

const (
	// retryMost is how long a receiver is left alone at most: one look after a failure, twice as long each time.
	retryMost = 10 * time.Minute
	// muteAfter failures in a row, and where no receiver takes anything, another machine tells what there is to tell; after
	// muteTime this one may try again.
	muteAfter, muteTime = 3, 30 * time.Minute
)

// trouble is what a receiver does not take.
type trouble struct {
	busy     bool
	failures int
	last     time.Time
	said     string
}

// rests tells whether it is too early to try again; half a look is for looks that come a little sooner.
func (t *trouble) rests(now time.Time, every time.Duration) bool {
	return t.failures > 0 && now.Sub(t.last) < min(every<<min(t.failures-1, 10), retryMost)-every/2
}

// of is a receiver's trouble; the caller holds the lock.
func (m *watcher) of(receiver string) *trouble {
	if m.trouble[receiver] == nil {
		m.trouble[receiver] = &trouble{}
	}
	return m.trouble[receiver]
}

// mute tells whether nobody takes anything from this machine.
func (m *watcher) mute() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.receivers {
		if t := m.of(r.Name); t.failures < muteAfter || time.Since(t.last) > muteTime {
			return false
		}
	}
	return len(m.receivers) > 0
}

// deliver begins to tell each receiver what it has not heard and is this machine's to tell. It waits for none of them: one that
// hangs holds up neither the next look nor the others.
func (m *watcher) deliver(ctx context.Context, p monitor.Policy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.receivers {
		t := m.of(r.Name)
		owed := m.state.Owed(r.Name, p, m.seed.Machine.Name, time.Now())
		if len(owed) == 0 || t.busy || t.rests(time.Now(), m.every) {
			continue
		}
		t.busy = true
		go m.tellAll(ctx, r, t, owed)
	}
}

// tellAll goes on after a no, which may be about one notice, but not after silence.
func (m *watcher) tellAll(ctx context.Context, r monitor.Receiver, t *trouble, owed []monitor.Alert) {
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		t.busy = false
	}()
	var failed error
	for _, a := range owed {
		m.mu.Lock()
		scope, self := m.seed.Cluster.Scope, m.seed.Machine.Name
		m.mu.Unlock()
		err := r.Deliver(ctx, monitor.NoticeOf(a, scope, self))
		if ctx.Err() != nil {
			return // stopped: the next start tells it
		}
		m.mu.Lock()
		if err == nil {
			m.state.Heard(a, r.Name, self)
			m.save()
		}
		m.mu.Unlock()
		if err != nil {
			failed = err
			if !monitor.Refused(err) {
				break
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if failed == nil {
		if t.said != "" {
			m.Say("%s takes alerts again", r.Name)
		}
		t.failures, t.said = 0, ""
		return
	}
	t.failures++
	t.last = time.Now()
	if why := failed.Error(); why != t.said {
		m.Say("%s (%s) does not take an alert, and is tried again: %s", r.Name, r.To, why)
		t.said = why
	}
}
