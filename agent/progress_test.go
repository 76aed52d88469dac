package agent

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbake/pgbake/internal/run"
)

// Of a member on its way to a replica, minute by minute: how long it is let go on, and what is said then.
func TestWhatMovesGoesOn(t *testing.T) {
	const tib = 1 << 40
	p := three()
	replica := func(state string, received int64) surveyed {
		m := p.members[1]
		m.State, m.WAL.Received, m.WAL.Replayed = state, received, received
		return m
	}
	quiet := three(func(s *survey) { s.members[0].Replication = nil })
	copying := func(bytes int64) advance {
		return quiet.advance(replica("creating replica", 0), sent{"streaming database files", bytes, 2 * tib})
	}
	phase := func(name string) advance { return quiet.advance(replica("creating replica", 0), sent{phase: name}) }
	state := func(name string) advance { return quiet.advance(replica(name, 0), sent{}) }
	replaying := func(at int64) advance { return quiet.advance(replica("running", at), sent{}) }
	silent := quiet.advance(surveyed{name: "db2", err: fmt.Errorf("connection refused")}, sent{})
	// each is what is seen from one minute up to another, which is where the last look is.
	type each struct {
		until int
		see   func(minute int) advance
	}
	same := func(a advance) func(int) advance { return func(int) advance { return a } }
	for _, tt := range []struct {
		name  string
		looks []each
		ends  int // in minutes; 0: it goes on to the end
		want  string
	}{
		{"a copy of ten hours, the WAL, a replay of five hours, and of two more that can be seen", []each{
			{8, same(state("creating replica"))},                          // the old data is removed
			{30, same(phase("waiting for checkpoint to finish"))},         //
			{630, func(m int) advance { return copying(int64(m) << 30) }}, //
			{635, same(phase("waiting for wal archiving to finish"))},     //
			{660, same(state("creating replica"))},                        // it is brought to the disk
			{960, same(state("starting"))},                                //
			{1080, func(m int) advance { return replaying(int64(m)) }},    //
			{1085, same(silent)},                                          // a network that is mended
			{1100, func(m int) advance { return replaying(int64(m)) }},    //
		}, 0, ""},
		{"a slow copy, less than a step of five percent in an hour", []each{{6000, func(m int) advance { return copying(int64(m) << 26) }}}, 0, ""},
		{"a copy that stands still", []each{{60, func(m int) advance { return copying(int64(m) << 30) }}, {600, same(copying(60 << 30))}}, 71, "nothing has moved for 11m0s: 0 % of 2097152 MiB copied"},
		{"a copy that never begins", []each{{600, same(state("creating replica"))}}, 11, "the primary sends it nothing"},
		{"a copy that is never brought to the disk", []each{{60, func(m int) advance { return copying(int64(m) << 34) }}, {600, same(state("creating replica"))}}, 180, "last seen: 45 % of 2097152 MiB copied"},
		{"a copy that fails, again and again", []each{{6000, func(m int) advance { return copying(int64(m%20+1) << 30) }}}, 120, "begun anew 5 times"},
		{"PostgreSQL that ends at each start", []each{{600, func(m int) advance { return state([]string{"starting", "start failed"}[m%2]) }}}, 11, "begun anew 5 times"},
		{"PostgreSQL that does not start", []each{{600, same(state("start failed"))}}, 11, `nothing has moved for 11m0s: it is "start failed"`},
		{"a start without an end", []each{{6000, same(state("starting"))}}, 24*60 + 1, `nothing has moved for 24h1m0s: it is "starting"`},
		{"a replica that stands still", []each{{60, func(m int) advance { return replaying(int64(m)) }}, {600, same(replaying(60))}}, 71, "db2 does not stream from db1"},
		{"a receiver that begins its segment again", []each{{600, func(m int) advance { return replaying(int64(m - m%3*2)) }}}, 0, ""},
		{"a machine that is gone", []each{{60, func(m int) advance { return copying(int64(m) << 30) }}, {600, same(silent)}}, 70, "its Patroni does not answer: connection refused; last seen: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p progress
			start := time.Unix(0, 0)
			minute := 0
			for _, e := range tt.looks {
				for ; minute < e.until; minute++ {
					why := p.see(e.see(minute), start.Add(time.Duration(minute)*time.Minute))
					if why == "" {
						continue
					}
					if minute != tt.ends || !strings.Contains(why, tt.want) {
						t.Errorf("given up after %d minutes, want %d: %s", minute, tt.ends, why)
					}
					return
				}
			}
			if tt.ends > 0 {
				t.Errorf("it goes on, want an end after %d minutes", tt.ends)
			}
		})
	}
}

// psqlSays answers the primary's word on a copy.
type psqlSays struct{ answer func() string }

func (psqlSays) Run(context.Context, run.Cmd) error { return nil }

func (r psqlSays) Output(context.Context, run.Cmd) ([]byte, error) { return []byte(r.answer()), nil }

// A copy that needs a quarter of an hour for each line that tells of it, and a replay of hours behind it, on a cluster that answers as Patroni does.
func TestLargeIsNormal(t *testing.T) {
	const copyTime, startTime, catchTime = 5 * time.Hour, 2 * time.Hour, time.Hour
	for _, tt := range []struct {
		name   string
		stands time.Duration // after which the copy stands still
		want   string
	}{
		{"it moves", 0, ""},
		{"it stands still", 150 * time.Minute, "nothing has moved for 10m0s: 50 % of 1048576 MiB copied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var began time.Time
				p, w := play(t, func(p *trio) (int, string) { return p.take() })
				w.Runner = psqlSays{func() string {
					since := time.Since(began)
					if tt.stands > 0 {
						since = min(since, tt.stands)
					}
					return fmt.Sprintf("streaming database files|%d|%d\n", int64(since.Seconds()/copyTime.Seconds()*(1<<40)), int64(1<<40))
				}}
				p.obey = func(p *trio) (int, string) {
					began = time.Now()
					m := &p.s.members[1]
					m.State, p.s.members[0].Replication = "creating replica", p.s.members[0].Replication[1:]
					return 200, "done"
				}
				p.look = func(p *trio) {
					m := &p.s.members[1]
					switch since := time.Since(began) - copyTime; {
					case began.IsZero() || since < 0 || tt.stands > 0:
					case since < startTime:
						m.State = "starting"
					case since < startTime+catchTime:
						m.State, m.Started = "running", "anew"
						m.WAL.Replayed = int64(since)
					default:
						p.s.members[0].Replication = []standby{{"db2", "streaming"}, {"db3", "streaming"}}
					}
				}
				err := w.reinit(t.Context(), "db2", false)
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("after %s: %v, want %q", time.Since(began), err, tt.want)
				}
				if want := copyTime + startTime + catchTime; err == nil && (time.Since(began) < want || time.Since(began) > want+time.Minute) {
					t.Errorf("done after %s, want %s", time.Since(began), want)
				}
			})
		})
	}
}

// A rolling restart waits for a replica that replays for hours, and not for one that does not start.
func TestARestartWaitsForAReplay(t *testing.T) {
	for _, tt := range []struct {
		name, state string
		want        string
	}{
		{"it replays", "starting", ""},
		{"it does not start", "start failed", "nothing has moved for 10m0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var began time.Time
				p, w := play(t, func(p *trio) (int, string) {
					began = time.Now()
					p.s.members[1].State = tt.state
					return p.take()
				})
				p.look = func(p *trio) {
					if m := &p.s.members[1]; m.State == "starting" && time.Since(began) > 6*time.Hour {
						m.State = "running"
					}
				}
				err := w.restarted(t.Context(), w.survey(t.Context()).members[1])
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("after %s: %v, want %q", time.Since(began), err, tt.want)
				}
			})
		})
	}
}

// The cluster is waited for as long as the replica that it lacks comes nearer.
func TestAClusterIsWaitedForWhileAReplicaMoves(t *testing.T) {
	for _, tt := range []struct {
		name  string
		moves time.Duration
		want  time.Duration // how long it is waited for
		err   string
	}{
		{"six hours", 6 * time.Hour, 6*time.Hour + 2*time.Minute, ""},
		{"it stands still", 0, wholeTime, "waited 5m0s for a healthy cluster in vain: db2 does not stream from db1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				p, w := play(t, nil)
				p.s.members[0].Replication = p.s.members[0].Replication[1:]
				p.look = func(p *trio) {
					if since := time.Since(began); since < tt.moves {
						p.s.members[1].WAL.Replayed = int64(since)
					} else if tt.moves > 0 {
						p.s.members[0].Replication = []standby{{"db2", "streaming"}, {"db3", "streaming"}}
						p.s.confirm = []string{"db3"}
						if since > tt.moves+2*time.Minute { // Patroni counts it some time later
							p.s.confirm = []string{"db2", "db3"}
						}
					}
				}
				_, err := w.awaitMoving(t.Context(), "a healthy cluster", survey.sick)
				if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				if took := time.Since(began); took < tt.want || took > tt.want+time.Minute {
					t.Errorf("it took %s, want %s", took, tt.want)
				}
			})
		})
	}
}
