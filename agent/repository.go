package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/cluster"
)

// stanzaMark tells for which repository this machine has seen that the archive is there.
const stanzaMark = "/var/lib/pgha/repository"

// inRepository tells whether pgBackRest has the backups.
func (w *work) inRepository() bool { return w.seed.Cluster.Backup.Repository.Named() }

// needRepository refuses an archive command whose program is not there, before PostgreSQL is told of it.
func (w *work) needRepository(context.Context) error {
	if w.inRepository() && !exists(filepath.Join(w.Root, "/usr/bin/pgbackrest")) {
		return errors.New("pgBackRest is not installed, and cluster.yaml names a repository for it\n      hint: apt install pgbackrest")
	}
	return nil
}

// openRepository makes the archive, once, on the primary. A repository that does not answer stops nothing: the WAL waits for it.
func (w *work) openRepository(ctx context.Context) error {
	r := w.seed.Cluster.Backup.Repository
	mark, now := filepath.Join(w.Root, stanzaMark), fmt.Sprintf("%s %s %s%s\n", w.seed.Cluster.Scope, r.Type, r.Bucket, r.Path)
	if had, err := os.ReadFile(mark); err == nil && string(had) == now {
		return nil
	}
	if r.Type == cluster.RepositoryPath {
		switch dir := filepath.Join(w.Root, r.Path); {
		case exists(dir):
		case len(w.seed.Cluster.Nodes) > 1:
			w.Say("the repository's %s is not there: WAL is not archived until the file system that all members share is mounted; then run `pgha apply`", r.Path)
			return nil
		default:
			if err := w.makeDir(dir); err != nil {
				return err
			}
		}
	}
	m, err := w.api.member(ctx, w.seed.Machine.Address)
	if err == nil && m.leads() {
		w.Say("make the archive in the repository")
		err = w.Runner.Run(ctx, w.pgbackrest("stanza-create"))
	} else if err == nil {
		_, err = w.repositoryInfo(ctx)
	}
	if err != nil {
		w.Say("WAL is not archived yet, the next apply or backup tries again: %v", err)
		return nil
	}
	return replace(mark, []byte(now), 0o644)
}

// stanza is what pgBackRest knows of this cluster: https://pgbackrest.org/command.html#command-info
type stanza struct {
	Name   string `json:"name"`
	Status struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"status"`
	Archive []struct {
		ID       string     `json:"id"`
		Database pgDatabase `json:"database"`
	} `json:"archive"`
	Backup []struct {
		Label     string     `json:"label"`
		Database  pgDatabase `json:"database"`
		Type      string     `json:"type"`
		Error     bool       `json:"error"`
		Timestamp struct {
			Start int64 `json:"start"`
			Stop  int64 `json:"stop"`
		} `json:"timestamp"`
		Info struct {
			Size int64 `json:"size"`
		} `json:"info"`
		Archive struct {
			Start string `json:"start"`
			Stop  string `json:"stop"`
		} `json:"archive"`
		// LSN is missing of a backup that an old pgBackRest took.
		LSN struct {
			Stop string `json:"stop"`
		} `json:"lsn"`
	} `json:"backup"`
	DB []struct {
		ID      int         `json:"id"`
		System  json.Number `json:"system-id"`
		Version string      `json:"version"`
	} `json:"db"`
}

// pgDatabase is a database by pgBackRest's number.
type pgDatabase struct {
	ID int `json:"id"`
}

// noBackups is pgBackRest's status of a stanza that has none yet.
const noBackups = 2

// repositoryInfo asks the repository.
func (w *work) repositoryInfo(ctx context.Context) (stanza, error) {
	return askRepository(ctx, w.askPgBackRest)
}

// askPgBackRest is what pgBackRest answers.
func (w *work) askPgBackRest(ctx context.Context, args ...string) ([]byte, error) {
	return w.Runner.Output(ctx, w.pgbackrest(args...))
}

func parseInfo(out []byte) (stanza, error) {
	var all []stanza
	if err := json.Unmarshal(out, &all); err != nil {
		return stanza{}, fmt.Errorf("read what pgBackRest says of the repository: %w", err)
	}
	if len(all) != 1 || all[0].Status.Code != 0 && all[0].Status.Code != noBackups {
		message := "nothing of this cluster"
		if len(all) == 1 {
			message = all[0].Status.Message
		}
		return stanza{}, fmt.Errorf("the repository says: %s\n      hint: is it the one that the primary archives to, and mounted? `pgha apply` on the primary makes what is missing", message)
	}
	return all[0], nil
}

// of is a database's system identifier, and PostgreSQL's major version; both empty where the repository does not say.
func (s stanza) of(database int) (system string, version int) {
	for _, db := range s.DB {
		if db.ID == database {
			major, _, _ := strings.Cut(db.Version, ".")
			version, _ = strconv.Atoi(major)
			return db.System.String(), version
		}
	}
	return "", 0
}

// held are the backups of a stanza, the oldest first.
func (s stanza) held(scope string, proof backup.Proof) (all []backup.Held) {
	for _, b := range s.Backup {
		h := backup.Held{Record: backup.Record{
			Name: b.Label, Scope: scope, Role: b.Type, Bytes: b.Info.Size, Verified: !b.Error,
			At: time.Unix(b.Timestamp.Start, 0).UTC(), Ended: time.Unix(b.Timestamp.Stop, 0).UTC(),
		}}
		h.System, h.Version = s.of(b.Database.ID)
		if len(b.Archive.Start) >= 8 {
			timeline, _ := strconv.ParseInt(b.Archive.Start[:8], 16, 32)
			h.Timeline = int(timeline)
		}
		if proof.Backup == b.Label {
			h.Proof = proof
		}
		all = append(all, h)
	}
	return all
}

// backupToRepository takes one: a full one when there is none of its time, else what differs from it. pgBackRest verifies
// every page as it reads it, and waits for the WAL that makes it whole. Only after a good one the oldest may go.
func (w *work) backupToRepository(ctx context.Context, began time.Time) (r backup.Record, err error) {
	if _, _, err := w.source(ctx); err != nil {
		return r, err
	}
	if err := w.Runner.Run(ctx, w.pgbackrest("stanza-create")); err != nil {
		return r, fmt.Errorf("open the repository: %w\n      hint: is it mounted, and does it answer? PostgreSQL keeps its WAL meanwhile; no backup is touched", err)
	}
	s, err := w.repositoryInfo(ctx)
	if err != nil {
		return r, err
	}
	b, before := w.seed.Cluster.Backup, len(s.Backup)
	kind := s.nextKind(b, began)
	w.Say("take a backup into the repository: %s", map[string]string{"full": "all of it", "diff": "what differs from the last full one"}[kind])
	if err := w.Runner.Run(ctx, w.pgbackrest("backup", "--type="+kind, "--no-expire-auto")); err != nil {
		return r, err
	}
	if s, err = w.repositoryInfo(ctx); err != nil {
		return r, err
	}
	all := s.held(w.seed.Cluster.Scope, backup.Proof{})
	if len(all) <= before {
		return r, errors.New("the repository has no new backup after one was taken")
	}
	r = all[len(all)-1].Record
	r.Machine = w.seed.Machine.Name
	if !r.Verified {
		return r, fmt.Errorf("pgBackRest has read pages with wrong checksums: the database on this machine is damaged, and %s does not count; older backups stay\n"+
			"      hint: journalctl -u pgha-backup names the files; pgha doctor; when a replica's copy is good: pgha switchover, and then pgha reinit %s", r.Name, r.Machine)
	}
	w.Say("%s is complete: %s in %s", r.Name, Size(r.Bytes), time.Since(began).Round(time.Second))
	keep := fmt.Sprintf("--repo1-retention-full=%d", s.retention(b.Keep, b.KeepDays, time.Now()))
	if err := w.Runner.Run(ctx, w.pgbackrest("expire", keep)); err != nil {
		return r, beside{fmt.Errorf("%s is a good backup; the oldest ones could not be removed from the repository: %w", r.Name, err)}
	}
	return r, nil
}

// fromRepository restores a backup into an empty directory, ready to recover.
func (w *work) fromRepository(ctx context.Context, dir, name string, options ...string) error {
	if err := w.Runner.Run(ctx, w.asPostgres("mkdir", "--mode=700", dir)); err != nil {
		return err
	}
	args := append([]string{"restore", "--pg1-path=" + dir, "--set=" + name}, options...)
	return w.Runner.Run(ctx, w.pgbackrest(args...))
}

// takers are the members as they count for the election: pgBackRest copies from the primary, since it reaches no other one.
func (w *work) takers(ctx context.Context) []backup.Member {
	members := w.databases(ctx)
	if w.inRepository() {
		for i := range members {
			members[i].Replica = false
		}
	}
	return members
}
