package backup

import (
	"fmt"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/archive"
)

// Step is one step of a restore. Each may be stopped at any point and done again.
type Step string

// The steps, in their order. Up to Pause the database that serves is not touched.
const (
	StepCheck      Step = "check"
	StepSwitchover Step = "switchover"
	StepCopy       Step = "copy"
	StepPause      Step = "pause"
	StepStop       Step = "stop"
	StepSwap       Step = "swap"
	StepStart      Step = "start"
	StepResume     Step = "resume"
	StepReplicas   Step = "replicas"
)

// Steps lists them.
var Steps = []Step{StepCheck, StepSwitchover, StepCopy, StepPause, StepStop, StepSwap, StepStart, StepResume, StepReplicas}

// Facts are what a restore depends on.
type Facts struct {
	Self string
	// From is what is restored; Repository tells that it lies in the WAL's archive, not in a directory here.
	From       Held
	Repository bool
	// To is the moment to restore to; the end of the backup when zero.
	To, Now time.Time
	// System is the identifier of the database on this machine, Version its major version.
	System  string
	Version int
	Members []Member
	// Data is the data directory; Size is what the restored one needs, Free what there is beside it.
	Data       string
	Size, Free int64
	// Hole is WAL behind the backup that the archive lacks; nil when it lacks none, or nobody could look.
	Hole *archive.Hole
	// Timeline is where To lies, as recovery_target_timeline takes it; Left what Plan.Left is.
	Timeline, Left string
	// Another tells that From is to be of another database than the one that runs here: all machines were lost, and this is what the
	// new ones have begun with.
	Another bool
}

// Plan is what a restore does. It is kept on the disk while it is carried out.
type Plan struct {
	Machine    string    `json:"machine"`
	Backup     string    `json:"backup"`
	Repository bool      `json:"repository,omitempty"`
	Taken      time.Time `json:"taken"`
	To         time.Time `json:"to,omitzero"`
	// Timeline is the one that To lies on, as recovery_target_timeline takes it: a number, or current for the backup's own. Left
	// says which one that is, when the cluster has left it since.
	Timeline string `json:"timeline,omitempty"`
	Left     string `json:"left,omitempty"`
	Bytes    int64  `json:"bytes"`
	// Primary leads now; empty when nobody does.
	Primary string `json:"primary,omitempty"`
	// Others are the members that are made anew from this one.
	Others []string `json:"others"`
	Data   string   `json:"data"`
	// Staged is where the restored database is made ready, Aside where the one of today stays.
	Staged string    `json:"staged"`
	Aside  string    `json:"aside"`
	Began  time.Time `json:"began,omitzero"`
	// Another is the system identifier of the restored database where that is another one than the cluster's of today.
	Another string `json:"another,omitempty"`
	// Reached is what the restored database has; nil until it is made ready.
	Reached *Reached `json:"reached,omitempty"`
}

// Make makes the plan, or says why there is none.
func Make(f Facts) (Plan, error) {
	p := Plan{
		Machine: f.Self, Backup: f.From.Name, Repository: f.Repository, Taken: f.From.At, To: f.To, Timeline: f.Timeline, Left: f.Left, Bytes: f.Size, Data: f.Data,
		Staged: f.Data + ".restored-" + f.Now.UTC().Format(stamp), Aside: f.Data + ".aside-" + f.Now.UTC().Format(stamp),
	}
	for _, m := range f.Members {
		if m.Primary {
			p.Primary = m.Name
		}
		if m.Name != f.Self {
			p.Others = append(p.Others, m.Name)
		}
	}
	if f.Another {
		p.Another = f.From.System
	}
	switch {
	case !f.From.Verified:
		return p, fmt.Errorf("%s is not verified\n      hint: another one: pgha backup list", f.From.Name)
	case f.From.Version != f.Version:
		return p, fmt.Errorf("%s is of PostgreSQL %d, and the cluster runs %d\n      hint: its dumps can be read by any version: pg_restore", f.From.Name, f.From.Version, f.Version)
	case f.Another && f.From.System == f.System:
		return p, fmt.Errorf("%s is of the database that this cluster has\n      hint: without --another-database", f.From.Name)
	case !f.Another && f.From.System != f.System:
		return p, fmt.Errorf("%s is of another database: its system identifier is %s, and this cluster's %s\n"+
			"      hint: when all machines were lost, and these are the new ones: pgha restore --another-database, which puts it in the place of the new database", f.From.Name, f.From.System, f.System)
	case !f.To.IsZero() && !f.Repository:
		return p, fmt.Errorf("without an archive of the WAL a backup restores the database only as it was when it was taken: %s at %s\n"+
			"      hint: pgha restore --backup %[1]s; for any moment: backup.repository in cluster.yaml, from then on", f.From.Name, f.From.Ended.Format(time.RFC3339))
	case f.To.After(f.Now):
		return p, fmt.Errorf("%s is in the future; it is %s now", f.To.Format(archive.Moment), f.Now.In(f.To.Location()).Format(archive.Moment))
	case !f.To.IsZero() && f.To.Before(f.From.Ended):
		return p, fmt.Errorf("%s is before the end of the oldest backup that could lead there, %s", f.To.Format(time.RFC3339), f.From.Ended.Format(time.RFC3339))
	case !f.To.IsZero() && f.Hole != nil && f.To.After(f.Hole.Reach.Add(time.Second)): // the repository's times are whole seconds
		reach := "before the end of " + f.From.Name
		if !f.Hole.Reach.IsZero() {
			reach = "up to " + f.Hole.Reach.Format(time.RFC3339)
		}
		return p, fmt.Errorf("%s lies behind a hole in the archive: %d segments of WAL, from %s on, are not there\n"+
			"      hint: %s can be restored a moment %s; behind the hole one after the end of a backup that was taken there: pgha backup list",
			f.To.Format(time.RFC3339), f.Hole.Segments, f.Hole.First, f.From.Name, reach)
	case f.Free < f.Size:
		return p, fmt.Errorf("the disk of %s has room for %d MB beside the database of today, which is kept, and the restored one needs %d MB\n      hint: give it more room",
			f.Data, max(f.Free, 0)>>20, f.Size>>20)
	}
	return p, nil
}

// Moment says to when the database goes back.
func (p Plan) Moment() string {
	switch {
	case p.Newest():
		return "the end of what the repository has"
	case p.To.IsZero():
		return "the end of " + p.Backup
	}
	return p.To.Format(archive.Moment)
}

// Newest tells that all WAL is recovered that there is: nothing else is left of that database.
func (p Plan) Newest() bool { return p.Another != "" && p.Repository && p.To.IsZero() }

// Back says where the database is when all is done.
func (p Plan) Back() string {
	if p.Reached == nil {
		return p.Moment()
	}
	return p.Moment() + "; " + p.Reached.Says(p.To.Location())
}

// Says is what a step does, for a person who decides.
func (p Plan) Says(s Step) string {
	others := strings.Join(p.Others, " and ")
	switch s {
	case StepCheck:
		if p.Repository && p.Another != "" {
			return fmt.Sprintf("(%s is what the repository has of the database %s)", p.Backup, p.Another)
		}
		if p.Repository {
			return "wait until the WAL of this moment is in the repository, which has " + p.Backup
		}
		return "verify " + p.Backup
	case StepCopy:
		where := p.Moment()
		if p.Left != "" {
			where += " on " + p.Left + ","
		}
		return fmt.Sprintf("restore to %s in %s, beside the database that goes on serving", where, p.Staged)
	case StepSwitchover:
		switch p.Primary {
		case p.Machine:
			return "(this machine is the primary)"
		case "":
			return "(there is no primary now; this machine becomes it)"
		}
		return fmt.Sprintf("switch over from %s to this machine", p.Primary)
	case StepPause:
		return "pause Patroni: nobody fails over meanwhile"
	case StepStop:
		return "stop PostgreSQL on this machine: from here on nobody writes"
	case StepSwap:
		return fmt.Sprintf("keep the database of today as %s; put the restored one in its place", p.Aside)
	case StepStart:
		return "start it, under Patroni, as the primary: applications write again"
	case StepReplicas:
		if len(p.Others) == 0 {
			return "(there are no replicas)"
		}
		return fmt.Sprintf("wait for the copies of %s; what they have goes", others)
	case StepResume:
		return "end the pause, as soon as no member could lead with the database of today"
	}
	return string(s)
}
