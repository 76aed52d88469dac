package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// ArchivedFile is what PostgreSQL or pg_rewind asks its restore_command for: a segment of WAL, or the history of a timeline.
type ArchivedFile struct {
	// Scope is the cluster's, by which pgBackRest has its archive.
	Scope string
	// Name is the file's in the archive.
	Name string
	// To is where it is wanted: a path below pg_wal. PostgreSQL's begins in its data directory, where it runs this.
	To string
	// State is a file that calls share, and no two at a time; empty for the machine's own.
	State string
}

// archiveState is on no disk: what it says is true of this boot.
const archiveState = cluster.SocketDir + "/pgha-archive-get"

const (
	// archiveSilence is how long pgBackRest may bring nothing. A promotion waits for a file that is being asked for, and
	// asks for four: hence archivePause, and absentTime.
	archiveSilence = 5 * time.Second
	// archivePause is how long the archive is not asked again after it could not be read.
	archivePause = 30 * time.Second
	// absentTime is how long a file that was not there is not asked for again. While its primary is gone a replica asks every
	// second, and when it is promoted once more for the same files. Patroni looks at once whether it is, and then every second:
	// measured, four calls of pgBackRest took 0.2 s, and made the pause of a switchover 2 s longer.
	absentTime = 2 * time.Second
	// rewindSilence is archiveSilence for pg_rewind, which gives up at the first file that it does not get.
	rewindSilence = time.Minute
	// killTime is how long a killed pgBackRest may take to end. In a system call to a file system that does not answer it ends
	// when the file system does.
	killTime = time.Second
)

// ErrNotArchived says that the archive does not have a file, or is not asked for it now.
var ErrNotArchived = errors.New("not in the archive")

// asked is what calls leave for the next one.
type asked struct {
	// Unread is when the archive could not be read last.
	Unread time.Time `json:"unread"`
	// Here is the file that PostgreSQL was last told to take from its own pg_wal.
	Here string `json:"here"`
	// Absent are the files that were not in the archive, and when.
	Absent map[string]time.Time `json:"absent"`
}

// lately tells that something was a moment ago. Clocks are set.
func lately(at time.Time, moment time.Duration) bool {
	since := time.Since(at)
	return since >= 0 && since < moment
}

// Get brings the file, whole or not at all. Where that takes too long it is an error: a replica streams only after its
// restore_command has ended, and waits for ever for one that hangs.
func (f ArchivedFile) Get(ctx context.Context) error {
	if f.State == "" {
		f.State = archiveState
	}
	lock, err := os.OpenFile(f.State, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // what matters was written
	// pgBackRest has the lock as well: one that could not be killed keeps it, and no second one is started beside it.
	switch err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK) && f.forRewind():
		return fmt.Errorf("get %s from the archive: an earlier pgBackRest still hangs", f.Name)
	case errors.Is(err, syscall.EWOULDBLOCK):
		return ErrNotArchived
	case err != nil:
		return fmt.Errorf("lock %s: %w", f.State, err)
	}
	last := readAsked(lock)
	if f.forRewind() {
		return f.fetch(ctx, lock, rewindSilence)
	}
	maps.DeleteFunc(last.Absent, func(_ string, at time.Time) bool { return !lately(at, absentTime) })
	_, absent := last.Absent[f.Name]
	switch {
	case f.here() && last.Here != f.Name:
		last.Here = f.Name
		return errors.Join(ErrNotArchived, last.write(lock))
	case absent, lately(last.Unread, archivePause):
		return ErrNotArchived
	}
	err = f.fetch(ctx, lock, archiveSilence)
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case errors.Is(err, ErrNotArchived):
		if last.Absent == nil {
			last.Absent = map[string]time.Time{}
		}
		last.Absent[f.Name] = time.Now()
	default:
		last.Unread = time.Now()
		err = fmt.Errorf("%w; the archive is asked again after %s", err, archivePause)
	}
	return errors.Join(err, last.write(lock))
}

// forRewind tells that pg_rewind asks, by the file's own name. PostgreSQL wants it as RECOVERYXLOG or RECOVERYHISTORY.
func (f ArchivedFile) forRewind() bool { return filepath.Base(f.To) == f.Name }

func (f ArchivedFile) ofOtherHistory(part string) bool {
	i, err := os.Stat(part)
	return err == nil && otherHistory(filepath.Dir(f.To), f.Name, i.Size())
}

// here tells that this machine's pg_wal has the history, or all of the segment: PostgreSQL says so when it has received, or
// restored, its end. PostgreSQL would ask the archive first for every segment that it replays after a restart. Where the file
// turns out to be damaged PostgreSQL asks for it again, and gets the archive's.
func (f ArchivedFile) here() bool {
	dir := filepath.Dir(f.To)
	if strings.HasSuffix(f.Name, ".history") {
		return exists(filepath.Join(dir, f.Name))
	}
	return exists(filepath.Join(dir, f.Name)) && exists(filepath.Join(dir, "archive_status", f.Name+".done"))
}

// fetch has pgBackRest bring the file, under another name until it is whole: one that could not be killed must not write
// into what a later call has brought.
func (f ArchivedFile) fetch(ctx context.Context, lock *os.File, silence time.Duration) error {
	part := filepath.Join(filepath.Dir(f.To), "pgha.archive-get")
	if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	defer os.Remove(part) //nolint:errcheck // the next call does it, too
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "pgbackrest", "--stanza="+f.Scope, "archive-get", f.Name, part)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // into PostgreSQL's log
	cmd.Env = append(os.Environ(), pgOptions())   // as all that may open a session; this one opens none
	cmd.ExtraFiles = []*os.File{lock}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("get %s from the archive: %w", f.Name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	switch err := f.await(ctx, cmd.Process, ended, part, silence); {
	case err == nil && !f.forRewind() && f.ofOtherHistory(part):
		return ErrNotArchived
	case err == nil:
		return os.Rename(part, f.To)
	case run.ExitCode(err) == 1: // its only meaning: https://pgbackrest.org/command.html#command-archive-get
		return ErrNotArchived
	default:
		return fmt.Errorf("get %s from the archive: pgBackRest: %w", f.Name, err)
	}
}

// await waits for pgBackRest's end as long as the file grows.
func (f ArchivedFile) await(ctx context.Context, p *os.Process, ended <-chan error, part string, silence time.Duration) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	size, grown := int64(-1), time.Now()
	for {
		var why error
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			why = context.Cause(ctx)
		case <-tick.C:
			if i, err := os.Stat(part); err == nil && i.Size() != size {
				size, grown = i.Size(), time.Now()
			}
			if time.Since(grown) < silence {
				continue
			}
			why = fmt.Errorf("it has brought nothing for %s", silence)
		}
		_ = p.Kill() // it may have ended
		select {
		case <-ended:
			return why
		case <-time.After(killTime):
			return fmt.Errorf("%w, and process %d cannot be ended", why, p.Pid)
		}
	}
}

// readAsked is zero where nothing, or half of it, was written.
func readAsked(state *os.File) (a asked) {
	body, err := io.ReadAll(state)
	if err != nil || json.Unmarshal(body, &a) != nil {
		return asked{}
	}
	return a
}

func (a asked) write(state *os.File) error {
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, written := state.WriteAt(body, 0)
	return errors.Join(written, state.Truncate(int64(len(body))))
}
