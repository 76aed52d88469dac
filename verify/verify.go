// Package verify makes the acceptance checks of the hand manual against a running cluster, as a client of it over the
// network: who leads, where the proxies lead, who gets in and who does not, whether a row reaches the replicas; and on
// request it lets the primary fail and counts what an application loses.
//
// In come a specification, its secrets and a way to dial; out comes a Report, as text, JSON or one HTML page. It never
// touches a table of the user's: what it writes lies in a schema of its own, which it removes again.
package verify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// Target is the cluster that is looked at, and what a client knows of it.
type Target struct {
	Cluster *cluster.Cluster
	Secrets cluster.Secrets
	// CA is the authority that every certificate must come from, PEM; two while it is rotated.
	CA []byte
	// StatsUser is whom the statistics page lets in.
	StatsUser string
	// Dial opens a connection as a client would; from this host when nil.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Host names where the checks are made from, for the report.
	Host string
}

// Verdict is what a check ended with.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Skipped Verdict = "skipped"
)

// Result is one check and what it found.
type Result struct {
	// Check is its short name, the same in every version: "routing", "plain-text".
	Check string `json:"check"`
	// Title says what is to be true.
	Title   string  `json:"title"`
	Verdict Verdict `json:"verdict"`
	// Found is what was seen that is as it should be, Wrong what is not, each a line.
	Found []string `json:"found,omitempty"`
	Wrong []string `json:"wrong,omitempty"`
	// Hint says what to do where something is wrong.
	Hint string `json:"hint,omitempty"`
	// Milliseconds is how long the check took.
	Milliseconds int64 `json:"milliseconds"`
}

// Report is everything that was seen.
type Report struct {
	Scope    string    `json:"scope"`
	Postgres int       `json:"postgres"`
	From     string    `json:"from"`
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended"`
	// Passed tells that no check and no trial failed.
	Passed bool     `json:"passed"`
	Checks []Result `json:"checks"`
	// Trials are the failover tests; none unless asked for.
	Trials []Trial `json:"trials,omitempty"`
}

// Verifier looks at one cluster. Close it: it has left something there.
type Verifier struct {
	Target
	roots *x509.CertPool
	login login
	// schema is what the verifier calls its own in the first database; made tells that it may exist.
	schema string
	made   bool
	// local is this host's address as the cluster sees it; nil before the first connection.
	local atomic.Pointer[netip.Addr]
}

// login is whom the checks connect as; one that streams asks for the write-ahead log, as a replica does.
type login struct {
	user, password, database string
	streams                  bool
}

// Open prepares the checks. It connects to nobody.
func Open(t Target) (*Verifier, error) {
	v := &Verifier{Target: t, roots: x509.NewCertPool(), schema: newSchema(time.Now())}
	if !v.roots.AppendCertsFromPEM(t.CA) {
		return nil, errors.New("verify: the cluster's authority (ca.crt) is no certificate")
	}
	if v.Dial == nil {
		v.Dial = new(net.Dialer).DialContext
	}
	p := t.Cluster.Postgres
	if len(p.Databases) == 0 {
		return nil, errors.New("verify: the specification names no database to log in to\n      hint: add postgres.databases and postgres.users")
	}
	v.login = login{user: p.Databases[0].Owner, password: t.Secrets.Users[p.Databases[0].Owner], database: p.Databases[0].Name}
	if v.login.password == "" {
		return nil, fmt.Errorf("verify: secrets.yaml has no password of %s\n      hint: pgbake init adds what is missing and changes nothing else", v.login.user)
	}
	return v, nil
}

// Begin is a report with nothing in it yet.
func (v *Verifier) Begin() *Report {
	return &Report{Scope: v.Cluster.Scope, Postgres: v.Cluster.Postgres.Version, From: v.Host, Began: time.Now(), Passed: true}
}

func (r *Report) add(one Result) {
	r.Checks = append(r.Checks, one)
	r.Passed = r.Passed && one.Verdict != Failed
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// Count returns how many checks and trials ended so.
func (r *Report) Count(v Verdict) (n int) {
	for _, c := range r.Checks {
		if c.Verdict == v {
			n++
		}
	}
	for _, t := range r.Trials {
		if t.Verdict == v {
			n++
		}
	}
	return n
}

// checkTime is how long one check may take: a dead machine's silence takes it the longest.
const checkTime = 40 * time.Second

// Checks makes all of them, in order; begin hears the title of each, and done its result. Its error is ctx's end only:
// what is wrong with the cluster stands in the report.
func (v *Verifier) Checks(ctx context.Context, r *Report, done func(Result)) error {
	for _, c := range checks {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		one := v.check(ctx, c)
		if ctx.Err() != nil {
			return context.Cause(ctx) // half a check says nothing
		}
		r.add(one)
		done(one)
	}
	r.Ended = time.Now()
	return nil
}

func (v *Verifier) check(ctx context.Context, c check) Result {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTime, fmt.Errorf("gave up after %s", checkTime))
	defer cancel()
	began := time.Now()
	f := &finding{}
	c.run(ctx, v, f)
	one := Result{Check: c.name, Title: c.title, Verdict: Passed, Found: f.found, Wrong: f.wrong, Milliseconds: time.Since(began).Milliseconds()}
	switch {
	case len(f.wrong) > 0:
		one.Verdict, one.Hint = Failed, c.hint
	case f.skipped:
		one.Verdict = Skipped
	case len(f.found) == 0:
		// A check that has looked at nothing has shown nothing.
		one.Verdict, one.Found = Skipped, []string{"there was nothing to look at"}
	}
	return one
}

// finding is what one check writes down.
type finding struct {
	found, wrong []string
	skipped      bool
}

func (f *finding) good(format string, args ...any) {
	f.found = append(f.found, fmt.Sprintf(format, args...))
}

func (f *finding) bad(format string, args ...any) {
	f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
}

// skip says why the check cannot be made from here.
func (f *finding) skip(format string, args ...any) {
	f.skipped = true
	f.good(format, args...)
}

func (v *Verifier) tls(name string) *tls.Config {
	return &tls.Config{RootCAs: v.roots, ServerName: name, MinVersion: tls.VersionTLS12}
}
