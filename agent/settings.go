package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/render"
)

// appliedSettings holds the dynamic configuration as this machine last asked for it.
const appliedSettings = "/var/lib/pgha/settings.json"

// settings brings a changed specification into Patroni's dynamic configuration, which its file gives only once,
// when the cluster is made. Only a specification that changed on this machine is sent, and only by the primary:
// an older machine that comes back must not turn the others' settings back.
func (w *work) settings(ctx context.Context) error {
	want, err := canonical(render.Dynamic(w.seed.Cluster))
	if err != nil {
		return err
	}
	body, err := os.ReadFile(filepath.Join(w.Root, appliedSettings))
	if errors.Is(err, fs.ErrNotExist) {
		return w.keepSettings(want) // first apply: Patroni's own file has them
	}
	if err != nil {
		return err
	}
	var had map[string]any
	if err := json.Unmarshal(body, &had); err != nil {
		return fmt.Errorf("read %s: %w", appliedSettings, err)
	}
	patch := difference(had, want)
	if len(patch) == 0 {
		return nil
	}
	self := w.seed.Machine.Address
	m, err := w.api.member(ctx, self)
	if err != nil {
		return err
	}
	if m.leads() {
		w.Say("patch Patroni's dynamic configuration")
		if err := w.api.patchSettings(ctx, self, patch); err != nil {
			return err
		}
	}
	return w.keepSettings(want)
}

func (w *work) keepSettings(s map[string]any) error {
	body, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return replace(filepath.Join(w.Root, appliedSettings), append(body, '\n'), 0o600)
}

const (
	rolesFile    = "/etc/patroni/post_bootstrap.sql"
	appliedRoles = "/var/lib/pgha/roles.sha256"
)

// roles brings new users, databases and passwords into a cluster that runs already. Patroni has the SQL run once, when
// it makes the cluster; it may run again at any time. Like settings it runs only for a change seen on this machine.
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
		return nil
	}
	if err == nil {
		m, err := w.api.member(ctx, w.seed.Machine.Address)
		if err != nil {
			return err
		}
		if m.leads() {
			w.Say("bring users, databases and passwords up to date")
			if err := w.Runner.Run(ctx, run.Command("runuser", "-u", "postgres", "--", "/usr/lib/pgha/post-bootstrap", "dbname=postgres")); err != nil {
				return err
			}
		}
	}
	return replace(filepath.Join(w.Root, appliedRoles), []byte(want), 0o600)
}

// difference is the JSON merge patch (RFC 7396) that turns had into want; null removes a key.
func difference(had, want map[string]any) map[string]any {
	patch := map[string]any{}
	for key, w := range want {
		h, ok := had[key]
		hm, hIsMap := h.(map[string]any)
		wm, wIsMap := w.(map[string]any)
		switch {
		case ok && hIsMap && wIsMap:
			if inner := difference(hm, wm); len(inner) > 0 {
				patch[key] = inner
			}
		case !ok || !reflect.DeepEqual(h, w):
			patch[key] = w
		}
	}
	for key := range had {
		if _, ok := want[key]; !ok {
			patch[key] = nil
		}
	}
	return patch
}

// canonical is the value as JSON would give it back, so that what was kept and what is wanted compare.
func canonical(v any) (map[string]any, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, json.Unmarshal(body, &m)
}
