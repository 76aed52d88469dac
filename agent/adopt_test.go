package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/agent/adopt"
	"github.com/pgbake/pgbake/agent/join"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// adoptee is a machine whose database is adopted, and what is run on it.
func adoptee(t *testing.T, what string) (*work, *bytes.Buffer) {
	t.Helper()
	c, err := cluster.Parse("cluster.yaml", []byte("scope: t\nnetwork: 10.0.0.0/24\nnodes: [{name: node1, address: 10.0.0.1}]\ndebian: 13\nadopt: {node: node1, "+what+"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	w := testWork(t)
	w.seed = &Seed{Cluster: c, Machine: c.Machines()[0]}
	var ran bytes.Buffer
	w.Runner = run.Recorder{W: &ran}
	put(t, w.Root, "/etc/passwd", fmt.Sprintf("postgres:x:%d:%d::/:/bin/sh\n", os.Getuid(), os.Getgid()))
	put(t, w.Root, "/etc/group", fmt.Sprintf("postgres:x:%d:\n", os.Getgid()))
	return w, &ran
}

const testData = "/var/lib/postgresql/17/main"

// stockFiles are those of a cluster of Debian's tools.
var stockFiles = map[string]string{
	"/etc/postgresql/17/main/postgresql.conf": "data_directory = '" + testData + "'\nwork_mem = 7MB\ninclude_dir = '/etc/postgresql/17/main/conf.d'\n",
	"/etc/postgresql/17/main/conf.d/a.conf":   "work_mem = 8MB\n",
	"/etc/postgresql/17/main/pg_hba.conf":     "# comment\nlocal  all all   peer # theirs\n",
	"/etc/postgresql/17/main/pg_ident.conf":   "map a b\n",
	testData + "/postgresql.auto.conf":        "random_page_cost = '1.5'\n",
	testData + "/PG_VERSION":                  "17\n",
}

// tree is what lies in the machine's files, but for what the test itself put there.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, top := range []string{"etc", "var"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() == "passwd" || d.Name() == "group" {
				return err
			}
			body, err := os.ReadFile(path)
			all[strings.TrimPrefix(path, root)] = string(body)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Every file of before is there after, with what was in it; killed after any one, the next run ends with the same.
func TestTakeOverKeepsEverything(t *testing.T) {
	for name, tt := range map[string]struct {
		what  string
		files map[string]string
	}{
		"a cluster of Debian's tools": {"cluster: 17/main", stockFiles},
		"a data disk of another Patroni": {"data: true", map[string]string{
			testData + "/PG_VERSION": "17\n", testData + "/postgresql.conf": "include 'postgresql.base.conf'\nwork_mem = 8MB\n", testData + "/postgresql.base.conf": "random_page_cost = 1.5\n",
			testData + "/pg_hba.conf": "local all all peer\n", testData + "/pg_ident.conf": "map a b\n", testData + "/patroni.dynamic.json": "{}", testData + "/postgresql.auto.conf": "# nothing\n",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := adoptee(t, tt.what)
			for path, body := range tt.files {
				put(t, w.Root, path, body)
			}
			w.Runner = oneself{w.Runner}
			before := look(t, w)
			if v := before.Settings; v.Get("work_mem", "") != "8MB" || v.Get("random_page_cost", "") != "1.5" || !cmp.Equal(before.Access, []string{"local all all peer"}) {
				t.Fatalf("found %+v", before)
			}
			if err := w.noteAdoption(&adoption{Kept: ".before"}); err != nil {
				t.Fatal(err)
			}
			if err := w.takeOver(t.Context(), before); err != nil {
				t.Fatal(err)
			}
			after := tree(t, w.Root)
			kept := map[string]bool{}
			for _, body := range after {
				kept[body] = true
			}
			for path, body := range tt.files {
				if !kept[body] {
					t.Errorf("%s is gone", path)
				}
			}
			if !w.isTakenOver() || after[testData+"/pg_ident.conf"] != "map a b\n" {
				t.Errorf("laid out: %v", after)
			}
			again := look(t, w)
			if diff := cmp.Diff(values(before.Settings), values(again.Settings)); diff != "" {
				t.Errorf("what a killed adoption finds: %s", diff)
			}
			if err := w.takeOver(t.Context(), again); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(after, tree(t, w.Root)); diff != "" {
				t.Errorf("done twice: %s", diff)
			}
		})
	}
}

// oneself does itself what PostgreSQL's user is told to do, and leaves the rest to another.
type oneself struct{ run.Runner }

func (o oneself) instead(c run.Cmd) (run.Runner, run.Cmd) {
	end := slices.Index(c.Args, "--")
	if c.Args[0] != "setpriv" || end < 0 {
		return o.Runner, c
	}
	c.Args = c.Args[end+1:]
	return run.System{}, c
}

func (o oneself) Run(ctx context.Context, c run.Cmd) error {
	r, c := o.instead(c)
	return r.Run(ctx, c)
}

func (o oneself) Output(ctx context.Context, c run.Cmd) ([]byte, error) {
	r, c := o.instead(c)
	return r.Output(ctx, c)
}

func look(t *testing.T, w *work) *adopt.Found {
	t.Helper()
	f := &adopt.Found{Place: w.seed.Cluster.Adopt.Cluster, Data: w.seed.Cluster.DataDir()}
	if err := w.lookConf(f); err != nil {
		t.Fatal(err)
	}
	return f
}

func values(s adopt.Settings) map[string]string {
	all := map[string]string{}
	for name := range s {
		all[name] = s.Get(name, "")
	}
	return all
}

func TestTheAdoptedClusterIsNotInTheWay(t *testing.T) {
	w, _ := adoptee(t, "cluster: 17/main")
	put(t, w.Root, "/etc/postgresql/17/main/postgresql.conf", "port = 5432\ndata_directory = '"+testData+"'\n")
	if err := w.refuseStockClusters(t.Context()); err != nil {
		t.Errorf("the adopted one: %v", err)
	}
	put(t, w.Root, "/etc/postgresql/17/other/postgresql.conf", "port = 5432\ndata_directory = '/srv/pg'\n")
	if err := w.refuseStockClusters(t.Context()); err == nil || !strings.Contains(err.Error(), "17/other") {
		t.Errorf("another one at the same port: %v", err)
	}
}

// A machine that has been a member, or that replaces one, adopts nothing, whatever the specification goes on to say.
func TestAdoptionIsOnce(t *testing.T) {
	w, ran := adoptee(t, "data: true")
	if err := w.checkAdoption(t.Context()); err != nil || ran.Len() > 0 {
		t.Errorf("without data: %v, ran %s", err, ran)
	}
	put(t, w.Root, testData+"/PG_VERSION", "17\n")
	if !w.adopting() {
		t.Error("with data it does not adopt")
	}
	put(t, w.Root, memoryFile, `{"system":"7"}`)
	if w.adopting() {
		t.Error("it adopts what the cluster has had")
	}
	if err := w.checkAdoption(t.Context()); err != nil || ran.Len() > 0 {
		t.Errorf("as a member: %v, ran %s", err, ran)
	}
	o, err := w.observeSelf()
	if err != nil || !o.Database {
		t.Errorf("a member's database is seen as %+v, %v", o, err)
	}
}

// The roles are made when the adopted database leads, and not again.
func TestNothingIsFinishedThatWasNotBegun(t *testing.T) {
	w, ran := adoptee(t, "data: true")
	if err := w.finishAdoption(t.Context()); err != nil || ran.Len() > 0 {
		t.Errorf("%v, ran %s", err, ran)
	}
	// One that did not run is not stopped, and the note is there before anything is moved.
	if err := w.stopAdopted(t.Context(), &adopt.Found{}); err != nil || ran.Len() > 0 {
		t.Errorf("%v, ran %s", err, ran)
	}
	if !exists(filepath.Join(w.Root, adoptingFile)) {
		t.Error("no note that it has begun")
	}
	if step, _ := join.DecideDatabase(join.Database{Adoptee: "node1", Mine: true, There: true}); step != join.AdoptDatabase {
		t.Errorf("and the next run decides %d", step)
	}
}
