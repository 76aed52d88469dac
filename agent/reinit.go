package agent

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Reinit throws a replica's data away and copies the primary's anew. It is refused for the primary, and where the replica
// is the last that could take over without loss, unless last says that it may be.
func (a *Agent) Reinit(ctx context.Context, name string, last bool) error {
	w, err := a.upkeep("reinit")
	if err != nil {
		return err
	}
	err = w.alone(ctx, "copy of "+name, func(ctx context.Context) error { return w.reinit(ctx, name, last) })
	if err != nil {
		return fmt.Errorf("reinit %s: %w", name, err)
	}
	return nil
}

func (w *work) reinit(ctx context.Context, name string, last bool) error {
	s := w.survey(ctx)
	m, _ := s.member(name)
	err := w.insist(ctx, m, time.Minute, func(context.Context) (string, error) {
		s = w.survey(ctx) // meanwhile its data may be needed
		switch why, passes := s.mayReinit(name, last); {
		case why != "" && passes:
			return why, nil
		case why != "":
			return "", errors.New(why)
		}
		m, _ = s.member(name)
		// force: whatever its Patroni is at, it is at it in vain.
		return "", w.api.order(ctx, m.at, "/reinitialize", map[string]any{"force": true}, time.Minute)
	})
	if err != nil {
		return err
	}
	p, _ := s.primary()
	w.Say("%s copies the database of %s; the copy goes on when this command is ended", name, p.name)
	began := time.Now()
	err = w.whileMoving(ctx, name, func(ctx context.Context) (advance, bool) {
		s = w.survey(ctx)
		now, _ := s.member(name)
		return s.advance(now, w.sentTo(ctx, s, now)), now.Started != m.Started && now.Started != "" && s.streams(now) == ""
	})
	if err != nil {
		return fmt.Errorf("%w\n      hint: the copy may still go on; journalctl -u patroni, on %s", err, name)
	}
	w.Say("%s streams after %.1f s", name, time.Since(began).Seconds())
	if why := s.sick(); why != "" {
		if _, err := w.awaitMoving(ctx, "a healthy cluster", survey.sick); err != nil {
			return fmt.Errorf("it is copied and streams; the cluster is not whole: %w\n      hint: pgha doctor", err)
		}
	}
	return nil
}
