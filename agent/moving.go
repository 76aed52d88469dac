package agent

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// whileMoving waits until look says that it is done, however long that takes, for as long as it moves.
func (w *work) whileMoving(ctx context.Context, what string, look func(context.Context) (a advance, done bool)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var p progress
	return w.until(ctx, what, movesMost, func(ctx context.Context) string {
		a, done := look(ctx)
		switch {
		case done:
			return ""
		case ctx.Err() != nil: // what it has seen may only be that it had no time
		default:
			if why := p.see(a, time.Now()); why != "" {
				cancel(errors.New(why))
			}
		}
		return a.text
	})
}

// awaitMoving waits until the cluster is as it should be, wholeTime at most beyond the last moment at which a replica that is not there
// yet has moved.
func (w *work) awaitMoving(ctx context.Context, what string, sick func(survey) string) (survey, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	members, last := map[string]*progress{}, time.Now()
	return w.awaitSurvey(ctx, what, movesMost, func(s survey) string {
		why := sick(s)
		if why == "" || ctx.Err() != nil {
			return why
		}
		for _, m := range s.replicas() {
			p := members[m.name]
			if p == nil {
				p = &progress{}
				members[m.name] = p
			}
			a := s.advance(m, w.sentTo(ctx, s, m))
			switch stuck := p.see(a, time.Now()); {
			case stuck != "":
			case p.moved.After(last):
				last = p.moved
			case a.patience > standsStill && !a.unseen: // nobody can see whether it moves
				last = time.Now()
			}
		}
		if time.Since(last) > wholeTime {
			cancel(errors.New("waited " + wholeTime.String() + " for " + what + " in vain: " + why))
		}
		return why
	})
}

// sentTo asks the primary how much of a copy it has sent to a member; empty while there is none, or it does not say.
func (w *work) sentTo(ctx context.Context, s survey, m surveyed) (c sent) {
	p, none := s.primary()
	if none != "" || m.err != nil || m.State != "creating replica" {
		return c
	}
	return w.sentBy(ctx, p.at, m.at)
}

// sentBy is sentTo by their addresses.
func (w *work) sentBy(ctx context.Context, primary, replica netip.Addr) (c sent) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	out, err := w.sql(ctx, "any", "SELECT p.phase, p.backup_streamed, p.backup_total FROM pg_catalog.pg_stat_progress_basebackup p JOIN pg_catalog.pg_stat_activity a USING (pid)"+
		" WHERE a.client_addr = '"+replica.String()+"' ORDER BY a.backend_start DESC LIMIT 1", primary)
	f := strings.Split(out, "|")
	if err != nil || len(f) != 3 {
		return c
	}
	c.phase = f[0]
	c.bytes, _ = strconv.ParseInt(f[1], 10, 64) // absent until files are sent
	c.total, _ = strconv.ParseInt(f[2], 10, 64)
	return c
}
