package prometheus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/agent/archive"
	"github.com/pgbake/pgbake/agent/horizon"
	"github.com/pgbake/pgbake/agent/monitor"
	"github.com/pgbake/pgbake/cluster"
)

// promtool judges our files; test/setup.sh puts it into bin/.
func promtool(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("promtool"); err == nil {
		return path
	}
	if path, err := filepath.Abs("../../bin/promtool"); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no promtool: test/setup.sh test")
	}
	t.Skip("no promtool: test/setup.sh test")
	return ""
}

func files(t *testing.T) (dir string) {
	t.Helper()
	c, err := cluster.Load("../../examples/two-proxies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all, err := Files(c, []byte("a certificate"))
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for _, f := range all {
		// Where the configuration says that they lie, but here.
		body := strings.ReplaceAll(string(f.Body), "/etc/prometheus/", dir+"/")
		if err := os.WriteFile(filepath.Join(dir, f.Name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "pgha-shop-stats"), []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtool(t *testing.T) {
	tool, dir := promtool(t), files(t)
	ca, err := os.ReadFile(filepath.Join(dir, "pgha-shop-ca.crt"))
	if err != nil || string(ca) != "a certificate" {
		t.Fatalf("%s: %v", ca, err)
	}
	run(t, dir, tool, "check", "config", "prometheus.yml")
	run(t, ".", tool, "check", "rules", "rules.yml")

	// The dashboard's expressions, as rules.
	var b strings.Builder
	b.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	for i, e := range expressions(t) {
		expr, _ := json.Marshal(strings.ReplaceAll(e, "$cluster", "shop"))
		fmt.Fprintf(&b, "      - {record: \"panel:n%d\", expr: %s}\n", i, expr)
	}
	if err := os.WriteFile(filepath.Join(dir, "dashboard.yml"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, tool, "check", "rules", "dashboard.yml")

	// What the rules say of clusters that are unwell.
	test, err := os.ReadFile("testdata/rules_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rules.yml"), rules, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "test.yml"), test, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, tool, "test", "rules", "test.yml")

	// What a machine shows.
	for _, text := range [][]byte{shown(), copied()} {
		cmd := exec.CommandContext(t.Context(), tool, "check", "metrics")
		cmd.Stdin = bytes.NewReader(text)
		out, err := cmd.CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("promtool check metrics: %v\n%s", err, out)
		}
	}
}

// expressions are those of the dashboard's panels and of its variables.
func expressions(t *testing.T) (list []string) {
	t.Helper()
	var d struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(dashboard, &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			list = append(list, target.Expr)
		}
	}
	if len(list) < 15 {
		t.Fatalf("the dashboard has %d expressions", len(list))
	}
	return list
}

// shown is what a machine shows when everything is there that there can be.
func shown() []byte {
	now := time.Now()
	report := &monitor.Report{
		Every: 30, Clock: &monitor.Clock{}, Failed: []string{"x.service"}, Slots: []monitor.Slot{{Name: "s"}},
		Disks:   []monitor.Disk{{Path: "/", Total: 2, Free: 1, Hours: 3}},
		Updates: &monitor.Updates{Waiting: 1, Since: now},
		Archive: &archive.State{Repository: &archive.Repository{Backup: "b"}},
		Horizon: &horizon.Facts{TransactionIDs: horizon.Oldest{Database: "app", Age: 9, FreezeMax: 10}, Holder: &horizon.Holder{Seconds: 1}, Prepared: 1, First: &horizon.Prepared{}},
	}
	backup := &monitor.Backups{}
	if err := json.Unmarshal([]byte(`{"backup":{"at":"2026-11-26T02:00:00Z","machine":"db1","bytes":7},"proof":{"at":"2026-11-26T03:00:00Z","backup":"b"}}`), backup); err != nil {
		panic(err)
	}
	s := &monitor.Seen{At: now, Scope: "shop", Self: "db1", Synchronous: true, VirtualAddress: "10.0.0.9", Machines: []monitor.Machine{
		{Name: "db1", Role: cluster.DB, Report: report, Timed: true, Trust: &cluster.Trust{First: "etcd.crt", To: now}, Backup: backup,
			Patroni: &monitor.Member{Role: "primary", State: "running", Timeline: 1, Location: 9}, Etcd: &monitor.Etcd{Healthy: true, ID: "a", Leader: "a", Size: 1}},
		{Name: "db2", Role: cluster.DB, Report: report, Patroni: &monitor.Member{Role: "replica", State: "streaming", Timeline: 1, Location: 8}},
		{Name: "proxy1", Role: cluster.Proxy, Report: report, Routes: &monitor.Routes{ReadWrite: []string{"db1"}, ReadOnly: []string{"db2"}, Holds: "10.0.0.9"}},
	}}
	v := monitor.Judge(s)
	p := monitor.Policy{Receivers: []string{"webhook"}}
	state := monitor.State{}.Next(v, nil, p, "db1", now).Next(v, nil, p, "db1", now)
	return monitor.Metrics(s, v, state, monitor.Self{Sends: true, Took: time.Second})
}

// copied is what a machine shows of a cluster that follows a primary elsewhere.
func copied() []byte {
	s := &monitor.Seen{At: time.Now(), Follows: "10.9.9.9:5432", Machines: []monitor.Machine{{
		Name: "db1", Role: cluster.DB, Patroni: &monitor.Member{Role: monitor.StandbyLeader, State: "running"},
		Report: &monitor.Report{Every: 30, Elsewhere: &monitor.Elsewhere{Slot: "pgha_shop", There: &monitor.Slot{}}},
	}}}
	return monitor.Metrics(s, monitor.Judge(s), monitor.State{}, monitor.Self{})
}

// TestNamesAreThoseOfTheMonitor: a rule or a panel over a metric that nobody shows would be silent for ever.
func TestNamesAreThoseOfTheMonitor(t *testing.T) {
	name := regexp.MustCompile(`pgha_[a-z0-9_]+`)
	var there []string
	for line := range strings.Lines(string(shown()) + string(copied())) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			there = append(there, strings.Fields(rest)[0])
		}
	}
	used := name.FindAllString(strings.Join(expressions(t), "\n"), -1)
	for line := range strings.Lines(string(rules)) {
		if expr, ok := strings.CutPrefix(strings.TrimSpace(line), "expr: "); ok {
			used = append(used, name.FindAllString(expr, -1)...)
		}
	}
	slices.Sort(used)
	used = slices.Compact(used)
	for _, n := range used {
		if !slices.Contains(there, n) {
			t.Errorf("nobody shows %s", n)
		}
	}
	for _, n := range there {
		// These are for people who look for more.
		if !slices.Contains(used, n) && !slices.Contains([]string{"pgha_agent_up", "pgha_monitor_up", "pgha_patroni_up", "pgha_etcd_leader", "pgha_slot_active",
			"pgha_backup_size_bytes", "pgha_alert_firing", "pgha_sends_alerts", "pgha_look_duration_seconds", "pgha_proxy_holds_virtual_address", "pgha_security_updates", "pgha_archive_waiting_bytes", "pgha_prepared_transactions", "pgha_oldest_xmin_seconds"}, n) {
			t.Errorf("%s is shown, and neither a rule nor a panel uses it", n)
		}
	}
}
