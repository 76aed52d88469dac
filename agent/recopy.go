package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/monitor"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

const (
	recopyUnit = "pgha-recopy.service"
	// recopiedFile holds what was set aside last, and when.
	recopiedFile = "/var/lib/pgha/recopied.json"
	// recopyAfter is how long PostgreSQL must have failed to start, or to follow, recopySteady how long it must run to count as started.
	recopyAfter  = 2 * time.Minute
	recopySteady = time.Minute
	// recopyPause is until the next try, recopyOnce how long one that is copied anew must last: what breaks again at once is no
	// matter of data.
	recopyPause = 10 * time.Minute
	recopyOnce  = 24 * time.Hour
)

// startFailures is for how long PostgreSQL of this machine has failed to start, or has been off the cluster's history, while another
// member leads. It counts no
// failures: Patroni tries every few seconds, and a look between two tries is too late to tell them apart.
type startFailures struct{ since, runs, asked time.Time }

// next takes what Patroni says of this machine, and tells whether its data is to be looked at.
func (f *startFailures) next(m member, diverged bool, now time.Time) bool {
	switch {
	case m.Paused || m.leads() || m.leadsStandby() || m.State == "creating replica":
		*f = startFailures{asked: f.asked}
		return false
	case !m.runs(), diverged:
		f.runs = time.Time{}
	case f.runs.IsZero():
		f.runs = now
	case now.Sub(f.runs) > recopySteady:
		f.since = time.Time{}
	}
	if m.State != "start failed" && !diverged {
		return false
	}
	if f.since.IsZero() {
		f.since = now
	}
	if now.Sub(f.since) < recopyAfter || now.Sub(f.asked) < recopyPause {
		return false
	}
	f.asked = now
	return true
}

// recopies has a replica looked at that fails to start, or that cannot follow any more. Not here: it needs more rights than this service has.
func (f *follower) recopies(ctx context.Context) {
	if f.seed.Machine.Role != cluster.DB {
		return
	}
	m, err := f.api.member(ctx, f.seed.Machine.Address)
	if err != nil {
		return
	}
	left := ""
	if forks, err := f.api.history(ctx, f.seed.Machine.Address); err == nil {
		left = m.diverged(forks)
	}
	if !f.failing.next(m, left != "", time.Now()) {
		return
	}
	since := f.failing.since.UTC().Format("15:04:05 UTC")
	if left == "" {
		f.Say("PostgreSQL has not started since %s: %s looks at its data", since, recopyUnit)
	} else {
		f.Say("PostgreSQL has not followed since %s: %s; %s looks at its data", since, left, recopyUnit)
	}
	if err := f.Runner.Run(ctx, run.Command("systemctl", "start", "--no-block", recopyUnit)); err != nil && ctx.Err() == nil {
		f.Say("%v", err)
	}
}

// Recopy sets the data of this replica aside when PostgreSQL cannot start with it, or cannot follow, though a healthy primary leads, and has
// Patroni copy the primary's. It waits while something else is done to the cluster. Where it does not copy, the error says why;
// it stops Patroni, which its unit starts again.
func (a *Agent) Recopy(ctx context.Context) error {
	w, err := a.upkeep("recopy")
	if err != nil {
		return err
	}
	for {
		err := w.until(ctx, "the end of another task", 24*time.Hour, func(ctx context.Context) string {
			at, err := w.etcd(ctx)
			if err != nil {
				return err.Error()
			}
			switch t, err := w.api.task(ctx, at); {
			case err != nil:
				return err.Error()
			case t != nil:
				return t.String()
			}
			return ""
		})
		if err != nil {
			return err
		}
		err = w.alone(ctx, "copy of "+w.seed.Machine.Name+", which cannot go on", w.recopy)
		if !errors.As(err, new(taken)) {
			return err
		}
	}
}

func (w *work) recopy(ctx context.Context) error {
	name, dir := w.seed.Machine.Name, w.databaseDir()
	byHand := "\n      hint: pgha reinit " + name
	s := w.survey(ctx)
	p, none := s.primary()
	left := ""
	if none == "" {
		left = w.diverged(ctx, p)
	}
	switch m, _ := s.member(name); {
	case none != "" || s.paused() || m.err != nil || m.runs() && left == "" || m.name == p.name:
		w.Say("not now: what was to be mended is not so any more, or not to be mended at this moment")
		return nil
	case systemID(dir) != "" && p.System != systemID(dir):
		return errors.New("the database on this machine is of another cluster: another system identifier; it is left alone" + byHand)
	}
	last, err := w.recopied()
	if err != nil {
		return err
	}
	if time.Since(last.At) < recopyOnce {
		return fmt.Errorf("PostgreSQL cannot start or follow again, %s after its data was copied anew\n      hint: journalctl -u patroni; when its disk is in order: pgha reinit %s", time.Since(last.At).Round(time.Minute), name)
	}
	// A rewind may take long, and one that is cut short has to be begun anew.
	if w.Runner.Run(ctx, run.Command("pgrep", "--uid=postgres", "--full", `/pg_rewind |/postgres --single `)) == nil {
		w.Say("not now: Patroni mends the data")
		return nil
	}
	need, err := w.copyNeeds(ctx, p, dir)
	if err != nil {
		return err
	}
	free, err := room(dir)
	if err != nil {
		return err
	}
	if free < need {
		return fmt.Errorf("PostgreSQL cannot start or follow, and the disk has no room for its data and a new copy: %d MiB are needed, %d are free; its data is left alone%s, which removes it first", need>>20, free>>20, byHand)
	}
	if err := w.Runner.Run(ctx, run.Command("systemctl", "stop", "patroni.service")); err != nil {
		return err
	}
	why := left
	if why == "" {
		if why, err = w.cannotStart(ctx, dir); err != nil {
			return err
		}
	}
	if why == "" {
		return errors.New("PostgreSQL fails to start, and not for its data, which is left alone\n      hint: journalctl -u patroni")
	}
	return w.copyAnew(ctx, dir, why)
}

// diverged says how this machine's database has left the history of the primary, p; empty when it has not, or nobody says.
func (w *work) diverged(ctx context.Context, p surveyed) string {
	m, err := w.api.member(ctx, w.seed.Machine.Address)
	if err != nil {
		return ""
	}
	forks, err := w.api.history(ctx, p.at)
	if err != nil {
		return ""
	}
	return m.diverged(forks)
}

// copyAnew gives the data another name, and lets Patroni begin with an empty directory.
func (w *work) copyAnew(ctx context.Context, dir, why string) error {
	// Noted first: one that is killed here has had its try.
	note := monitor.Recopied{At: time.Now(), Aside: w.inside(asideName(dir)), Why: why}
	body, err := json.Marshal(note)
	if err == nil {
		err = durable(filepath.Join(w.Root, recopiedFile), append(body, '\n'))
	}
	if err != nil {
		return err
	}
	if err := w.moveDatabase(ctx, filepath.Join(w.Root, note.Aside)); err != nil {
		return err
	}
	w.Say("PostgreSQL could not go on with this machine's data, which is now %s: %s", note.Aside, why)
	d, _, err := w.observeDatabase(ctx, false)
	if err != nil {
		return err
	}
	if err := w.letPatroni(ctx, d); err != nil {
		return err
	}
	err = w.whileMoving(ctx, "the copy", func(ctx context.Context) (advance, bool) {
		s := w.survey(ctx)
		m, _ := s.member(w.seed.Machine.Name)
		return s.advance(m, w.sentTo(ctx, s, m)), s.streams(m) == ""
	})
	if err != nil {
		return fmt.Errorf("%w\n      hint: the copy may still go on; journalctl -u patroni; the old data is %s", err, note.Aside)
	}
	return finished(w.Root)
}

// recopied is what was set aside last; its time is zero when nothing was.
func (a *Agent) recopied() (r monitor.Recopied, err error) {
	if err = readJSON(filepath.Join(a.Root, recopiedFile), &r); errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	return r, err
}

// copyNeeds is how many bytes a copy of the primary may need: the larger of what it says of its databases, with room for WAL,
// and of what lies here.
func (w *work) copyNeeds(ctx context.Context, p surveyed, dir string) (int64, error) {
	out, err := w.sql(ctx, "any", "SELECT pg_catalog.sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database", p.at)
	if err != nil {
		return 0, fmt.Errorf("ask %s how large its databases are: %w", p.name, err)
	}
	size, err := strconv.ParseInt(out, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("ask %s how large its databases are: %w", p.name, err)
	}
	here, err := sizeOf(dir)
	const wal = 1 << 30
	return max(size+size/10+wal, here), err
}

// trialTime is how long PostgreSQL may take to start as it is; trialSteady, how long it must then run.
const (
	trialTime   = 5 * time.Minute
	trialSteady = 30 * time.Second
)

// cannotStart starts PostgreSQL as Patroni would, but for its clients and the language of its log, and returns what it says
// when it ends for its data. Empty when it starts, goes on recovering, or ends for something that a copy does not change. It
// starts as a standby, whatever Patroni was about to make of it: another member leads.
func (w *work) cannotStart(ctx context.Context, dir string) (why string, err error) {
	private := filepath.Join(w.Root, "/run/pgha/recopy")
	if err := errors.Join(w.makeDir(private), w.write(ctx, filepath.Join(dir, "standby.signal"), nil)); err != nil {
		return "", err
	}
	defer os.RemoveAll(private) //nolint:errcheck // in memory
	log := filepath.Join(private, scratchLog)
	options := []string{
		"lc_messages=C", "listen_addresses=", "unix_socket_directories=" + private, "external_pid_file=", "logging_collector=off", "log_destination=stderr",
	}
	ctl := func(verb string, args ...string) error {
		return w.Runner.Run(ctx, w.asPostgres(append([]string{w.program("pg_ctl"), verb, "-s", "-D", dir}, args...)...))
	}
	started := ctl("start", "-w", "-t", fmt.Sprint(int(trialTime.Seconds())), "-l", log, "-o", "-c "+strings.Join(options, " -c "))
	ends := time.Now().Add(trialSteady)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for started == nil && time.Now().Before(ends) && ctl("status") == nil && ctx.Err() == nil {
		<-tick.C
	}
	if ctl("status") == nil {
		return "", errors.Join(ctl("stop", "-w", "-t", "600", "-m", "fast"), ctx.Err())
	}
	body, err := readTheirs(log)
	if err != nil {
		return "", errors.Join(started, err)
	}
	return dataFault(string(body)), ctx.Err()
}

var (
	// byData are PostgreSQL's words for an end that is its data's: its startup process alone reads them, and before it the
	// postmaster reads the control file.
	byData = regexp.MustCompile(`startup process \(PID \d+\) |could not find the database system|control file|pg_control"|is not a valid data directory`)
	// byOther are those for what a copy of the primary's data would not change.
	byOther = regexp.MustCompile(`No space left on device|Input/output error|Permission denied|Read-only file system|Cannot allocate memory|` +
		`out of memory|insufficient parameter settings|was terminated by signal 9|incompatible with server`)
	// fatal is behind log_line_prefix, whatever that is.
	fatal = regexp.MustCompile(`(?:FATAL|PANIC):\s*(.+)`)
)

// dataFault reads in PostgreSQL's log why it has ended, where that is its data; else it is empty.
func dataFault(log string) string {
	if !byData.MatchString(log) || byOther.MatchString(log) {
		return ""
	}
	if said := fatal.FindAllStringSubmatch(log, -1); len(said) > 0 {
		return said[len(said)-1][1]
	}
	return byData.FindString(log)
}
