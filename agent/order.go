package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// declined is Patroni's own word on why it does not do something.
type declined struct{ text string }

func (r *declined) Error() string { return "patroni refuses: " + r.text }

// order has a member's Patroni do something, and returns when that is done, patience at most. It goes to Patroni alone:
// nobody else is to see the password.
func (a *api) order(ctx context.Context, addr netip.Addr, path string, in any, patience time.Duration) error {
	client := &http.Client{Timeout: patience, Transport: a.client.Transport}
	body, err := a.send(ctx, client, http.MethodPost, a.patroni(addr, path), in, true)
	var status *statusError
	if errors.As(err, &status) {
		return &declined{strings.TrimSpace(string(body))}
	}
	return err
}

// unknownEnd tells that an order may have been carried out all the same: no answer came, or one that does not say.
func unknownEnd(err error) bool {
	var no *declined
	var dial *net.OpError
	switch {
	case err == nil:
		return false
	case errors.As(err, &no):
		return strings.Contains(no.text, "unknown")
	case errors.As(err, &dial) && dial.Op == "dial":
		return false // it was not even given
	}
	return true
}
