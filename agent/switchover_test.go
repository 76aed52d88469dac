package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// trio is Patroni and etcd of three members.
type trio struct {
	mu     sync.Mutex
	s      survey
	orders []string // "db1 /switchover db2"
	said   []string
	// obey does what the last order says, and answers it; with code 0 it was not reached.
	obey func(p *trio) (code int, text string)
	// wake is what Patroni does when it looks around.
	wake func(p *trio)
	// look is what has happened by the time that somebody asks.
	look func(p *trio)
}

// play returns them, and the work of db1, which asks them and whose psql always succeeds.
func play(t *testing.T, obey func(*trio) (int, string)) (*trio, *work) {
	t.Helper()
	p := &trio{s: three(), obey: obey}
	spec := *testWork(t).seed.Cluster
	spec.Nodes = nil
	for i := range p.s.members {
		m := &p.s.members[i]
		m.at = netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + i)})
		spec.Nodes = append(spec.Nodes, cluster.Node{Name: m.name, Address: m.at})
	}
	client := &http.Client{Timeout: 3 * time.Second, Transport: p}
	say := func(format string, args ...any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.said = append(p.said, fmt.Sprintf(format, args...))
	}
	return p, &work{
		Agent: &Agent{Root: t.TempDir(), Runner: run.Recorder{W: io.Discard}, Say: say},
		seed:  &Seed{Cluster: &spec, Machine: spec.Machines()[0]}, api: &api{c: &spec, rest: "of Patroni", client: client, peers: client},
	}
}

// RoundTrip answers in place of the network.
func (p *trio) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	if !p.serve(w, r) {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	return w.Result(), nil
}

func (p *trio) serve(w http.ResponseWriter, r *http.Request) (reached bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.look != nil {
		p.look(p)
	}
	m := p.s.members[slices.IndexFunc(p.s.members, func(m surveyed) bool { return m.at.String() == r.URL.Hostname() })]
	var body any
	switch r.Method + " " + r.URL.Path {
	case "GET /health":
		body = map[string]any{"health": "true"}
	case "GET /patroni":
		body = m.answer
	case "GET /cluster":
		var members []map[string]any
		for _, name := range p.s.confirm {
			members = append(members, map[string]any{"name": name, "role": "quorum_standby"})
		}
		body = map[string]any{"members": members}
	case "GET /config":
		body = map[string]any{"ttl": 20}
	case "PATCH /config":
		if p.wake != nil {
			p.wake(p)
		}
	default:
		if _, password, _ := r.BasicAuth(); password != "of Patroni" {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		var in struct{ Candidate string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		p.orders = append(p.orders, strings.TrimSpace(fmt.Sprintf("%s %s %s", m.name, r.URL.Path, in.Candidate)))
		code, text := p.obey(p)
		if code == 0 {
			return false
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
		return true
	}
	_ = json.NewEncoder(w).Encode(body)
	return true
}

// lead makes a member the primary.
func (p *trio) lead(name string) {
	p.s.confirm = nil
	var follow []standby
	for i := range p.s.members {
		m := &p.s.members[i]
		m.Role, m.Timeline, m.Replication = "replica", m.Timeline+1, nil
		if m.name != name {
			follow = append(follow, standby{m.name, "streaming"})
			p.s.confirm = append(p.s.confirm, m.name)
		}
	}
	m := &p.s.members[index(&p.s, name)]
	m.Role, m.Replication, m.WAL.Location = "primary", follow, m.WAL.Received
}

// take carries the last order out.
func (p *trio) take() (int, string) {
	f := strings.Fields(p.orders[len(p.orders)-1])
	if f[1] == "/switchover" {
		p.lead(f[2])
	} else {
		m := &p.s.members[index(&p.s, f[0])]
		m.Started = fmt.Sprintf("start %d", len(p.orders))
	}
	return http.StatusOK, "done"
}

// declines is what Patroni does with the first orders: what happens meanwhile, and its answer. Later ones it takes.
func declines(times, code int, text string, meanwhile func(p *trio)) func(*trio) (int, string) {
	return func(p *trio) (int, string) {
		if len(p.orders) > times {
			return p.take()
		}
		if meanwhile != nil {
			meanwhile(p)
		}
		return code, text
	}
}

// failing is declines with the status that Patroni has for most of it.
func failing(times int, text string, meanwhile func(*trio)) func(*trio) (int, string) {
	return declines(times, http.StatusServiceUnavailable, text, meanwhile)
}

func TestSwitchoverThatPatroniDeclines(t *testing.T) {
	const always = 1000
	const failed, db2, db3 = "Switchover failed", "db1 /switchover db2", "db1 /switchover db3"
	for _, tt := range []struct {
		name, to string
		patience time.Duration
		obey     func(*trio) (int, string)
		orders   []string
		want     string // the error; where it is empty, the last order is carried out
	}{
		{"never", "db2", time.Minute, failing(0, failed, nil), []string{db2}, ""},
		{"once, by the leader's loop", "db2", time.Minute, failing(1, failed, nil), []string{db2, db2}, ""},
		{
			"once, by the REST API", "db2", time.Minute, declines(1, http.StatusPreconditionFailed, "candidate name does not match with sync_standby", nil),
			[]string{db2, db2}, "",
		},
		{"until it looks around", "db2", time.Minute, failing(1, failed, func(p *trio) {
			p.s.confirm = []string{"db3"}
			p.wake = func(p *trio) { p.s.confirm = []string{"db2", "db3"} }
		}), []string{db2, db2}, ""},
		{"while it is restarted", "db2", time.Minute, declines(1, 0, "", nil), []string{db2, db2}, ""},
		{"the first choices", "", time.Minute, failing(2, failed, nil), []string{db2, db3, db2}, ""},
		{"the only choice", "", time.Minute, failing(1, failed, func(p *trio) { p.s.confirm = []string{"db2"} }), []string{db2, db2}, ""},
		{"and carries it out", "db2", time.Minute, failing(1, failed, func(p *trio) { p.lead("db2") }), []string{db2}, ""},
		{
			"always", "db2", 1400 * time.Millisecond, failing(always, failed, nil), []string{db2, db2, db2},
			"patroni refuses: Switchover failed; orders in 1s: 3\n" +
				"      hint: db1 leads as before; `journalctl -u patroni` on db1 says why Patroni refused; `pgha doctor` looks for what is wrong",
		},
		{
			"and the candidate stops", "db2", 10 * time.Second, failing(always, failed, func(p *trio) { p.s.members[1].State = "stopped" }), []string{db2},
			"patroni refuses: Switchover failed; orders in 10s: 1; then: PostgreSQL of db2 is \"stopped\"\n" +
				"      hint: db1 leads as before; `journalctl -u patroni` on db1 says why Patroni refused; `pgha doctor` looks for what is wrong",
		},
		{
			"and nobody leads", "db2", 10 * time.Second, failing(always, failed, func(p *trio) { p.s.members[0].Role = "replica" }), []string{db2},
			"patroni refuses: Switchover failed; orders in 10s: 1; then: no member leads\n" +
				"      hint: no member leads; `journalctl -u patroni` on db1 says why Patroni refused; `pgha doctor` looks for what is wrong",
		},
		{
			"and a third leads", "db2", time.Minute, failing(always, failed, func(p *trio) { p.lead("db3") }), []string{db2},
			"meanwhile the primary has moved from db1 to db3\n      hint: pgha status",
		},
		{
			"and maintenance begins", "db2", time.Minute, failing(always, failed, func(p *trio) { p.s.members[2].Paused = true }), []string{db2},
			"in maintenance Patroni does nothing by itself: a member that fails half-way would not be replaced\n      hint: pgha maintenance off",
		},
		{
			"for good", "db2", time.Minute, declines(always, http.StatusForbidden, "Access is denied", nil), []string{db2},
			"patroni refuses: Access is denied\n" +
				"      hint: db1 leads as before; `journalctl -u patroni` on db1 says why Patroni refused; `pgha doctor` looks for what is wrong",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, w := play(t, tt.obey)
				moved, err := w.switchover(t.Context(), tt.to, tt.patience)
				if diff := cmp.Diff(tt.orders, p.orders); diff != "" {
					t.Error(diff)
				}
				switch {
				case tt.want != "" && (err == nil || err.Error() != tt.want):
					t.Errorf("got\n%v\nwant\n%s", err, tt.want)
				case tt.want == "" && err != nil:
					t.Error(err)
				case tt.want == "":
					want := Moved{"db1", strings.Fields(p.orders[len(p.orders)-1])[2], 5, probePause}
					if diff := cmp.Diff(want, moved); diff != "" {
						t.Error(diff)
					}
				}
			})
		})
	}
}

// What Patroni says is said once, and that it is asked again.
func TestADeclinedSwitchoverIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, w := play(t, declines(9, http.StatusServiceUnavailable, "Switchover failed", nil))
		if _, err := w.switchover(t.Context(), "db2", time.Minute); err != nil {
			t.Fatal(err)
		}
		told := slices.DeleteFunc(slices.Clone(p.said), func(line string) bool { return !strings.Contains(line, "Switchover failed") })
		if diff := cmp.Diff([]string{"waiting for db1 to take the order, which is repeated: patroni refuses: Switchover failed"}, told); diff != "" {
			t.Errorf("%s\nof all: %q", diff, p.said)
		}
	})
}

func TestOtherOrdersThatPatroniDeclines(t *testing.T) {
	restart := func(t *testing.T, w *work) error {
		t.Helper()
		return w.restarted(t.Context(), w.survey(t.Context()).members[1])
	}
	reinit := func(t *testing.T, w *work) error {
		t.Helper()
		return w.reinit(t.Context(), "db2", false)
	}
	for _, tt := range []struct {
		name   string
		do     func(*testing.T, *work) error
		obey   func(*trio) (int, string)
		orders []string
		want   string // in the error
	}{
		{
			"a restart, while Patroni is at something else", restart, failing(2, "restarting after failure already in progress", nil),
			[]string{"db2 /restart", "db2 /restart", "db2 /restart"}, "",
		},
		{
			"a restart that takes its time", restart, failing(1, "postgres is still starting", func(p *trio) {
				time.AfterFunc(time.Minute, func() {
					p.mu.Lock()
					defer p.mu.Unlock()
					p.take()
				})
			}),
			[]string{"db2 /restart"}, "",
		},
		// Patroni itself starts PostgreSQL, and what keeps it from starting stays.
		{"a restart that fails", restart, failing(1, "restart failed", nil), []string{"db2 /restart"}, "patroni refuses: restart failed"},
		{
			"a copy, while Patroni is at something else", reinit, failing(1, "restart already in progress", nil),
			[]string{"db2 /reinitialize", "db2 /reinitialize"}, "",
		},
		{
			"a copy of what is needed by then", reinit, failing(1, "restart already in progress", func(p *trio) { p.s.confirm = []string{"db2"} }),
			[]string{"db2 /reinitialize"}, "no other replica could take over",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, w := play(t, tt.obey)
				err := tt.do(t, w)
				if diff := cmp.Diff(tt.orders, p.orders); diff != "" {
					t.Error(diff)
				}
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q in it", err, tt.want)
				}
			})
		})
	}
}
