package agent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// Maintenance is announced in etcd, at /pgha/SCOPE/maintenance: while it lasts Patroni is paused, and nothing is failed
// over or restarted. When its time is over, pgha-follow.service of any member ends it.
type Maintenance struct {
	// By is the machine that it was begun on.
	By string `json:"by"`
	// Why is the operator's word for it; may be empty.
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// forgottenAfter is how long after its end a maintenance may still be there: members look every maintenanceLook.
const (
	forgottenAfter  = 2 * time.Minute
	maintenanceLook = 10 * time.Second
)

// Forgotten tells that it should have ended by itself, and has not.
func (m *Maintenance) Forgotten(now time.Time) bool { return now.After(m.Until.Add(forgottenAfter)) }

func (a *api) maintenanceKey() string { return "/pgha/" + a.c.Scope + "/maintenance" }

// maintenance reads what was announced; nil when nothing was. since is the revision of that.
func (a *api) maintenance(ctx context.Context, at netip.Addr) (m *Maintenance, since number, err error) {
	pairs, err := a.pairs(ctx, at, a.maintenanceKey(), false)
	if err != nil || len(pairs) == 0 {
		return nil, 0, err
	}
	m = &Maintenance{}
	if err := json.Unmarshal(pairs[0].Value, m); err != nil {
		return nil, 0, fmt.Errorf("read %s in etcd: %w", a.maintenanceKey(), err)
	}
	return m, pairs[0].ModRevision, nil
}

// BeginMaintenance pauses Patroni for a time; one that lasts already gets the new end.
func (a *Agent) BeginMaintenance(ctx context.Context, long time.Duration, why string) (*Maintenance, error) {
	w, err := a.upkeep("maintenance")
	if err != nil {
		return nil, err
	}
	at, err := w.etcd(ctx)
	if err != nil {
		return nil, err
	}
	switch t, err := w.api.task(ctx, at); {
	case err != nil:
		return nil, err
	case t != nil:
		return nil, fmt.Errorf("maintenance: in a pause this could not end: %s\n      hint: %s", t, t.wait())
	}
	now := time.Now()
	m := &Maintenance{By: w.seed.Machine.Name, Why: why, Since: now, Until: now.Add(long)}
	if had, _, err := w.api.maintenance(ctx, at); err != nil {
		return nil, err
	} else if had != nil {
		m.Since = had.Since
	}
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	// Announced first: a pause that nobody ends is worse than an announcement that nothing follows.
	if err := w.api.call(ctx, at, "kv/put", map[string]any{"key": []byte(w.api.maintenanceKey()), "value": body}, &struct{}{}); err != nil {
		return nil, err
	}
	if err := w.pause(ctx, true); err != nil {
		return nil, fmt.Errorf("maintenance: %w\n      hint: pgha maintenance off, which takes the announcement back", err)
	}
	return m, nil
}

// EndMaintenance lets Patroni work again.
func (a *Agent) EndMaintenance(ctx context.Context) error {
	w, err := a.upkeep("maintenance")
	if err != nil {
		return err
	}
	at, err := w.etcd(ctx)
	if err != nil {
		return err
	}
	switch t, err := w.api.task(ctx, at); {
	case err != nil:
		return err
	case t != nil && t.restores:
		return fmt.Errorf("maintenance: the pause is that of %s\n      hint: %s", t, t.wait())
	}
	if err := w.api.call(ctx, at, "kv/deleterange", map[string]any{"key": []byte(w.api.maintenanceKey())}, &struct{}{}); err != nil {
		return err
	}
	if err := w.pause(ctx, false); err != nil {
		return fmt.Errorf("maintenance: %w", err)
	}
	return w.until(ctx, "a primary", time.Minute, func(ctx context.Context) string {
		_, why := w.survey(ctx).primary()
		return why
	})
}

// pause tells Patroni, and waits until every member that answers has heard it.
func (w *work) pause(ctx context.Context, on bool) error {
	var told time.Time
	return w.until(ctx, "Patroni to hear it", time.Minute, func(ctx context.Context) string {
		s := w.survey(ctx)
		why := "no Patroni answers"
		for _, m := range s.members {
			switch {
			case m.err != nil:
			case m.Paused != on:
				if time.Since(told) > 5*time.Second {
					if err := w.api.setPause(ctx, m.at, on); err != nil {
						return err.Error()
					}
					told = time.Now()
				}
				return m.name + " has not heard it yet"
			case why != "":
				why = ""
			}
		}
		return why
	})
}

// setPause changes what the whole cluster goes by, at any member.
func (a *api) setPause(ctx context.Context, at netip.Addr, on bool) error {
	patch := map[string]any{"pause": nil}
	if on {
		patch["pause"] = true
	}
	return a.patchSettings(ctx, at, patch)
}

// announced is what a follower knows of the maintenance, and of a restore.
type announced struct {
	looked  time.Time
	mu      sync.Mutex
	now     *Maintenance
	restore *Restoring
}

func (n *announced) announced() (*Maintenance, *Restoring) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now, n.restore
}

func (n *announced) set(m *Maintenance, r *Restoring) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now, n.restore = m, r
}

// endMaintenance looks whether the announced time is over, and then ends it: first the pause, then the announcement, so
// that any member can go on where another was cut short. All may do so at the same time.
func (f *follower) endMaintenance(ctx context.Context) {
	u := &f.upkeep
	if m, _ := u.announced(); f.seed.Machine.Role != cluster.DB || m == nil && time.Since(u.looked) < maintenanceLook {
		return
	}
	u.looked = time.Now()
	self := f.seed.Machine.Address
	m, since, err := f.api.maintenance(ctx, self)
	if err != nil {
		return // once more in a moment
	}
	r, err := f.api.restoring(ctx, self)
	if err != nil {
		return
	}
	u.set(m, r)
	if m == nil || time.Now().Before(m.Until) || r != nil { // a restore ends its pause itself
		return
	}
	p, err := f.api.member(ctx, self)
	switch {
	case err != nil: // another member does it
	case p.Paused:
		if err := f.api.setPause(ctx, self, false); err != nil {
			f.Say("end the maintenance: %v", err)
			return
		}
		f.Say("the maintenance that %s began at %s is over", m.By, m.Since.UTC().Format("15:04 UTC"))
	default:
		// Only as it was read: somebody may give it another end at this moment.
		key := base64.StdEncoding.EncodeToString([]byte(f.api.maintenanceKey()))
		_ = f.api.txn(ctx, self, // the next look tells whether it is gone
			map[string]any{"result": "EQUAL", "target": "MOD", "key": key, "mod_revision": since},
			map[string]any{"request_delete_range": map[string]any{"key": key}})
	}
}

// addUpkeep adds what is done to the whole cluster: a member asks etcd, a proxy hears it from the members.
func (s *Status) addUpkeep(ctx context.Context, api *api, seed *Seed, v view) {
	for i := range s.Members {
		s.Paused = s.Paused || v.members[i].Paused
		if seed.Machine.Role != cluster.Proxy {
			continue
		}
		if m := v.doors[i].Maintenance; m != nil {
			s.Maintenance = m
		}
		if r := v.doors[i].Restore; r != nil {
			s.Restore = r
		}
	}
	if seed.Machine.Role == cluster.Proxy {
		return // etcd takes no question of it
	}
	for i, m := range s.Members {
		if m.Etcd == nil || !*m.Etcd {
			continue
		}
		at := seed.Cluster.Nodes[i].Address
		s.Maintenance, _, _ = api.maintenance(ctx, at) // no answer: nothing is known
		s.Restore, _ = api.restoring(ctx, at)
		if s.Restore == nil {
			s.Task, _ = api.task(ctx, at)
		}
		return
	}
}
