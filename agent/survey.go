package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// survey is the cluster at one moment: every member answers for itself, and etcd's word on who may take over without
// loss comes from the primary.
type survey struct {
	members []surveyed // in the specification's order
	// confirm names the replicas that may take over without loss, unless unconfirmed says why the primary does not tell;
	// confirmWant is how many there should be.
	confirm     []string
	unconfirmed error
	confirmWant int
}

// surveyed is one member of it.
type surveyed struct {
	name string
	at   netip.Addr
	// err is why its Patroni did not answer.
	err error
	// etcd tells that its etcd sees a quorum, etcdRuns that it answers at all.
	etcd, etcdRuns bool
	answer
}

// answer is what Patroni says of its PostgreSQL at /patroni, beyond what every caller needs.
type answer struct {
	member
	// Started is when the postmaster started, in Patroni's words: another text is another start.
	Started string `json:"postmaster_start_time"`
	// Version is PostgreSQL's, 170005 for 17.5.
	Version int `json:"server_version"`
	Patroni struct {
		Version string `json:"version"`
	} `json:"patroni"`
	WAL struct {
		Location int64 `json:"location"`
		Received int64 `json:"received_location"`
		Replayed int64 `json:"replayed_location"`
		// Paused tells that its replay is.
		Paused bool `json:"paused"`
	} `json:"xlog"`
}

// started is when the postmaster did; zero when Patroni does not say.
func (a answer) started() time.Time {
	t, _ := time.Parse("2006-01-02 15:04:05.999999-07:00", a.Started)
	return t
}

// survey asks every member at the same time.
func (w *work) survey(ctx context.Context) survey {
	c := w.seed.Cluster
	s := survey{members: make([]surveyed, len(c.Nodes))}
	switch c.SynchronousMode() {
	case "quorum":
		s.confirmWant = len(c.Nodes) - 1
	case "true":
		s.confirmWant = min(c.SynchronousNodes(), len(c.Nodes)-1)
	}
	var wg sync.WaitGroup
	for i, n := range c.Nodes {
		m := &s.members[i]
		m.name, m.at = n.Name, n.Address
		wg.Go(func() { m.err = w.api.do(ctx, http.MethodGet, w.api.patroni(n.Address, "/patroni"), nil, &m.answer) })
		if w.seed.Machine.Role == cluster.DB { // the others have no certificate for it
			wg.Go(func() { m.etcd, m.etcdRuns = w.api.etcdHealth(ctx, n.Address) })
		}
	}
	wg.Wait()
	if p, why := s.primary(); why == "" {
		s.confirm, s.unconfirmed = w.api.confirming(ctx, p.at)
	}
	return s
}

// primary is the one member that leads; why says so when there is none, or more than one.
func (s survey) primary() (p surveyed, why string) {
	var lead []string
	for _, m := range s.members {
		if m.err == nil && m.leads() && m.runs() {
			p, lead = m, append(lead, m.name)
		}
	}
	switch len(lead) {
	case 0:
		return p, "no member leads"
	case 1:
		return p, ""
	}
	return p, strings.Join(lead, " and ") + " all say that they lead"
}

func (s survey) member(name string) (surveyed, bool) {
	i := slices.IndexFunc(s.members, func(m surveyed) bool { return m.name == name })
	if i < 0 {
		return surveyed{}, false
	}
	return s.members[i], true
}

// replicas are all but the primary.
func (s survey) replicas() []surveyed {
	p, _ := s.primary()
	return slices.DeleteFunc(slices.Clone(s.members), func(m surveyed) bool { return m.name == p.name })
}

// streams says what keeps a member from being a replica that follows the primary; empty when nothing does.
func (s survey) streams(m surveyed) string {
	p, why := s.primary()
	switch {
	case why != "":
		return why
	case m.err != nil:
		return fmt.Sprintf("Patroni of %s does not answer: %s", m.name, short(m.err))
	case !m.runs():
		return fmt.Sprintf("PostgreSQL of %s is %q", m.name, m.State)
	case !slices.ContainsFunc(p.Replication, func(r standby) bool { return r.Name == m.name && r.State == "streaming" }):
		return fmt.Sprintf("%s does not stream from %s", m.name, p.name)
	case m.Timeline != p.Timeline:
		return fmt.Sprintf("%s is on timeline %d, the primary on %d", m.name, m.Timeline, p.Timeline)
	}
	return ""
}

// lag is how many bytes of WAL a replica has not received; it may be off by what was written between two answers.
func (s survey) lag(m surveyed) int64 {
	p, _ := s.primary()
	return max(0, p.WAL.Location-m.WAL.Received)
}

// sick says what is wrong with the cluster, the worst first; empty when nothing is: one member leads, all others stream,
// every etcd sees a quorum, and a failover would lose nothing.
func (s survey) sick() string {
	if _, why := s.primary(); why != "" {
		return why
	}
	for _, m := range s.replicas() {
		if why := s.streams(m); why != "" {
			return why
		}
	}
	for _, m := range s.members {
		if !m.etcd {
			return fmt.Sprintf("etcd of %s sees no quorum", m.name)
		}
	}
	if s.unconfirmed != nil {
		return "the primary does not say who may take over: " + short(s.unconfirmed)
	}
	if len(s.confirm) < s.confirmWant {
		return fmt.Sprintf("only %s of the replicas may take over without loss", list(s.confirm))
	}
	return ""
}

// paused tells that Patroni does nothing by itself.
func (s survey) paused() bool {
	return slices.ContainsFunc(s.members, func(m surveyed) bool { return m.Paused })
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// short is an error's cause on one line: of a program that failed the last that it said.
func short(err error) string {
	var failed *run.Error
	if errors.As(err, &failed) && failed.Tail != "" {
		lines := strings.Split(strings.TrimSpace(failed.Tail), "\n")
		// psql's question is no answer.
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), "Is the server running") })
		if len(lines) > 0 {
			return strings.TrimSpace(lines[len(lines)-1])
		}
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// until looks every half second, and more seldom what has taken long, until why is empty, patience at most. It says what it waits for
// when that changes.
func (a *Agent) until(ctx context.Context, what string, patience time.Duration, why func(context.Context) string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	now, said := "", ""
	for {
		was := now
		if now = why(ctx); now == "" {
			return nil
		}
		if ctx.Err() != nil && was != "" {
			now = was // what the last look says may only be that it had no time
		}
		if now != said && time.Since(began) > time.Second {
			a.Say("waiting for %s: %s", what, now)
			said = now
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("waited %s for %s in vain: %s", patience, what, now)
			}
			return context.Cause(ctx)
		case <-time.After(min(max(500*time.Millisecond, time.Since(began)/100), 10*time.Second)):
		}
	}
}

// wholeTime is how long a step may take to leave the cluster whole again, beyond what a replica needs to replay its WAL since the last
// checkpoint before it streams, which may be hours.
const wholeTime = 5 * time.Minute

// awaitWhole waits until nothing is wrong with the cluster.
func (w *work) awaitWhole(ctx context.Context, patience time.Duration) (survey, error) {
	return w.awaitSurvey(ctx, "a healthy cluster", patience, survey.sick)
}

// awaitSurvey waits until the cluster is as it should be, and hurries Patroni with what it does only when its loop comes
// round: give a replica its slot, and count it.
func (w *work) awaitSurvey(ctx context.Context, what string, patience time.Duration, sick func(survey) string) (s survey, err error) {
	var woken time.Time
	err = w.until(ctx, what, patience, func(ctx context.Context) string {
		s = w.survey(ctx)
		why := sick(s)
		if p, none := s.primary(); why != "" && none == "" && time.Since(woken) > 2*time.Second {
			woken = time.Now()
			_ = w.api.wake(ctx, p.at) // the next look tells whether it helped
		}
		return why
	})
	return s, err
}
