package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pgbake/pgbake/agent/monitor"
	"github.com/pgbake/pgbake/cluster"
)

const (
	// trustFile holds what the services of this machine were last seen to work with.
	trustFile = "/var/lib/pgha/certificates.json"
	// warnBefore is how long before a certificate's end people are told.
	warnBefore = 30 * 24 * time.Hour
	renewHint  = "\n      hint: " + monitor.RenewHint
)

// trust looks at what the seed's certificates are worth, whatever time it is.
func (s *Seed) trust() (cluster.Trust, error) {
	t, err := s.Identity.Check(s.Cluster, s.Machine)
	if err != nil {
		err = fmt.Errorf("look at %s: %w\n      hint: give this machine the user-data that `pgbake seed` made for it: all of it, of one cluster and of one run", tlsDir, err)
	}
	return t, err
}

// outOfTime says why the certificates are not valid now; empty when they are.
func outOfTime(t cluster.Trust, now time.Time) string {
	switch clock := now.UTC().Format("2006-01-02 15:04 UTC"); {
	case now.Before(t.From):
		return fmt.Sprintf("this machine's clock says %s, and its certificates are valid from %s on", clock, t.From.Format("2006-01-02 15:04 UTC"))
	case now.After(t.To):
		return fmt.Sprintf("this machine's clock says %s, and %s ended on %s", clock, t.First, t.To.Format("2006-01-02 15:04 UTC"))
	}
	return ""
}

// awaitClock touches nothing while the certificates are not valid by this machine's clock: nothing would work, and whom it
// asks would only say "bad certificate". At boot it waits for the time servers, or for a person.
func (w *work) awaitClock(ctx context.Context) error {
	holds := func(context.Context) bool { return outOfTime(w.trust, time.Now()) == "" }
	if holds(ctx) {
		return nil
	}
	why := func(ctx context.Context) string { return w.clockOrEnd(ctx, outOfTime(w.trust, time.Now())) }
	if w.Patience > 0 {
		return errors.New(why(ctx))
	}
	return w.await(ctx, "the clock", condition{holds: holds, why: why})
}

// clockOrEnd tells whose fault it is: the others know what time it is.
func (w *work) clockOrEnd(ctx context.Context, what string) string {
	const clockHint = "\n      hint: set this machine's clock, as by `timedatectl set-time`, and see to its time servers: chronyc sources"
	if what == "" {
		return "its certificates are valid again"
	}
	name, theirs := w.timeElsewhere(ctx)
	switch {
	case name == "":
		if time.Now().After(w.trust.To) {
			return what + "; no other machine says what time it is" + clockHint + "; if it is right:" + strings.TrimPrefix(renewHint, "\n      hint:")
		}
		return what + clockHint
	case theirs.After(w.trust.From) && theirs.Before(w.trust.To):
		return fmt.Sprintf("%s; the clock is wrong: %s's says %s%s", what, name, theirs.UTC().Format("2006-01-02 15:04 UTC"), clockHint)
	}
	return what + "; the clock agrees with " + name + "'s" + renewHint
}

// timeElsewhere asks the others for the time, by their answers' date. Their certificates are judged by a time at which this
// machine's own are valid, since its clock is what is in doubt.
func (w *work) timeElsewhere(ctx context.Context) (name string, at time.Time) {
	transport := w.api.peers.Transport.(*http.Transport).Clone() //nolint:forcetypeassert // newAPI made it
	valid := w.trust.From.Add(w.trust.To.Sub(w.trust.From) / 2)
	transport.TLSClientConfig.Time = func() time.Time { return valid }
	defer transport.CloseIdleConnections()
	client := straight(w.api.peers.Timeout, transport)
	machines := w.seed.Cluster.Machines()
	times := make([]time.Time, len(machines))
	var wg sync.WaitGroup
	for i, m := range machines {
		if m.Name == w.seed.Machine.Name {
			continue
		}
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.api.doorURL(m.Address, statePath), nil)
			if err != nil {
				return
			}
			if resp, err := client.Do(req); err == nil {
				_ = resp.Body.Close()
				times[i], _ = http.ParseTime(resp.Header.Get("Date")) // none: it does not say
			}
		})
	}
	wg.Wait()
	i := slices.IndexFunc(times, func(t time.Time) bool { return !t.IsZero() })
	if i < 0 {
		return "", at
	}
	return machines[i].Name, times[i]
}

// noteTrust keeps, when every service has been told, what this machine works with now: by this note the others, and
// `pgbake ca rotate`, know what it has.
func (w *work) noteTrust(ctx context.Context) error {
	body, err := json.Marshal(w.trust)
	if err != nil {
		return err
	}
	path := filepath.Join(w.Root, trustFile)
	had, err := os.ReadFile(path)
	switch {
	case err == nil && string(had) == string(body)+"\n":
		return nil
	case err == nil && w.seed.Machine.Role == cluster.DB:
		// It was told, and looks at the end of its loop only. As long as it has not, the others must trust what it had.
		err := w.await(ctx, "certificates", condition{
			holds: w.patroniShowsOwn,
			why:   func(context.Context) string { return "Patroni still shows the certificate that it had" },
		})
		if err != nil {
			return err
		}
	}
	return replace(path, append(body, '\n'), 0o644)
}

// patroniShowsOwn tells whether Patroni's REST API uses the certificate that this machine has now.
func (w *work) patroniShowsOwn(ctx context.Context) bool {
	own, _ := pem.Decode(w.seed.Identity["rest.crt"])
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // which one it shows is the question
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", hostPort(w.seed.Machine.Address, w.seed.Cluster.Ports.Patroni))
	if err != nil || own == nil {
		return false
	}
	defer conn.Close()                                           //nolint:errcheck // nothing was written
	shown := conn.(*tls.Conn).ConnectionState().PeerCertificates //nolint:forcetypeassert // as tls.Dialer has it
	return len(shown) > 0 && bytes.Equal(shown[0].Raw, own.Bytes)
}

// readTrust reads the note; false when there is none.
func readTrust(root string) (t cluster.Trust, ok bool) {
	body, err := os.ReadFile(filepath.Join(root, trustFile))
	return t, err == nil && json.Unmarshal(body, &t) == nil
}

// TrustProblem says which certificate of a machine ends soon or has ended, and what to do; over tells that it has.
func TrustProblem(t cluster.Trust, now time.Time) (problem string, over bool) {
	left := t.To.Sub(now)
	switch {
	case left < 0:
		return fmt.Sprintf("%s of %s ended on %s%s", t.First, t.Machine, t.To.Format(time.DateOnly), renewHint), true
	case left < warnBefore:
		return fmt.Sprintf("%s of %s ends in %d days, on %s%s", t.First, t.Machine, int(left.Hours()/24), t.To.Format(time.DateOnly), renewHint), false
	}
	return "", false
}

// warnOfEnds tells the journal once a day, until ctx ends.
func (a *Agent) warnOfEnds(ctx context.Context) {
	day := time.NewTicker(24 * time.Hour)
	defer day.Stop()
	for {
		if t, ok := readTrust(a.Root); ok {
			if problem, _ := TrustProblem(t, time.Now()); problem != "" {
				a.Say("%s", problem)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-day.C:
		}
	}
}

// strangeness says what is wrong with the certificate of a machine that could not be asked; empty when it is not that.
func strangeness(err error) string {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return "which answers with a certificate of another authority: it, or this machine, has another cluster's user-data"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("which answers with a certificate that is valid from %s to %s, and this machine's clock says %s",
			invalid.Cert.NotBefore.Format(time.DateOnly), invalid.Cert.NotAfter.Format(time.DateOnly), time.Now().UTC().Format(time.DateOnly))
	}
	return ""
}
