package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// declined is Patroni's own word on why it does not do something, with its HTTP status.
type declined struct {
	code int
	text string
}

func (r *declined) Error() string { return "patroni refuses: " + r.text }

// order has a member's Patroni do something, and returns when that is done, patience at most. It returns no error either
// where the order may have been carried out all the same: whoever gives one waits for what comes of it. It goes to Patroni
// alone: nobody else is to see the password.
func (a *api) order(ctx context.Context, addr netip.Addr, path string, in any, patience time.Duration) error {
	client := straight(patience, a.client.Transport)
	body, err := a.send(ctx, client, http.MethodPost, a.patroni(addr, path), in, true)
	var status *statusError
	if errors.As(err, &status) {
		err = &declined{status.code, strings.TrimSpace(string(body))}
	}
	if unknownEnd(err) {
		return nil
	}
	return err
}

// unknownEnd tells that an order may have been carried out all the same: no answer came, or one that does not say.
func unknownEnd(err error) bool {
	var no *declined
	switch {
	case err == nil:
		return false
	case errors.As(err, &no):
		return strings.Contains(no.text, "unknown") || no.text == "postgres is still starting"
	}
	return !notGiven(err)
}

// notGiven tells that an order has not reached Patroni.
func notGiven(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}

// passing tells that an order failed for a state that passes by itself, so that it may be taken when it is given again:
//
//	not given   Patroni is being restarted, or its machine is out of reach
//	412         /switchover: its REST API sees another leader, or no candidate that may take over at this moment
//	503         /switchover: so does its loop, which has dropped the order; or etcd did not take it
//	503         every order: it is at something else ("... already in progress"), or there is no leader
//
// PostgreSQL that did not start does not pass: Patroni itself starts it, again and again.
// https://github.com/patroni/patroni/blob/v4.0.7/patroni/api.py (do_POST_failover, do_POST_restart, do_POST_reinitialize)
func passing(err error) bool {
	var no *declined
	if errors.As(err, &no) {
		return no.code == http.StatusPreconditionFailed || no.code == http.StatusServiceUnavailable && no.text != "restart failed"
	}
	return notGiven(err)
}

// insist gives an order to a member's Patroni again while it is declined for a state that passes, patience at most. once
// gives the order, or says why it cannot be given yet. Its first error that does not pass is returned.
func (w *work) insist(ctx context.Context, m surveyed, patience time.Duration, once func(context.Context) (yet string, err error)) error {
	began, orders := time.Now(), 0
	var woken time.Time
	var last error
	then := "" // why the order could not be given again after the last one
	waited := w.until(ctx, m.name+" to take the order, which is repeated", patience, func(look context.Context) string {
		yet, err := once(look)
		switch {
		case yet == "":
			orders, last, then = orders+1, err, ""
			if !passing(err) {
				return ""
			}
		case look.Err() == nil: // else it may only say that the look had no time
			then = "; then: " + yet
		}
		if time.Since(woken) > 2*time.Second {
			woken = time.Now()
			_ = w.api.wake(look, m.at) // the next order tells whether it helped
		}
		return cmp.Or(yet, fmt.Sprint(last))
	})
	switch {
	case waited == nil:
		return last
	case ctx.Err() != nil || last == nil:
		return waited
	}
	return fmt.Errorf("%w; orders in %s: %d%s", last, time.Since(began).Round(time.Second), orders, then)
}
