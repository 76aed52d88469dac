package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pgbake/pgbake/internal/run"
)

// stopUnit ends Patroni and PostgreSQL, and is over when neither runs.
const stopUnit = "pgha-stop.service"

// exitTime is how long a process of PostgreSQL may take from its last word to its end: it gives its memory back, which may be large,
// on a machine that may be busy.
const exitTime = time.Minute

// StopDatabase ends Patroni and PostgreSQL on this machine, in this order. pgha-follow, which has not the
// rights to do so, has stopUnit do it when this machine was removed from its cluster.
func (a *Agent) StopDatabase(ctx context.Context) error {
	w, err := a.prepare()
	if err != nil {
		return err
	}
	return w.endDatabase(ctx)
}

// endDatabase returns without an error only when neither Patroni nor PostgreSQL runs on this machine's data directory. To stop
// patroni.service is not enough: in pause Patroni leaves PostgreSQL running. It may take ten minutes, the checkpoint at the end of
// a PostgreSQL with much memory.
func (w *work) endDatabase(ctx context.Context) error {
	if err := w.Runner.Run(ctx, run.Command("systemctl", "stop", "patroni.service")); err != nil {
		return err
	}
	pid, err := w.databaseProcess()
	if err != nil || pid == 0 {
		return err
	}
	dir := w.inside(w.databaseDir())
	w.Say("PostgreSQL still runs without Patroni: it is shut down")
	ended := w.Runner.Run(ctx, w.asPostgres(w.program("pg_ctl"), "stop", "-D", dir, "-s", "-w", "-t", "600", "-m", "fast"))
	switch pid, err = w.lastProcess(ctx); {
	case err != nil:
		return errors.Join(ended, err)
	case pid == 0:
		return nil // whatever pg_ctl says
	case ended == nil:
		ended = fmt.Errorf("process %d still works there", pid)
	}
	return fmt.Errorf("end PostgreSQL in %s: %w\n      hint: its data is where it was; `ps -fp %d` shows it; once more when it has ended", dir, trimHint(ended), pid)
}

// lastProcess waits until no process works in the data directory, and returns the one that does after exitTime. pg_ctl waits for
// postmaster.pid to go: its postmaster has its exit still before it then, and so have the backends of one that was killed.
func (w *work) lastProcess(ctx context.Context) (pid int, err error) {
	end := time.Now().Add(exitTime)
	for {
		pid, err = w.databaseProcess()
		if pid == 0 || err != nil || time.Now().After(end) {
			return pid, err
		}
		select {
		case <-ctx.Done():
			return pid, context.Cause(ctx)
		case <-time.After(poll):
		}
	}
}

// moveDatabase gives the data directory another name. Nothing else in the agent renames it but a restore, and nothing may while a
// process works in it.
func (w *work) moveDatabase(ctx context.Context, to string) error {
	if err := w.endDatabase(ctx); err != nil {
		return fmt.Errorf("set data aside: %w", err)
	}
	dir := w.databaseDir()
	if err := errors.Join(os.Rename(dir, to), syncDir(filepath.Dir(dir))); err != nil {
		return fmt.Errorf("set data aside: %w", err)
	}
	return nil
}

// databaseProcess is the number of a process of PostgreSQL that works in this machine's data directory, the postmaster's if it runs;
// 0 when there is none. postmaster.pid alone does not tell: a power cut leaves it, and its number may be somebody else's by now.
func (w *work) databaseProcess() (pid int, err error) {
	dir := w.databaseDir()
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		dir = target
	}
	// Where a process works only root with all its rights may see.
	works := func(pid int) (sure, maybe bool) {
		proc := filepath.Join(w.Root, "/proc", strconv.Itoa(pid))
		comm, err := os.ReadFile(filepath.Join(proc, "comm"))
		if err != nil || strings.TrimSpace(string(comm)) != "postgres" {
			return false, false
		}
		at, err := os.Readlink(filepath.Join(proc, "cwd"))
		return err == nil && at == dir, err != nil
	}
	body, err := readTheirs(filepath.Join(w.databaseDir(), "postmaster.pid"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	first, _, _ := strings.Cut(string(body), "\n")
	if pid, err := strconv.Atoi(strings.TrimSpace(first)); err == nil {
		if sure, maybe := works(pid); sure || maybe {
			return pid, nil
		}
	}
	processes, err := os.ReadDir(filepath.Join(w.Root, "/proc"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	for _, p := range processes {
		if pid, err := strconv.Atoi(p.Name()); err == nil {
			if sure, _ := works(pid); sure {
				return pid, nil
			}
		}
	}
	return 0, nil
}
