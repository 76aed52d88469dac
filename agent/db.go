package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/pgbake/pgbake/render"
)

// etcd starts the member and waits for a quorum: Patroni without one only waits more slowly.
func (w *work) etcd(ctx context.Context) error {
	if err := w.bring(ctx, "etcd.service"); err != nil {
		return err
	}
	self := w.seed.Machine.Address
	return w.await(ctx, "etcd", condition{
		holds: func(ctx context.Context) bool { return w.api.etcdHealthy(ctx, self) },
		why: func(ctx context.Context) string {
			if silent := w.silent(ctx, w.api.etcdAnswers); silent != "" {
				return "no quorum yet, no answer from " + silent
			}
			return "no quorum yet, though every member answers"
		},
	})
}

// silent names the members that do not answer.
func (w *work) silent(ctx context.Context, answers func(context.Context, netip.Addr) bool) string {
	var list []string
	for _, n := range w.seed.Cluster.Nodes {
		if !answers(ctx, n.Address) {
			list = append(list, fmt.Sprintf("%s (%s)", n.Name, n.Address))
		}
	}
	return strings.Join(list, " and ")
}

// postgres starts Patroni and waits until PostgreSQL runs, as the primary or as a replica that streams.
func (w *work) postgres(ctx context.Context) error {
	if err := w.bring(ctx, "patroni.service"); err != nil {
		return err
	}
	self := w.seed.Machine.Address
	return w.await(ctx, "PostgreSQL", condition{
		holds: func(ctx context.Context) bool {
			m, err := w.api.member(ctx, self)
			return err == nil && m.runs()
		},
		why: func(ctx context.Context) string {
			m, err := w.api.member(ctx, self)
			if err != nil {
				return "Patroni does not answer yet; see `journalctl -u patroni`"
			}
			return fmt.Sprintf("it is %q as %s; see `journalctl -u patroni`", m.State, m.Role)
		},
	})
}

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
	path := filepath.Join(w.Root, appliedSettings)
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return w.keepSettings(path, want) // first apply: Patroni's own file has them
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
	return w.keepSettings(path, want)
}

func (w *work) keepSettings(path string, s map[string]any) error {
	body, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return replace(path, append(body, '\n'), 0o600)
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
