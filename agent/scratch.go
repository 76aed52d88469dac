package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/rootfs"
)

// scratch is a PostgreSQL of pgha's own, on a copy of the database: on no network, with a socket for this machine's
// postgres alone, and with nothing in it that acts by itself.
type scratch struct {
	w           *work
	dir, socket string
	// reader is a role that may be made in it, and enters as this machine's postgres; nobody could have known its name.
	reader string
}

// scratchLog is what it says, in its directory.
const scratchLog = "pgha.log"

// startScratch starts it and waits until it has recovered, however long that takes. Options are PostgreSQL's, "name=value",
// without spaces.
func (w *work) startScratch(ctx context.Context, dir, name string, options ...string) (*scratch, error) {
	s := &scratch{w: w, dir: dir, socket: filepath.Join(w.Root, "/run/pgha", name), reader: fmt.Sprintf("pgha_%x", time.Now().UnixNano())}
	uid, gid, err := rootfs.LookupOwner(w.Root, "postgres:postgres")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.socket, 0o700); err != nil {
		return nil, err
	}
	hba := filepath.Join(dir, "pgha.hba.conf")
	ident := filepath.Join(dir, "pgha.ident.conf")
	err = errors.Join(os.Chown(s.socket, uid, gid),
		w.write(ctx, hba, []byte("local all postgres peer\nlocal all "+s.reader+" peer map=pgha\n")),
		w.write(ctx, ident, []byte("pgha postgres "+s.reader+"\n")))
	if err != nil {
		return nil, err
	}
	// The copy's own configuration may name files and addresses of a machine that is at work.
	all := append([]string{
		"listen_addresses=", "unix_socket_directories=" + s.socket, fmt.Sprintf("port=%d", w.seed.Cluster.Ports.Postgres),
		"hba_file=" + hba, "ident_file=" + ident, "external_pid_file=", "ssl=off", "shared_buffers=128MB", "huge_pages=off",
		"logging_collector=off", "log_destination=stderr", "log_min_messages=warning", "lc_messages=C", "timezone=UTC", "cluster_name=pgha-" + name,
		"hot_standby=off", "primary_conninfo=", "primary_slot_name=", "synchronous_standby_names=", "autovacuum=off",
		// Neither subscriptions nor scheduled jobs of extensions may run twice.
		"max_worker_processes=0", "max_logical_replication_workers=0",
	}, options...)
	err = w.Runner.Run(ctx, w.asPostgres(w.program("pg_ctl"), "start", "-D", dir, "-s", "-w", "-t", "86400",
		"-l", filepath.Join(dir, scratchLog), "-o", "-c "+strings.Join(all, " -c ")))
	if err == nil {
		err = s.recovered(ctx)
	}
	if err != nil {
		err = fmt.Errorf("start PostgreSQL on the copy: %w%s", err, s.said())
		if exists(filepath.Join(dir, "postmaster.pid")) { // pg_ctl or the wait for it was ended, not PostgreSQL
			_ = s.stop(ctx) // when it does not run, all is well
		}
		return nil, errors.Join(err, os.RemoveAll(s.socket))
	}
	return s, nil
}

// recovered waits until it takes connections. pg_ctl has done so only until it recovers: hot_standby is off.
func (s *scratch) recovered(ctx context.Context) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		// pg_isready's exit codes: 1 it refuses connections, as while it recovers; 2 nobody answers.
		err := s.w.Runner.Run(ctx, s.w.asPostgres(s.w.program("pg_isready"), "-q", "-h", s.socket, "-p", fmt.Sprint(s.w.seed.Cluster.Ports.Postgres)))
		if run.ExitCode(err) != 1 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// said is what it has said last that tells why it does not run.
func (s *scratch) said() string {
	body, err := readTheirs(filepath.Join(s.dir, scratchLog))
	if err != nil {
		return ""
	}
	var why []string
	for line := range strings.Lines(string(body)) {
		for _, word := range []string{"FATAL:", "PANIC:", "DETAIL:", "recovery stopping", "last completed transaction"} {
			if strings.Contains(line, word) {
				why = append(why, strings.TrimSpace(line))
			}
		}
	}
	if len(why) > 4 {
		why = why[len(why)-4:]
	}
	if why == nil {
		return ""
	}
	return "\n      " + strings.Join(why, "\n      ")
}

// reached is where its recovery ended.
func (s *scratch) reached() (backup.Reached, error) {
	body, err := readTheirs(filepath.Join(s.dir, scratchLog))
	if err != nil {
		return backup.Reached{}, err
	}
	return backup.ReadReached(string(body))
}

func (s *scratch) stop(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	err := s.w.Runner.Run(ctx, s.w.asPostgres(s.w.program("pg_ctl"), "stop", "-D", s.dir, "-s", "-w", "-t", "600", "-m", "fast"))
	return errors.Join(err, os.RemoveAll(s.socket))
}

// copyOf copies a base backup to where PostgreSQL may work on it, without what makes it a replica.
func (w *work) copyOf(ctx context.Context, base, to string) error {
	if err := w.Runner.Run(ctx, w.asPostgres("cp", "--archive", "--reflink=auto", base, to)); err != nil {
		return fmt.Errorf("copy the backup: %w", err)
	}
	for _, name := range []string{"standby.signal", "recovery.signal", "postmaster.pid", "backup_manifest"} {
		if err := os.Remove(filepath.Join(to, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// controlOf reads what pg_controldata says of a data directory.
func (w *work) controlOf(ctx context.Context, dir string) (map[string]string, error) {
	out, err := w.Runner.Output(ctx, run.Cmd{Args: []string{w.program("pg_controldata"), dir}, Env: []string{"LC_ALL=C.UTF-8"}})
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			values[key] = strings.TrimSpace(value)
		}
	}
	return values, nil
}
