package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"github.com/pgbake/pgbake/render"
)

// appliedSettings holds the dynamic configuration as this machine last asked for it.
const appliedSettings = "/var/lib/pgha/settings.json"

// settings brings a changed specification into Patroni's dynamic configuration, which its file gives only once,
// when the cluster is made. Only what changed on this machine is sent, by whichever member sees it first: an older
// machine that comes back must not turn the others' settings back.
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
	current, err := w.dynamic(ctx)
	if err != nil {
		return err
	}
	if !inEffect(current, patch) {
		w.Say("patch Patroni's dynamic configuration")
		w.Acted = append(w.Acted, "patroni.service")
		if err := w.api.patchSettings(ctx, self, patch); err != nil {
			return err
		}
	}
	return w.keepSettings(want)
}

// dynamic is Patroni's dynamic configuration. What Patroni says of it is as old as its last loop: two members would send
// the same change.
func (w *work) dynamic(ctx context.Context) (current map[string]any, err error) {
	key := w.patroniKey("config")
	pairs, err := w.api.pairs(ctx, w.seed.Machine.Address, key, false)
	if err != nil {
		return nil, err
	}
	if len(pairs) == 0 {
		return nil, fmt.Errorf("read Patroni's dynamic configuration: etcd has no key %s", key)
	}
	return current, decode(pairs[0].Value, &current, key)
}

func (w *work) keepSettings(s map[string]any) error {
	body, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return replace(filepath.Join(w.Root, appliedSettings), append(body, '\n'), 0o600)
}

// inEffect tells whether a merge patch would change nothing.
func inEffect(current, patch map[string]any) bool {
	for key, want := range patch {
		value, ok := current[key]
		wm, wIsMap := want.(map[string]any)
		vm, vIsMap := value.(map[string]any)
		switch {
		case want == nil && ok, want != nil && !ok:
			return false
		case wIsMap && vIsMap:
			if !inEffect(vm, wm) {
				return false
			}
		case !reflect.DeepEqual(value, want):
			return false
		}
	}
	return true
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
