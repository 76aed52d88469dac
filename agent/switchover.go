package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// Moved is a switchover that is over.
type Moved struct {
	From, To string
	Timeline int
	// Pause is for how long no write was acknowledged, as a client without a proxy sees it that tries all the time;
	// 0 when it was not measured.
	Pause time.Duration
}

// Switchover gives the primary's role to another member, once one is ready, which patience is the time for.
func (a *Agent) Switchover(ctx context.Context, to string, patience time.Duration) (Moved, error) {
	w, err := a.upkeep("move the primary")
	if err != nil {
		return Moved{}, err
	}
	var m Moved
	err = w.alone(ctx, "switchover", func(ctx context.Context) (err error) {
		m, err = w.switchover(ctx, to, patience)
		return err
	})
	if err != nil {
		return m, fmt.Errorf("switchover: %w", err)
	}
	return m, nil
}

// upkeep is prepare for what only a member does.
func (a *Agent) upkeep(what string) (*work, error) {
	w, err := a.prepare()
	if err != nil {
		return nil, err
	}
	if w.seed.Machine.Role != cluster.DB {
		return nil, fmt.Errorf("%s: %s is a proxy\n      hint: run it on a member: %s", what, w.seed.Machine.Name, names(w.seed.Cluster.Machines()[:len(w.seed.Cluster.Nodes)]))
	}
	return w, nil
}

// candidate chooses who takes over. no says why nobody ever will as things are, yet why nobody can at this moment.
func (s survey) candidate(to string) (c surveyed, no, yet string) {
	p, why := s.primary()
	switch m, known := s.member(to); {
	case s.paused():
		return c, "in maintenance Patroni does nothing by itself: a member that fails half-way would not be replaced\n      hint: pgha maintenance off", ""
	case to != "" && !known:
		return c, fmt.Sprintf("the cluster has no member %q", to), ""
	case len(s.members) == 1:
		return c, "there is no other member", ""
	case why != "":
		return c, "", why
	case to == p.name:
		return c, to + " is the primary already", ""
	case to != "":
		return m, "", s.ready(m)
	}
	replicas := s.replicas()
	slices.SortStableFunc(replicas, func(a, b surveyed) int { return cmp.Compare(s.lag(a), s.lag(b)) })
	for _, m := range replicas {
		not := s.ready(m)
		if not == "" {
			return m, "", ""
		}
		if yet == "" {
			yet = not
		}
	}
	return c, "", yet
}

// after is the next replica that may take over, beginning behind the one that Patroni has declined: it may take another.
func (s survey) after(declined string) surveyed {
	replicas := s.replicas()
	behind := 1 + slices.IndexFunc(replicas, func(m surveyed) bool { return m.name == declined })
	replicas = slices.Concat(replicas[behind:], replicas[:behind])
	return replicas[max(0, slices.IndexFunc(replicas, func(m surveyed) bool { return s.ready(m) == "" }))]
}

// caughtUp is how many bytes a replica may lack that takes over where no commit waits for it: the primary hands over only
// when it has them, and meanwhile nobody writes.
const caughtUp = 16 << 20

// ready says why a member cannot take over at this moment; empty when it can without loss.
func (s survey) ready(m surveyed) string {
	if why := s.streams(m); why != "" {
		return why
	}
	if !m.etcd {
		return fmt.Sprintf("etcd of %s sees no quorum", m.name)
	}
	if s.confirmWant > 0 && !slices.Contains(s.confirm, m.name) {
		return fmt.Sprintf("%s is not synchronous: a failover to it might lose acknowledged writes; synchronous: %s", m.name, list(s.confirm))
	}
	if lag := s.lag(m); lag > caughtUp {
		return fmt.Sprintf("%s has %d MiB yet to receive", m.name, lag>>20)
	}
	return ""
}

// switchover is the work of Switchover, for whoever has the task already.
func (w *work) switchover(ctx context.Context, to string, patience time.Duration) (Moved, error) {
	s, c, err := w.awaitCandidate(ctx, to, patience)
	if err != nil {
		return Moved{}, err
	}
	old, _ := s.primary()
	w.checkpoint(ctx, old, c)
	// Meanwhile much may have happened. The choice stands unless it has to fall anew.
	if s, c, err = w.awaitCandidate(ctx, cmp.Or(to, c.name), patience); err != nil {
		return Moved{}, err
	}
	if now, _ := s.primary(); now.name != old.name {
		return Moved{}, movedMeanwhile(old, now)
	}
	p := w.probe(ctx)
	defer p.stop()
	w.awaitProbe(ctx, p)
	if c, err = w.handOver(ctx, old, c, to, patience); err != nil {
		return Moved{}, err
	}
	return w.arrive(ctx, old, c, p)
}

// handOver has the primary hand over, and returns to whom. Patroni declines while the candidate is not ready in its view: it
// is not synchronous yet, it lags, it is still on the timeline before the last switchover, or it does not answer within two
// seconds. Patroni drops the order then, and takes the same one some seconds later.
func (w *work) handOver(ctx context.Context, old, c surveyed, to string, patience time.Duration) (surveyed, error) {
	w.Say("%s hands over to %s", old.name, c.name)
	ordered := false
	err := w.insist(ctx, old, patience, func(look context.Context) (yet string, err error) {
		if ordered {
			s := w.survey(look)
			now, none := s.primary()
			next, no, yet := s.candidate(to)
			switch {
			case none == "" && now.name == c.name:
				return "", nil // it was carried out all the same
			case none == "" && now.name != old.name:
				return "", movedMeanwhile(old, now)
			case no != "":
				return "", errors.New(no)
			case yet != "":
				return yet, nil
			}
			if to == "" {
				next = s.after(c.name)
			}
			c = next
		}
		ordered = true
		return "", w.api.order(ctx, old.at, "/switchover", map[string]any{"leader": old.name, "candidate": c.name}, time.Minute)
	})
	var no *declined
	if !errors.As(err, &no) && !passing(err) {
		return c, err
	}
	leads := old.name + " leads as before"
	if now, none := w.survey(ctx).primary(); none != "" || now.name != old.name {
		leads = cmp.Or(none, now.name+" leads")
	}
	return c, fmt.Errorf("%w\n      hint: %s; `journalctl -u patroni` on %s says why Patroni refused; `pgha doctor` looks for what is wrong", err, leads, old.name)
}

func movedMeanwhile(from, to surveyed) error {
	return fmt.Errorf("meanwhile the primary has moved from %s to %s\n      hint: pgha status", from.name, to.name)
}

func (w *work) awaitCandidate(ctx context.Context, to string, patience time.Duration) (s survey, c surveyed, err error) {
	no := ""
	err = w.until(ctx, "a replica that may take over", patience, func(ctx context.Context) (yet string) {
		s = w.survey(ctx)
		c, no, yet = s.candidate(to)
		return yet
	})
	switch {
	case no != "":
		err = errors.New(no)
	case err != nil:
		err = fmt.Errorf("%w\n      hint: nothing was changed; `pgha doctor` looks for what is wrong, --timeout waits longer", err)
	}
	return s, c, err
}

// awaitProbe waits for the first write, so that the pause has a beginning.
func (w *work) awaitProbe(ctx context.Context, p *probe) {
	err := w.until(ctx, "a first write", 10*time.Second, func(context.Context) string {
		if p.since(time.Time{}) {
			return ""
		}
		return p.trouble()
	})
	if err != nil && ctx.Err() == nil {
		w.Say("the pause is not measured: %s", p.trouble())
	}
}

// arrive waits until the new primary takes writes and the old one follows it, and nothing else is wrong.
func (w *work) arrive(ctx context.Context, old, c surveyed, p *probe) (Moved, error) {
	m := Moved{From: old.name, To: c.name}
	given := time.Now()
	var s survey
	err := w.until(ctx, c.name+" as the primary", 2*time.Minute, func(ctx context.Context) string {
		s = w.survey(ctx)
		now, why := s.primary()
		if why == "" && now.name != c.name {
			why = now.name + " leads"
		}
		return why
	})
	if now, why := s.primary(); err != nil && why == "" {
		return m, fmt.Errorf("%s leads, not %s: %w", now.name, c.name, err)
	}
	if err != nil {
		return m, fmt.Errorf("%w\n      hint: `pgha doctor` looks for what is wrong; the reason is in `journalctl -u patroni` of %s and of %s", err, old.name, c.name)
	}
	if err := w.awaitWrite(ctx, p, given); err != nil {
		return m, fmt.Errorf("%s leads, and takes no write: %w\n      hint: pgha doctor", c.name, err)
	}
	m.Pause, _ = p.end()
	// What was wrong before is none of this.
	s, err = w.awaitMoving(ctx, old.name+" as a replica", func(s survey) string {
		m, _ := s.member(old.name)
		why := s.streams(m)
		if why == "" && s.confirmWant > 0 && len(s.confirm) == 0 {
			why = "no replica may take over without loss"
		}
		return why
	})
	if err != nil {
		return m, fmt.Errorf("%s leads and takes writes, and the cluster is not whole: %w\n      hint: pgha doctor", c.name, err)
	}
	now, _ := s.primary()
	m.Timeline = now.Timeline
	return m, nil
}
