package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgbake/pgbake/agent/archive"
	"github.com/pgbake/pgbake/agent/horizon"
	"github.com/pgbake/pgbake/agent/monitor"
	"github.com/pgbake/pgbake/cluster"
)

// programTime is how long a program may take that a report asks.
const programTime = 5 * time.Second

// report is what this machine finds out about itself. What cannot be asked is noted with its reason.
func (m *watcher) report(ctx context.Context) *monitor.Report {
	r := &monitor.Report{At: time.Now(), Unasked: map[string]string{}}
	r.Disks = m.disks(r.At)
	var err error
	if r.Failed, err = failedUnits(ctx); err != nil {
		r.Unasked["systemd"] = err.Error()
	}
	if r.Clock, err = chrony(ctx); err != nil {
		r.Unasked["chrony"] = err.Error()
	}
	if r.Updates, err = m.updates(); err != nil {
		r.Unasked["updates"] = err.Error()
	}
	if m.seed.Machine.Role != cluster.DB {
		return r
	}
	if r.Recopied, err = m.setAside(ctx); err != nil {
		r.Unasked["recopied"] = err.Error()
	}
	waiting, err := readWaiting(m.Root)
	if err != nil {
		r.Unasked["roles"] = err.Error()
	}
	r.Roles = waiting.At
	if exists(filepath.Join(m.Root, fmt.Sprintf("%s/.s.PGSQL.%d", socketDir, m.seed.Cluster.Ports.Postgres))) { // else Patroni says what is wrong with it
		var d inside
		if d, err = m.database(ctx); err != nil {
			r.Unasked["postgres"] = err.Error()
		}
		r.Slots, r.Horizon = d.slots, d.horizon
		r.Archive = m.archive(ctx, d.archive)
		r.Elsewhere = m.elsewhere(ctx)
	}
	return r
}

// setAside is the data that was set aside last, while it is there. Only postgres may look where it lies.
func (m *watcher) setAside(ctx context.Context) (*monitor.Recopied, error) {
	last, err := m.recopied()
	if err != nil || last.Aside == "" {
		return nil, err
	}
	_, err = ask(ctx, m.postgres(), "", "test", "-e", last.Aside)
	var gone *exec.ExitError
	if errors.As(err, &gone) {
		return nil, nil //nolint:nilnil // there is none
	}
	return &last, err
}

// disks are the file systems that matter, each once: the data's, the backups', the root's.
func (m *watcher) disks(now time.Time) (list []monitor.Disk) {
	paths := []string{"/"}
	if m.seed.Machine.Role == cluster.DB {
		paths = []string{dataPath, "/"}
		if dir := m.seed.Cluster.Backup.Directory; dir != "" {
			paths = []string{dataPath, dir, "/"}
		}
	}
	seen := map[uint64]bool{}
	for _, path := range paths {
		at := filepath.Join(m.Root, path)
		var who syscall.Stat_t
		var s syscall.Statfs_t
		if syscall.Stat(at, &who) != nil || syscall.Statfs(at, &s) != nil || seen[who.Dev] {
			continue
		}
		seen[who.Dev] = true
		d := monitor.Disk{Path: path, Free: int64(s.Bavail) * s.Bsize} //nolint:gosec // a disk's size
		// As df has it: what only root may use counts as neither free nor used.
		d.Total = int64(s.Blocks-s.Bfree)*s.Bsize + d.Free //nolint:gosec // a disk's size
		d.Hours = m.fill(path, monitor.Sample{At: now, Free: d.Free})
		list = append(list, d)
	}
	return list
}

// fill remembers how much is free, and says in how many hours nothing is.
func (m *watcher) fill(path string, s monitor.Sample) float64 {
	if m.samples == nil {
		m.samples = map[string][]monitor.Sample{}
	}
	m.samples[path] = monitor.Remember(m.samples[path], s)
	return monitor.HoursLeft(m.samples[path])
}

// failedUnits asks systemd.
func failedUnits(ctx context.Context) (units []string, err error) {
	out, err := ask(ctx, nil, "", "systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager", "--full")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 0 {
			units = append(units, f[0])
		}
	}
	return units, nil
}

// chrony asks the clock's keeper. The fields are those of `chronyc tracking`, in its order; it speaks to a local port.
func chrony(ctx context.Context) (*monitor.Clock, error) {
	out, err := ask(ctx, nil, "", "chronyc", "-c", "-n", "tracking")
	if err != nil {
		return nil, err
	}
	f := strings.Split(strings.TrimSpace(string(out)), ",")
	if len(f) < 14 {
		return nil, fmt.Errorf("chronyc tracking: %d fields", len(f))
	}
	offset, err := strconv.ParseFloat(f[4], 64)
	if err != nil || math.IsNaN(offset) || math.IsInf(offset, 0) {
		return nil, fmt.Errorf("chronyc tracking: no offset in %q", f[4])
	}
	return &monitor.Clock{Offset: offset, Synchronised: f[13] != "Not synchronised"}, nil
}

// slotQuery is one JSON list. A slot that reserves nothing retains nothing.
const slotQuery = `SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('name', slot_name, 'active', active, 'lost', coalesce(wal_status = 'lost', false),
 'retained_bytes', coalesce(greatest(0, pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn)), 0)::bigint) ORDER BY slot_name), '[]')
 FROM pg_catalog.pg_replication_slots`

// archive is how the WAL of a primary comes into its archive; nil on a replica.
func (m *watcher) archive(ctx context.Context, f *archive.Facts) *archive.State {
	if f == nil {
		m.repository.forget()
		return nil
	}
	s := f.State()
	if m.seed.Cluster.Backup.Repository.Named() {
		s.Repository = m.repository.of(ctx, m, *f)
	}
	return &s
}

// inside is what PostgreSQL says of itself. The archive's and the ids' are a primary's alone.
type inside struct {
	slots   []monitor.Slot
	archive *archive.Facts
	horizon *horizon.Facts
}

// database asks PostgreSQL on its socket, as postgres, in one session. Not by /usr/bin/psql, which is a program in Perl that
// looks for the right version first, and costs more than all the rest.
func (m *watcher) database(ctx context.Context) (d inside, err error) {
	c := m.seed.Cluster
	queries := slotQuery + ";\n" + archiveSQL + ";\nSELECT coalesce((" + horizonSQL + ")::text, 'null')"
	out, err := ask(ctx, m.postgres(), queries, psql(filepath.Join(c.BinDir(), "psql"), "--host="+socketDir, fmt.Sprintf("--port=%d", c.Ports.Postgres), "--dbname=postgres")...)
	if err != nil {
		return d, err
	}
	answers := json.NewDecoder(bytes.NewReader(out))
	return d, errors.Join(answers.Decode(&d.slots), answers.Decode(&d.archive), answers.Decode(&d.horizon))
}

// postgres is the system's user of that name; nil when there is none, and then psql says so.
func (m *watcher) postgres() *syscall.Credential {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// ask runs a program for a moment, or for as long as ctx says, as another user where who is not nil.
func ask(ctx context.Context, who *syscall.Credential, input string, args ...string) ([]byte, error) {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, programTime)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdin = "/", strings.NewReader(input)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PGCONNECT_TIMEOUT=3", "PGAPPNAME=pgha monitor", pgOptions())
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("%s does not answer", filepath.Base(args[0]))
	}
	if err != nil {
		said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()+string(out)), "\n")
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(args[0]), err, said)
	}
	return out, nil
}
