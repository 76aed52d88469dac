package agent

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgbake/pgbake/agent/monitor"
	"github.com/pgbake/pgbake/cluster"
)

// testWatcher is a monitor that is to tell of one alert.
func testWatcher(t *testing.T, root string, alerts cluster.Alerts) *watcher {
	t.Helper()
	w := testWork(t)
	if root != "" {
		w.Root = root
	}
	m := &watcher{Agent: w.Agent, every: 20 * time.Millisecond, started: time.Now(), seed: w.seed, trouble: map[string]*trouble{}}
	if err := os.MkdirAll(filepath.Join(m.Root, filepath.Dir(monitorFile)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := m.load(); err != nil {
		t.Fatal(err)
	}
	m.receivers = monitor.Receivers(alerts, cluster.Secrets{}, "node1")
	// What is being told ends with the test's context, and may still be noted.
	t.Cleanup(func() {
		for end := time.Now().Add(time.Minute); m.tells() && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond) // between two looks
		}
	})
	return m
}

// fire makes the monitor owe its receivers an alert.
func (m *watcher) fire(key string) {
	p := monitor.Policy{Repeat: time.Hour}
	for _, r := range m.receivers {
		p.Receivers = append(p.Receivers, r.Name)
	}
	v := &monitor.Verdict{Problems: []monitor.Problem{{Key: key, Severity: monitor.Critical, Text: "trouble", Looks: 1}}}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = m.state.Next(v, nil, p, "node1", time.Now())
	m.save()
}

// tells tells whether a receiver is being told something.
func (m *watcher) tells() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(slices.Collect(maps.Values(m.trouble)), func(t *trouble) bool { return t.busy })
}

func (m *watcher) owed() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.receivers {
		n += len(m.state.Owed(r.Name, monitor.Policy{}, "node1", time.Now()))
	}
	return n
}

// until lets the monitor deliver again and again, as its looks do.
func until(t *testing.T, m *watcher, what string, holds func() bool) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
		began := time.Now()
		m.deliver(t.Context(), monitor.Policy{})
		if took := time.Since(began); took > 14*time.Second { // a delivery may take fifteen
			t.Fatalf("a look was held up for %s", took)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestDeliverySurvives: a webhook that hangs holds up neither the other receivers nor the next look, and what it has not
// taken is told after a restart, once.
func TestDeliverySurvives(t *testing.T) {
	var heard atomic.Int32
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer hangs.Close()
	defer close(release)
	out := filepath.Join(t.TempDir(), "out")
	alerts := cluster.Alerts{Webhook: hangs.URL, Format: cluster.JSON, Command: []string{"/bin/sh", "-c", "cat >>" + out}}
	m := testWatcher(t, "", alerts)
	m.fire("leader")
	until(t, m, "the command to hear it while the webhook hangs", func() bool {
		body, _ := os.ReadFile(out)
		return strings.Contains(string(body), `"key":"leader"`) && m.owed() == 1
	})

	works := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var n monitor.Notice
		if json.NewDecoder(r.Body).Decode(&n) == nil && n.Key == "leader" && n.Event == monitor.Fired {
			heard.Add(1)
		}
	}))
	defer works.Close()
	alerts.Webhook = works.URL
	again := testWatcher(t, m.Root, alerts)
	if again.owed() != 1 {
		t.Fatalf("after a restart %d are owed, want the webhook's one", again.owed())
	}
	until(t, again, "the webhook to hear it", func() bool { return again.owed() == 0 })
	again.deliver(t.Context(), monitor.Policy{})
	if body, _ := os.ReadFile(out); heard.Load() != 1 || strings.Count(string(body), "\n") != 1 {
		t.Errorf("the webhook has heard it %d times, the command this: %s", heard.Load(), body)
	}
	if third := testWatcher(t, m.Root, alerts); third.owed() != 0 {
		t.Errorf("after another restart %d are owed", third.owed())
	}
}

// TestTroubleOfReceivers: one that says no to one notice hears the next; one that never answers makes the machine mute.
func TestTroubleOfReceivers(t *testing.T) {
	var taken atomic.Int32
	picky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n monitor.Notice
		_ = json.NewDecoder(r.Body).Decode(&n)
		if n.Key == "leader" {
			http.Error(w, "not this one", http.StatusBadRequest)
			return
		}
		taken.Add(1)
	}))
	defer picky.Close()
	m := testWatcher(t, "", cluster.Alerts{Webhook: picky.URL, Format: cluster.JSON})
	m.fire("leader")
	m.fire("sync")
	until(t, m, "the second to be taken", func() bool { return taken.Load() == 1 && m.owed() == 1 })

	closed := httptest.NewServer(nil)
	closed.Close()
	m = testWatcher(t, "", cluster.Alerts{Webhook: closed.URL, Format: cluster.JSON})
	m.fire("leader")
	if m.mute() {
		t.Error("mute before anything was tried")
	}
	until(t, m, "the machine to be mute", m.mute)
	if m.owed() != 1 {
		t.Error("what nobody took is lost")
	}
}

// TestABrokenStateIsSetAside: it costs a second notice, never the monitor.
func TestABrokenStateIsSetAside(t *testing.T) {
	w := testWork(t)
	put(t, w.Root, monitorFile, `{"alerts": [{"key": "lea`)
	m := testWatcher(t, w.Root, cluster.Alerts{})
	if len(m.state.Alerts) != 0 || !exists(filepath.Join(w.Root, monitorFile+".broken")) {
		t.Errorf("%+v", m.state)
	}
}
