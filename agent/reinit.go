package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// copyStall is how long nothing may be heard of a copy before this command gives it up; the copy itself goes on.
const copyStall = 10 * time.Minute

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
	began, heard, text := time.Now(), time.Now(), ""
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = w.until(ctx, name, 7*24*time.Hour, func(ctx context.Context) string {
		s = w.survey(ctx)
		now, _ := s.member(name)
		if now.Started != m.Started && now.Started != "" && s.streams(now) == "" {
			return ""
		}
		next := w.copying(ctx, s, now)
		switch {
		case next != text:
			text, heard = next, time.Now()
		case time.Since(heard) > copyStall:
			cancel(fmt.Errorf("for %s: %s\n      hint: journalctl -u patroni, on %s", copyStall, text, name))
		}
		return text
	})
	if err != nil {
		return err
	}
	w.Say("%s streams after %.1f s", name, time.Since(began).Seconds())
	if why := s.sick(); why != "" {
		if _, err := w.awaitWhole(ctx, wholeTime); err != nil {
			return fmt.Errorf("it is copied and streams; the cluster is not whole: %w\n      hint: pgha doctor", err)
		}
	}
	return nil
}

// copying says how far the copy of a member is.
func (w *work) copying(ctx context.Context, s survey, m surveyed) string {
	if m.err != nil {
		return "its Patroni does not answer: " + short(m.err)
	}
	if p, why := s.primary(); why == "" && m.State == "creating replica" {
		if text := w.copied(ctx, p.at, m.at); text != "" {
			return text
		}
	}
	if m.runs() {
		return s.streams(m)
	}
	return fmt.Sprintf("it is %q", m.State)
}

// copied asks the primary how much it has sent; empty while it does not say.
func (w *work) copied(ctx context.Context, primary, replica netip.Addr) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	out, err := w.sql(ctx, "any", "SELECT p.phase, p.backup_streamed, p.backup_total FROM pg_catalog.pg_stat_progress_basebackup p JOIN pg_catalog.pg_stat_activity a USING (pid) WHERE a.client_addr = '"+replica.String()+"'", primary)
	f := strings.Split(out, "|")
	if err != nil || len(f) != 3 {
		return ""
	}
	sent, _ := strconv.ParseFloat(f[1], 64)
	total, _ := strconv.ParseFloat(f[2], 64)
	if total <= 0 {
		return f[0]
	}
	// In steps of five percent: each is a line.
	return fmt.Sprintf("%d %% of %.0f MiB copied", min(100, int(sent/total*20)*5), total/(1<<20))
}
