package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/agent/restore"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// restored is a machine, db1, whose restored database is on timeline 5 and left timeline 1 at 0/500; db2 is the other member.
func restored(t *testing.T) *restoring {
	w, _ := backupWork(t, inDirectory)
	data := filepath.Join(w.Root, "main")
	put(t, data, "PG_VERSION", "17")
	put(t, data, "pg_wal/00000005.history", "1\t0/500\tbefore 2026-11-26 12:00:00+00\n")
	put(t, data, "pg_wal/00000004.history", "1\t0/1000\tno recovery target specified\n\n2\t0/2000\tno recovery target specified\n\n3\t0/3000\tno recovery target specified\n")
	return &restoring{work: w, Restore: &Restore{Plan: backup.Plan{Data: data, Staged: data + ".restored", Aside: data + ".aside"}, Timeline: 5},
		others: []follows{{node: cluster.Node{Name: "db2"}}}}
}

func forks(words string) (all []fork) {
	for word := range strings.FieldsSeq(words) {
		var f fork
		if n, _ := fmt.Sscanf(word, "%d@%x", &f.timeline, &f.at); n == 2 {
			all = append(all, f)
		}
	}
	return all
}

func TestWhoseDatabaseTheLeaderHas(t *testing.T) {
	const before, after = "1@1000 2@2000 3@3000 4@4000", "1@500"
	primary := func(timeline int) heard {
		return heard{member: member{Role: "primary", State: "running", Timeline: timeline}}
	}
	for what, tt := range map[string]struct {
		leader, history string
		db2             heard
		want            restore.Database
	}{
		"nobody":                               {"", after, primary(5), restore.Unknown},
		"a copy that was promoted":             {"db2", after + " 5@600", primary(6), restore.Restored},
		"the same, and etcd has not heard":     {"db2", after, primary(6), restore.Unknown},
		"the database of before":               {"db2", before, primary(5), restore.Before},
		"the same, on a later timeline":        {"db2", before + " 5@5000", primary(6), restore.Before},
		"the same, and etcd has the other one": {"db2", after, primary(5), restore.Unknown},
		"it does not answer":                   {"db2", before, heard{err: errors.New("no")}, restore.Unknown},
		"it leads no more":                     {"db2", before, heard{member: member{Role: "replica", Timeline: 5}}, restore.Unknown},
	} {
		x := restored(t)
		if got := x.whose(dcs{leader: tt.leader, forks: forks(tt.history)}, []heard{tt.db2, {}}); got != tt.want {
			t.Errorf("%s: %d, want %d", what, got, tt.want)
		}
	}
}

func TestWhoCouldLeadWithoutThePause(t *testing.T) {
	for what, tt := range map[string]struct {
		history string
		sync    []string
		state   restore.State
		want    string
	}{
		"the history of before":        {"1@1000 2@2000 3@3000", nil, restore.Old, "has not written"},
		"no history":                   {"", nil, restore.Old, "has not written"},
		"the restored one's":           {"1@500", nil, restore.Old, ""},
		"it may confirm, and is old":   {"1@500", []string{"db2"}, restore.Old, "db2 may take over yet"},
		"it may confirm, and copies":   {"1@500", []string{"db2"}, restore.Copying, "db2 may take over yet"},
		"it may confirm, and has it":   {"1@500", []string{"db2"}, restore.Follows, ""},
		"another one's of the same TL": {"1@501", nil, restore.Old, "has not written"},
	} {
		x := restored(t)
		x.others[0].state = tt.state
		if got := x.open(dcs{forks: forks(tt.history), sync: tt.sync}); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", what, got, tt.want)
		}
	}
}

// controls answers pg_controldata with what a directory's file "control" says.
type controls struct{ run.Runner }

func (c controls) Output(ctx context.Context, cmd run.Cmd) ([]byte, error) {
	if strings.HasSuffix(cmd.Args[0], "/pg_controldata") {
		return os.ReadFile(filepath.Join(cmd.Args[1], "control"))
	}
	return c.Runner.Output(ctx, cmd)
}

// A restore that was given up, and killed when its databases had their names of before again, is begun or given up once more: the restored
// one is removed only where it has never run.
func TestWhatHasRunIsNotRemoved(t *testing.T) {
	const asMade = "Database cluster state:  shut down\nLatest checkpoint location: 0/500\n"
	for what, tt := range map[string]struct {
		control  string
		timeline int
		stays    bool
	}{
		"as it was made":               {asMade, 5, false},
		"half made":                    {"", 0, false},
		"it has run":                   {"Database cluster state:  shut down\nLatest checkpoint location: 0/900\n", 5, true},
		"it ran when the power went":   {"Database cluster state:  in production\nLatest checkpoint location: 0/500\n", 5, true},
		"nobody can say what it is":    {"", 5, true},
		"in production, another place": {"Database cluster state:  in production\nLatest checkpoint location: 0/900\n", 5, true},
	} {
		x := restored(t)
		x.Runner, x.Timeline, x.Checkpoint = controls{x.Runner}, tt.timeline, "0/500"
		put(t, x.Root, "var/lib/pgha/x", "")
		put(t, x.Plan.Staged, "PG_VERSION", "17")
		if tt.control != "" {
			put(t, x.Plan.Staged, "control", tt.control)
		}
		err := x.discardStaged(t.Context())
		if there := exists(x.Plan.Staged); there != tt.stays || (err != nil) != tt.stays {
			t.Errorf("%s: it is there: %t, %v", what, there, err)
		}
		if !tt.stays && x.Timeline != 0 {
			t.Errorf("%s: its timeline is still noted", what)
		}
	}
}
