package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/pgbake/pgbake/internal/run"
)

const (
	rolesFile    = "/etc/patroni/post_bootstrap.sql"
	appliedRoles = "/var/lib/pgha/roles.sha256"
	// waitingFile holds the change of users that this machine has seen and not made: the primary makes it, or this machine
	// when it leads before that one got to it.
	waitingFile = "/var/lib/pgha/roles.waiting.json"
	// rolesPause is how long an apply may take to make what waited.
	rolesPause = time.Minute
)

// waitingRoles is the content of waitingFile.
type waitingRoles struct {
	Sum string `json:"sum"`
	// Since is the revision of etcd's note when this machine saw the change, 0 when there was no note: what has been noted
	// since is newer.
	Since number    `json:"since"`
	At    time.Time `json:"at"`
}

// madeRoles is etcd's note of which users were made last. The sum tells nothing of the passwords that it is of: two of them
// are always the cluster's own, which nobody can guess.
type madeRoles struct {
	Sum string    `json:"sum"`
	By  string    `json:"by"`
	At  time.Time `json:"at"`
	// revision is the note's in etcd.
	revision number
}

// fate is what becomes of a change of users that waits.
type fate int

const (
	waits fate = iota
	// done: somebody has made it. overtaken: somebody has made another one since.
	done
	overtaken
)

func (p waitingRoles) fate(made madeRoles) fate {
	switch {
	case made.Sum == p.Sum:
		return done
	case made.revision != p.Since:
		return overtaken
	}
	return waits
}

func (a *api) rolesKey() string { return "/pgha/" + a.c.Scope + "/roles" }

// madeRoles reads the note from the member of etcd on this machine.
func (a *api) madeRoles(ctx context.Context, self netip.Addr) (made madeRoles, err error) {
	pairs, err := a.pairs(ctx, self, a.rolesKey(), false)
	if err != nil || len(pairs) == 0 {
		return made, err
	}
	made.revision = pairs[0].ModRevision
	return made, decode(pairs[0].Value, &made, a.rolesKey())
}

// roles brings new users, databases and passwords into a cluster that runs already. Patroni has the SQL run once, when
// it makes the cluster; it may run again at any time. Like settings it runs only for a change seen on this machine: one that
// was away must not turn back what the others were told meanwhile. It takes the superuser, who is nowhere but on the primary.
func (w *work) roles(ctx context.Context) error {
	sql, err := os.ReadFile(filepath.Join(w.Root, rolesFile))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(sql)
	want := hex.EncodeToString(sum[:])
	had, err := os.ReadFile(filepath.Join(w.Root, appliedRoles))
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case string(had) == want:
		return w.endWaiting()
	case err != nil && !w.seed.Cluster.BeginsElsewhere(): // the cluster was made with them
		return w.keepRoles(want)
	}
	made, err := w.api.madeRoles(ctx, w.seed.Machine.Address)
	if err != nil {
		return err
	}
	p, err := readWaiting(w.Root)
	if err != nil {
		return err
	}
	if p.Sum != want {
		p = waitingRoles{want, made.revision, time.Now().UTC().Truncate(time.Second)}
		body, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if err := replace(filepath.Join(w.Root, waitingFile), append(body, '\n'), 0o600); err != nil {
			return err
		}
	}
	if p.fate(made) != waits {
		return w.settleRoles(p, made)
	}
	m, err := w.api.member(ctx, w.seed.Machine.Address)
	if err != nil {
		return err
	}
	if !m.leads() {
		if !w.seed.Cluster.BeginsElsewhere() {
			w.Say("users, databases and passwords are the primary's to change, by its own `pgha apply`; until then they wait here")
		}
		return nil
	}
	return w.makeRoles(ctx, p, made)
}

// makeRoles runs the SQL and tells the others.
func (w *work) makeRoles(ctx context.Context, p waitingRoles, made madeRoles) error {
	w.Say("bring users, databases and passwords up to date")
	w.Acted = append(w.Acted, "patroni.service")
	if err := w.Runner.Run(ctx, run.Command("runuser", "-u", "postgres", "--", "/usr/lib/pgha/post-bootstrap", "dbname=postgres")); err != nil {
		return err
	}
	note, err := json.Marshal(madeRoles{Sum: p.Sum, By: w.seed.Machine.Name, At: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	if err := w.api.put(ctx, w.seed.Machine.Address, w.api.rolesKey(), note, made.revision); err != nil {
		return err
	}
	return w.keepRoles(p.Sum)
}

// settleRoles ends the wait of a change that need not be made here any more.
func (a *Agent) settleRoles(p waitingRoles, made madeRoles) error {
	if p.fate(made) == overtaken {
		a.Say("the users, databases and passwords that this machine was told at %s are not made: %s has made other ones since, at %s\n"+
			"      hint: give this machine the seed that %[2]s has; when its own is the newer one, give it to all members",
			p.At.Format("2006-01-02 15:04 UTC"), made.By, made.At.Format("2006-01-02 15:04 UTC"))
	}
	return a.keepRoles(p.Sum)
}

// keepRoles notes that nothing is left to do for the SQL of this sum.
func (a *Agent) keepRoles(sum string) error {
	if err := replace(filepath.Join(a.Root, appliedRoles), []byte(sum), 0o600); err != nil {
		return err
	}
	return a.endWaiting()
}

func (a *Agent) endWaiting() error {
	if err := os.Remove(filepath.Join(a.Root, waitingFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func readWaiting(root string) (p waitingRoles, err error) {
	if err := readJSON(filepath.Join(root, waitingFile), &p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	return p, nil
}

// awaitRoles looks after a change of users that waits here: when somebody has made it, the wait is over; when this machine
// has become the primary, it makes it.
func (f *follower) awaitRoles(ctx context.Context) {
	p, err := readWaiting(f.Root)
	if err != nil || p.Sum == "" {
		return
	}
	self := f.seed.Machine.Address
	made, err := f.api.madeRoles(ctx, self)
	if err != nil {
		return
	}
	if p.fate(made) != waits {
		if err := f.settleRoles(p, made); err != nil {
			f.Say("%v", err)
		}
		return
	}
	// A cutover makes them itself.
	if m, err := f.api.member(ctx, self); err != nil || !m.leads() || !m.runs() || time.Since(f.rolesAsked) < rolesPause {
		return
	}
	if t, err := f.api.task(ctx, self); err != nil || t != nil {
		return
	}
	f.rolesAsked = time.Now()
	f.Say("this machine leads now, and users, databases or passwords wait here: they are made")
	// Not here: it needs more rights than this service has.
	if err := f.Runner.Run(ctx, run.Command("systemctl", "restart", "--no-block", applyUnit)); err != nil && ctx.Err() == nil {
		f.Say("%v", err)
	}
}
