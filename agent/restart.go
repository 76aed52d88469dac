package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Restart is what a rolling restart does.
type Restart struct {
	// Pending restarts only members of which a changed parameter wants it.
	Pending bool
	// Since restarts only members of which PostgreSQL runs since before that time; zero: all.
	Since time.Time
	// InPlace restarts the primary where it is: a pause as long as its restart, and no other primary afterwards.
	InPlace bool
	// Patience is how long a member may take until it can be begun with.
	Patience time.Duration
}

// RollingRestart restarts PostgreSQL member by member, the replicas first, and stops at the first that does not come back.
// told gets a line for each member that is done.
func (a *Agent) RollingRestart(ctx context.Context, r Restart, told func(string)) error {
	w, err := a.upkeep("restart")
	if err != nil {
		return err
	}
	return w.alone(ctx, "rolling restart", func(ctx context.Context) error { return w.restart(ctx, r, told) })
}

// turn is one step of a rolling restart.
type turn struct {
	name string
	how  string // one of the three below
}

const (
	restartReplica = "replica"
	restartByMove  = "switchover" // its PostgreSQL stops as the primary, and starts as a replica
	restartInPlace = "in place"
)

// nextTurn chooses whose turn it is: a replica that is due, then the primary. What is due again after its restart had a
// parameter that replicas may have only after the primary (a smaller max_connections): then the primary goes in place,
// and the replicas once more.
func nextTurn(s survey, due func(surveyed) bool, done map[string]int, inPlace bool) (turn, bool) {
	p, _ := s.primary()
	replica := func(times int) (turn, bool) {
		for _, m := range s.replicas() {
			if due(m) && done[m.name] == times {
				return turn{m.name, restartReplica}, true
			}
		}
		return turn{}, false
	}
	if t, ok := replica(0); ok {
		return t, true
	}
	switch {
	case !due(p) || done[p.name] > 1:
	case inPlace || len(s.members) == 1 || done[p.name] == 1:
		return turn{p.name, restartInPlace}, true
	default:
		return turn{p.name, restartByMove}, true
	}
	return replica(1)
}

func (w *work) restart(ctx context.Context, r Restart, told func(string)) error {
	began := time.Now()
	s, err := w.awaitWhole(ctx, r.Patience)
	if err != nil {
		return fmt.Errorf("restart: nothing was begun: %w\n      hint: pgha doctor", err)
	}
	if s.paused() && len(s.members) > 1 && !r.InPlace {
		return errors.New("restart: in maintenance Patroni replaces no primary\n      hint: pgha maintenance off, or --in-place, which moves nothing")
	}
	first := map[string]string{}
	for _, m := range s.members {
		first[m.name] = m.Started
	}
	due := func(m surveyed) bool {
		switch {
		case r.Pending || first[m.name] != m.Started:
			return m.Pending
		case r.Since.IsZero():
			return true
		}
		return m.started().Before(r.Since)
	}
	done := map[string]int{}
	var order []string
	for {
		t, more := nextTurn(s, due, done, r.InPlace)
		if !more {
			break
		}
		text, err := w.restartOne(ctx, s, t, r.Patience)
		if err == nil {
			s, err = w.awaitMoving(ctx, "a healthy cluster", survey.sick)
		}
		if err != nil {
			if t.name == w.seed.Machine.Name {
				words, _ := w.lastWords(context.WithoutCancel(ctx))
				err = errors.New(withWords(trimHint(err).Error(), words))
			}
			return stopped(err, t.name, order, s, due, r, began)
		}
		done[t.name]++
		order = append(order, t.name)
		told(text)
	}
	if len(order) == 0 {
		told("no member needs a restart")
		return nil
	}
	var still []string
	for _, m := range s.members {
		if due(m) {
			still = append(still, m.name)
		}
	}
	if len(still) > 0 {
		return fmt.Errorf("restart: a changed parameter still waits for a restart of %s, after one\n      hint: journalctl -u patroni", list(still))
	}
	return nil
}

// restartOne restarts one member, and waits until it runs again as a newly started one.
func (w *work) restartOne(ctx context.Context, s survey, t turn, patience time.Duration) (string, error) {
	m, _ := s.member(t.name)
	began := time.Now()
	switch t.how {
	case restartByMove:
		moved, err := w.switchover(ctx, "", patience)
		if err != nil {
			return "", err
		}
		now, _ := w.survey(ctx).member(t.name)
		if now.Started == m.Started {
			return "", fmt.Errorf("%s is a replica now, and its PostgreSQL was not restarted", t.name)
		}
		return fmt.Sprintf("%s: restarted as a replica; %s", t.name, moved), nil
	case restartInPlace:
		w.checkpoint(ctx, m)
		p := w.probe(ctx)
		defer p.stop()
		w.awaitProbe(ctx, p)
		if err := w.restarted(ctx, m); err != nil {
			return "", err
		}
		if err := w.awaitWrite(ctx, p, time.Now()); err != nil {
			return "", err
		}
		text := fmt.Sprintf("%s: restarted in place in %.1f s", t.name, time.Since(began).Seconds())
		if pause, measured := p.end(); measured {
			text += fmt.Sprintf(", no write for %.1f s", pause.Seconds())
		}
		return text, nil
	}
	if err := w.restarted(ctx, m); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: restarted in %.1f s", t.name, time.Since(began).Seconds()), nil
}

// restarted has Patroni restart PostgreSQL, and waits until it runs since another time.
func (w *work) restarted(ctx context.Context, m surveyed) error {
	w.Say("restart %s", m.name)
	err := w.insist(ctx, m, wholeTime, func(context.Context) (string, error) {
		return "", w.api.order(ctx, m.at, "/restart", map[string]any{}, 2*wholeTime)
	})
	if err != nil {
		return err
	}
	return w.whileMoving(ctx, "PostgreSQL of "+m.name, func(ctx context.Context) (advance, bool) {
		s := w.survey(ctx)
		now, _ := s.member(m.name)
		a := s.advance(now, sent{})
		if now.runs() && now.Started == m.Started {
			a = advance{stage: stageStart, patience: standsStill, text: "it was not restarted yet"}
		}
		return a, now.err == nil && now.runs() && now.Started != m.Started
	})
}

// stopped says where a rolling restart has stopped, and how to go on.
func stopped(err error, at string, done []string, s survey, due func(surveyed) bool, r Restart, began time.Time) error {
	var left []string
	for _, m := range s.members {
		if m.name != at && due(m) && !slices.Contains(done, m.name) {
			left = append(left, m.name)
		}
	}
	on := "pgha restart --pending"
	if !r.Pending {
		since := r.Since
		if since.IsZero() {
			since = began
		}
		on = "pgha restart --since " + since.UTC().Format(time.RFC3339)
	}
	if r.InPlace {
		on += " --in-place"
	}
	return fmt.Errorf("restart %s: %w\n      restarted: %s; not begun: %s\n      hint: `pgha doctor` on %s looks for what is wrong; then: %s",
		at, trimHint(err), list(done), list(left), at, on)
}

// trimHint is an error without its own hint, where a better one follows.
func trimHint(err error) error {
	text, _, had := strings.Cut(err.Error(), "\n      hint:")
	if !had {
		return err
	}
	return errors.New(text)
}

// String says how it went, in a few words.
func (m Moved) String() string {
	text := fmt.Sprintf("%s leads, on timeline %d", m.To, m.Timeline)
	if m.Pause > 0 {
		text += fmt.Sprintf("; no write for %.1f s", m.Pause.Seconds())
	}
	return text
}
