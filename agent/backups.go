package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

const (
	backupTimer = "pgha-backup.timer"
	proofTimer  = "pgha-proof.timer"
	socketDir   = cluster.SocketDir
	// backupLock is held by whoever works in the backups' directory, on this machine; it ends with the process.
	backupLock = "/run/pgha/backup.lock"
)

// backups makes the directory of the backups and starts their timers, or stops those that are not wanted any more.
// What lies in the directory is never touched here.
func (w *work) backups(ctx context.Context) error {
	b := w.seed.Cluster.Backup
	if b.Directory != "" {
		if err := w.makeDir(w.backupDir()); err != nil {
			return err
		}
	}
	if w.inRepository() {
		if err := w.openRepository(ctx); err != nil {
			return err
		}
	}
	if w.pending.has(backupTimer) {
		// A timer that runs sees another time of day by the reload alone.
		if err := w.Runner.Run(ctx, run.Command("systemctl", "daemon-reload")); err != nil {
			return err
		}
		if err := w.pending.done(backupTimer); err != nil {
			return err
		}
	}
	return errors.Join(w.timer(ctx, backupTimer, b.Taken()), w.timer(ctx, proofTimer, b.Proven()))
}

// timer makes one run, or not.
func (w *work) timer(ctx context.Context, unit string, wanted bool) error {
	state, err := w.state(ctx, unit)
	switch {
	case err != nil:
		return err
	case wanted && !running(state):
		return w.systemctl(ctx, "start", unit)
	case !wanted && running(state):
		return w.systemctl(ctx, "stop", unit)
	}
	return nil
}

// backupDir is where backups lie; with a repository, what is restored on trial lies beside the database.
func (w *work) backupDir() string {
	if w.inRepository() {
		return filepath.Dir(w.databaseDir())
	}
	return filepath.Join(w.Root, w.seed.Cluster.Backup.Directory)
}

// beginBackup is prepare for everything that has to do with backups.
func (a *Agent) beginBackup(what string) (*work, error) {
	w, err := a.prepare()
	if err != nil {
		return nil, err
	}
	switch {
	case w.seed.Machine.Role != cluster.DB:
		return nil, fmt.Errorf("%s: %s is a proxy\n      hint: run it on a member", what, w.seed.Machine.Name)
	case !w.seed.Cluster.Backup.Taken():
		return nil, fmt.Errorf("%s: %s names no place for backups\n      hint: backup: {directory: /var/backups/postgresql} in cluster.yaml, then `pgbake seed`, and here `pgha spec accept`", what, specFile)
	}
	return w, nil
}

// lockBackups makes sure that one program works in the backups' directory.
func (w *work) lockBackups(what string) (unlock func(), err error) {
	path := filepath.Join(w.Root, backupLock)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the lock holds no secret
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: a backup, a proof or a restore is at work on this machine\n      hint: see `systemctl status pgha-backup pgha-proof`", what), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// sweep removes what this machine has begun in the directory and was stopped at. It is called under the lock.
func (w *work) sweep(ctx context.Context) error {
	entries, err := os.ReadDir(w.backupDir())
	if err != nil {
		return fmt.Errorf("read the backups' directory: %w\n      hint: `pgha apply` makes it; is its disk mounted?", err)
	}
	for _, e := range entries {
		if !backup.Leftover(e.Name(), w.seed.Machine.Name) {
			continue
		}
		w.Say("remove %s, which was not finished", w.inside(filepath.Join(w.backupDir(), e.Name())))
		if err := w.discard(ctx, filepath.Join(w.backupDir(), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// discard removes a directory of our own making. A database that was left running in it is stopped first; a program
// that was left writing there does not find its way back.
func (w *work) discard(ctx context.Context, dir string) error {
	ctx = context.WithoutCancel(ctx)
	if exists(filepath.Join(dir, "postmaster.pid")) {
		_ = w.Runner.Run(ctx, w.asPostgres(w.program("pg_ctl"), "stop", "-D", dir, "-m", "immediate", "-s", "-w")) // when it does not run, all is well
	}
	end := time.Now().Add(discardTime)
	for {
		gone := os.RemoveAll(dir)
		switch {
		case gone == nil:
			return nil
		case !errors.Is(gone, syscall.ENOTEMPTY) || time.Now().After(end): // a file that is made meanwhile keeps its directory
			return fmt.Errorf("remove %s: %w", w.inside(dir), gone)
		}
		time.Sleep(poll / 4)
	}
}

// discardTime is how long a program that was left writing may need to notice that its directory is gone.
const discardTime = 10 * time.Second

// asPostgres runs a program as PostgreSQL's user, who needs no password on the socket. Not runuser: its PAM session wants
// more rights than the unit has.
func (w *work) asPostgres(args ...string) run.Cmd {
	return run.Cmd{
		Args: append([]string{"setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"}, args...),
		Env:  []string{"HOME=" + dataPath, "LC_ALL=C.UTF-8", "PGCONNECT_TIMEOUT=10"}, Dir: "/",
	}
}

// write makes a file, for good. Where PostgreSQL's user may rename things under its hands root itself writes nothing.
func (w *work) write(ctx context.Context, path string, body []byte) error {
	c := w.asPostgres("dd", "of="+path, "status=none", "conv=fsync")
	c.Stdin = bytes.NewReader(body)
	return w.Runner.Run(ctx, c)
}

func (w *work) writeJSON(ctx context.Context, path string, v any) error {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return w.write(ctx, path, append(body, '\n'))
}

// program is one of PostgreSQL's, of the cluster's version.
func (w *work) program(name string) string { return filepath.Join(w.seed.Cluster.BinDir(), name) }

// room tells how many bytes a directory's file system has left for an ordinary user beside a twentieth of it, which
// stays free: a database's own disk must not be filled by its backup.
func room(dir string) (free int64, err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("look at %s: %w", dir, err)
	}
	return (int64(fs.Bavail) - int64(fs.Blocks/20)) * fs.Bsize, nil //nolint:gosec // far below 2^63
}

// sizeOf adds up the files below a directory.
func sizeOf(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	return bytes, err
}

// Size is a number of bytes for people.
func Size(bytes int64) string {
	const units = "kMGTP"
	if bytes < 1000 {
		return fmt.Sprintf("%d B", bytes)
	}
	f, unit := float64(bytes), -1
	for f >= 1000 && unit < len(units)-1 {
		f, unit = f/1000, unit+1
	}
	return fmt.Sprintf("%.1f %cB", f, units[unit])
}

// full puts what a full disk means into words; other errors stay as they are.
func full(err error, dir string) error {
	if err == nil || !errors.Is(err, syscall.ENOSPC) && !strings.Contains(err.Error(), "No space left on device") {
		return err
	}
	return fmt.Errorf("the disk of %s is full; what was begun is removed, and no older backup is touched: %w\n      hint: give it more room, or lower backup.keep", dir, err)
}

// backupTime is how long a backup is waited for before it counts as missed: the next one is due.
const backupTime = 23 * time.Hour
