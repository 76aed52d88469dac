package agent

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

func TestPendingSurvivesAKill(t *testing.T) {
	file := filepath.Join(t.TempDir(), "var/lib/pgha/pending.json")
	killed := pending{file: file}
	killed.add("etcd.service", true)
	killed.add("chrony.service", false)
	if err := killed.save(); err != nil {
		t.Fatal(err)
	}
	next := pending{file: file}
	if err := next.load(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"chrony.service", "etcd.service"}, next.units()); diff != "" {
		t.Fatal(diff)
	}
	if !next.restart("etcd.service") || next.restart("chrony.service") {
		t.Error("what needs a restart was not kept")
	}
	for _, u := range next.units() {
		if err := next.done(u); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("nothing is pending, yet %s is there: %v", file, err)
	}
}

func TestDifferenceIsAMergePatch(t *testing.T) {
	had := map[string]any{"ttl": 30.0, "gone": 1.0, "postgresql": map[string]any{"parameters": map[string]any{"a": "1", "b": "2"}, "same": true}}
	want := map[string]any{"ttl": 20.0, "postgresql": map[string]any{"parameters": map[string]any{"a": "1", "c": "3"}, "same": true}}
	patch := map[string]any{"ttl": 20.0, "gone": nil, "postgresql": map[string]any{"parameters": map[string]any{"b": nil, "c": "3"}}}
	if diff := cmp.Diff(patch, difference(had, want)); diff != "" {
		t.Error(diff)
	}
	if p := difference(want, want); len(p) > 0 {
		t.Errorf("nothing differs, yet %v", p)
	}
}

func TestInEffect(t *testing.T) {
	type m = map[string]any
	current := m{"ttl": 30.0, "postgresql": m{"parameters": m{"a": "1", "b": "2"}}, "theirs": true}
	for _, tt := range []struct {
		patch m
		want  bool
	}{
		{m{"ttl": 30.0, "gone": nil, "postgresql": m{"parameters": m{"a": "1", "c": nil}}}, true},
		{m{"ttl": 20.0}, false},
		{m{"theirs": nil}, false},
		{m{"new": 1.0}, false},
		{m{"postgresql": m{"parameters": m{"b": nil}}}, false},
		{m{"postgresql": m{"parameters": m{"c": "3"}}}, false},
		{m{"ttl": m{"a": 1.0}}, false},
	} {
		if got := inEffect(current, tt.patch); got != tt.want {
			t.Errorf("%v: %t, want %t", tt.patch, got, tt.want)
		}
	}
}

// A change of users waits for the primary, or until this machine is the primary, however long; what others made meanwhile is
// newer: a machine that was away must not turn the users' passwords back to what it was told long ago.
func TestUsersThatWait(t *testing.T) {
	for _, c := range []struct {
		waiting waitingRoles
		made    madeRoles
		want    fate
	}{
		{waitingRoles{Sum: "new"}, madeRoles{}, waits},
		{waitingRoles{Sum: "new", At: time.Unix(1, 0)}, madeRoles{}, waits},
		{waitingRoles{Sum: "new", Since: 7}, madeRoles{Sum: "old", revision: 7}, waits},
		{waitingRoles{Sum: "new", Since: 7}, madeRoles{Sum: "new", revision: 9}, done},
		{waitingRoles{Sum: "new", Since: 7}, madeRoles{Sum: "new", revision: 7}, done},
		{waitingRoles{Sum: "new", Since: 7}, madeRoles{Sum: "newer", revision: 9}, overtaken},
		{waitingRoles{Sum: "new"}, madeRoles{Sum: "other", revision: 2}, overtaken},
	} {
		if got := c.waiting.fate(c.made); got != c.want {
			t.Errorf("%+v, %+v: %d, want %d", c.waiting, c.made, got, c.want)
		}
	}
}

// What is applied already asks nobody and runs nothing (there is no api); what the cluster was made with is noted.
func TestUsersThatAreMade(t *testing.T) {
	w := testWork(t)
	put(t, w.Root, rolesFile, "SELECT 1")
	put(t, w.Root, waitingFile, `{"sum": "what waited before the cluster was made"}`)
	for range 2 {
		if err := w.roles(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if body, err := os.ReadFile(filepath.Join(w.Root, appliedRoles)); err != nil || len(body) != 64 {
		t.Errorf("%s is %q: %v", appliedRoles, body, err)
	}
	if exists(filepath.Join(w.Root, waitingFile)) {
		t.Error("something waits")
	}
}

func TestServersThatTakeTraffic(t *testing.T) {
	stat := "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,\n" +
		"postgres_rw,node1,0,0,0,0,,0,0,0,,0,,0,0,0,0,DOWN,1,\n" +
		"postgres_rw,node2,0,0,0,0,,0,0,0,,0,,0,0,0,0,UP 1/3,1,\n"
	up, err := parseUp(strings.NewReader(stat))
	if err != nil || !cmp.Equal(up, []string{"node2"}) {
		t.Errorf("got %v, %v", up, err)
	}
}

func TestStockClusterInTheWay(t *testing.T) {
	for _, tt := range []struct{ name, conf, want string }{
		{"same port", "port = 5432\t\t# the port\ndata_directory = '/srv/pg'\n", "left alone"},
		{"another port", "port = 5433\ndata_directory = '/srv/pg'\n", ""},
		{"same data", "port = 5433\ndata_directory = '/var/lib/postgresql/17/main'\n", "pg_dropcluster --stop 17 main"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := testWork(t)
			put(t, w.Root, "/etc/postgresql/17/main/postgresql.conf", tt.conf)
			err := w.refuseStockClusters(t.Context())
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

// The data disk's rule on real disk images, with the real blkid.
func TestSignature(t *testing.T) {
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		need(t, "mkfs.ext4 (apt install e2fsprogs)")
	}
	image := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(image, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func() (string, string) {
		t.Helper()
		label, kind, err := signature(t.Context(), run.System{}, image)
		if err != nil {
			t.Fatal(err)
		}
		return label, kind
	}
	if label, kind := look(); label+kind != "" {
		t.Errorf("a blank disk is %q %q", label, kind)
	}
	if err := (run.System{}).Run(t.Context(), run.Command("mkfs.ext4", "-q", "-L", "somebody", image)); err != nil {
		t.Fatal(err)
	}
	if label, kind := look(); label != "somebody" || kind != "ext4" {
		t.Errorf("somebody's ext4 is %q %q", label, kind)
	}
	if _, _, err := signature(t.Context(), run.System{}, image+"-missing"); err == nil || !strings.Contains(err.Error(), "look at the data disk") {
		t.Errorf("a missing disk: %v", err)
	}
}

// A foreign disk is refused and not touched; not one command that writes is run.
func TestForeignDataDiskIsLeftAlone(t *testing.T) {
	w := testWork(t)
	disk := filepath.Join(w.Root, "disk")
	put(t, w.Root, "disk", "anything")
	var ran bytes.Buffer
	w.Runner = run.Recorder{W: &ran, Answer: func([]string) []byte { return []byte("LABEL=theirs\nTYPE=xfs\n") }}
	err := w.prepareDisk(t.Context(), disk)
	if err == nil || !strings.Contains(err.Error(), "not blank (xfs)") {
		t.Errorf("got %v", err)
	}
	if want := "blkid --probe --output export " + disk + "\n"; ran.String() != want {
		t.Errorf("ran %q, want only %q", ran.String(), want)
	}
}

func TestAwaitNamesWhatItWaitedFor(t *testing.T) {
	w := testWork(t)
	w.Patience = 300 * time.Millisecond
	err := w.await(t.Context(), "etcd", condition{
		holds: func(context.Context) bool { return false },
		why:   func(context.Context) string { return "no answer from node2" },
	})
	if err == nil || !strings.Contains(err.Error(), "in vain: no answer from node2") {
		t.Errorf("got %v", err)
	}
}

// On a machine Root is "/": what a person reads is a path all the same.
func TestPathsAsTheMachineHasThem(t *testing.T) {
	for root, path := range map[string]string{"/": "/etc/postgresql", "/srv/root": "/srv/root/etc/postgresql", "/srv/root/": "/srv/root/etc/postgresql"} {
		if got := (&Agent{Root: root}).inside(path); got != "/etc/postgresql" {
			t.Errorf("%s below %s is %s", path, root, got)
		}
	}
}

func TestOneApplyAtATime(t *testing.T) {
	said := make(chan string, 1)
	a := Agent{Root: t.TempDir(), Say: func(format string, _ ...any) { said <- format }}
	unlock, err := a.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := a.lock(short); err == nil || !strings.Contains(err.Error(), "another `pgha apply`") {
		t.Errorf("got %v", err)
	}
	// Whoever waits says so, and gets it when the other one has ended.
	go func() {
		if got := <-said; !strings.Contains(got, "waiting for another `pgha apply`") {
			t.Errorf("it says %q", got)
		}
		unlock()
	}()
	again, err := a.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// need skips where a tool is missing, and fails where CI promised it.
func need(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}

func put(t *testing.T, root, path, body string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
}

func testWork(t *testing.T) *work {
	t.Helper()
	const spec = "scope: t\nnetwork: 10.0.0.0/24\nnodes: [{name: node1, address: 10.0.0.1}]\npostgres: {version: 17, source: debian}\ndebian: 13\n"
	c, err := cluster.Parse("cluster.yaml", []byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{Root: t.TempDir(), Runner: run.System{}, Say: t.Logf}
	return &work{Agent: a, seed: &Seed{Cluster: c, Machine: c.Machines()[0]}}
}
