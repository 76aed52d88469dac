package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/agent/restore"
)

// restoreFile is there while a restore is carried out: it says how far it has come.
const restoreFile = "/var/lib/pgha/restore.json"

// Restore is a restore of the whole cluster: its plan, and what this machine has noted of its way. How far it has come tells the
// disk, etcd, and every Patroni: package restore.
type Restore struct {
	Plan backup.Plan  `json:"plan"`
	Note restore.Note `json:"note"`
	// Next is the step that it was at last, for people.
	Next  backup.Step `json:"next"`
	Error string      `json:"error,omitempty"`
	// Timeline is the restored database's, Checkpoint its control file's last one, as long as it has not run in its place.
	Timeline   int    `json:"timeline,omitempty"`
	Checkpoint string `json:"checkpoint,omitempty"`
}

// Begun tells that a step was taken.
func (r *Restore) Begun() bool { return !r.Plan.Began.IsZero() }

// CurrentRestore returns the one that was begun on this machine and is not done; nil when there is none.
func (a *Agent) CurrentRestore() (*Restore, error) {
	var r Restore
	err := readJSON(filepath.Join(a.Root, restoreFile), &r)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // as the comment says
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", restoreFile, err)
	}
	return &r, nil
}

// PlanRestore says what a restore would do, and changes nothing. The newest good backup is restored when none is named. another lets it
// be of another database than the one that runs here.
func (a *Agent) PlanRestore(ctx context.Context, name string, to time.Time, another bool) (*Restore, error) {
	w, err := a.beginBackup("restore")
	if err != nil {
		return nil, err
	}
	f := backup.Facts{
		Self: w.seed.Machine.Name, To: to, Now: time.Now(), Version: w.seed.Cluster.Postgres.Version,
		Members: w.databases(ctx), Data: w.databaseDir(), System: systemID(w.databaseDir()),
		Another: another,
	}
	if f.System == "" {
		return nil, fmt.Errorf("restore: there is no database in %s\n      hint: run it on a member that has one; `pgha status`", w.inside(f.Data))
	}
	if err := w.chooseBackup(ctx, &f, name); err != nil {
		return nil, err
	}
	if f.Free, err = room(filepath.Dir(f.Data)); err != nil {
		return nil, err
	}
	p, err := backup.Make(f)
	if err == nil {
		err = w.mayLead(ctx, p)
	}
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	return &Restore{Plan: p, Next: backup.Steps[0]}, nil
}

// mayLead refuses early what Patroni would refuse later: to switch over to a replica that commits do not wait for.
func (w *work) mayLead(ctx context.Context, p backup.Plan) error {
	leader, _ := w.primary(ctx)
	if w.seed.Cluster.SynchronousMode() == "false" || !leader.IsValid() || leader == w.seed.Machine.Address {
		return nil
	}
	names, err := w.confirmingSoon(ctx, leader, p.Machine)
	if err != nil || slices.Contains(names, p.Machine) {
		return err
	}
	if len(names) == 0 {
		return errors.New("no replica is synchronous now, and none could take over in order\n      hint: wait until `pgha status` is healthy")
	}
	return fmt.Errorf("a switchover to %s is refused by Patroni: it is not the synchronous replica\n      hint: copy %s to the same place on %s, as user postgres, and run it there",
		p.Machine, w.inside(filepath.Join(w.backupDir(), p.Backup)), strings.Join(names, " or "))
}

// confirmingSoon are the replicas that commits wait for. Where that is any of them, one that has just come back is among them within
// some loops of its primary's Patroni: so long that is waited for.
func (w *work) confirmingSoon(ctx context.Context, leader netip.Addr, machine string) (names []string, err error) {
	end := time.Now().Add(redundancyTime)
	for said := false; ; said = true {
		names, err = w.api.confirming(ctx, leader)
		if err != nil || slices.Contains(names, machine) || w.seed.Cluster.SynchronousMode() != "quorum" || time.Now().After(end) {
			return names, err
		}
		if !said {
			w.Say("waiting until commits wait for %s, too", machine)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(2 * poll):
		}
	}
}

// chooseBackup finds what is restored, and how big it is.
func (w *work) chooseBackup(ctx context.Context, f *backup.Facts, name string) error {
	all, err := w.held(ctx)
	if err != nil {
		return err
	}
	if f.Repository = w.inRepository(); f.Repository {
		for _, m := range f.Members {
			if m.Primary && m.Name != f.Self {
				return fmt.Errorf("restore: from a repository it is done on the primary, which archives its last WAL first\n      hint: run it on %s", m.Name)
			}
		}
	}
	h, ok := backup.Newest(all, name, f.System, f.Another, f.Now)
	switch {
	case !ok && name == "" && f.Another:
		return errors.New("restore: there is no good backup of another database than the one that runs here\n      hint: pgha backup list; a directory that survived goes to the same place on this machine, owned by postgres")
	case !ok && name == "":
		if lost, there := backup.Newest(all, "", f.System, true, f.Now); there {
			return fmt.Errorf("restore: there is no good backup of this cluster's database; %s is of another one, with the system identifier %s\n"+
				"      hint: when all machines were lost, and these are the new ones: pgha restore --another-database", lost.Name, lost.System)
		}
		return noBackup("restore", name)
	case !ok:
		return noBackup("restore", name)
	case f.Another && f.Repository:
		if err := w.chooseNewest(ctx, f, all, h, name); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		f.Size = f.From.Bytes
		return nil
	case f.Repository && !f.To.IsZero():
		if err := w.chooseMoment(ctx, f, all, name); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		f.Size = f.From.Bytes
		return nil
	}
	f.From = h
	if !f.Another {
		f.From = w.chooseOfNow(ctx, f, all, h, name)
	}
	f.Size = f.From.Bytes
	if !f.Repository {
		f.Size, err = sizeOf(filepath.Join(w.backupDir(), f.From.Name, "base"))
	}
	return err
}
