package agent

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// backupWork is a machine with backups, whose programs are only written down.
func backupWork(t *testing.T, more string) (*work, *bytes.Buffer) {
	t.Helper()
	w := testWork(t)
	spec := "scope: t\nnetwork: 10.0.0.0/24\nnodes: [{name: node1, address: 10.0.0.1}]\ndebian: 13\n" + more
	c, err := cluster.Parse("cluster.yaml", []byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	w.seed = &Seed{Cluster: c, Machine: c.Machines()[0]}
	var ran bytes.Buffer
	w.Runner = run.Recorder{W: &ran}
	if err := os.MkdirAll(w.backupDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	return w, &ran
}

const inDirectory = "backup: {directory: /backups, keep: 2}\n"

// holdBackup puts a backup of some hours ago into the directory.
func holdBackup(t *testing.T, w *work, hours int, proof string) string {
	t.Helper()
	at := time.Date(2026, 11, 26, 2, 0, 0, 0, time.UTC).Add(-time.Duration(hours) * time.Hour)
	name := backup.Name(at, "node1")
	put(t, w.backupDir(), name+"/backup.json", `{"name": "`+name+`", "scope": "t", "system": "7", "verified": true, "at": "`+at.Format(time.RFC3339)+`"}`)
	if proof != "" {
		put(t, w.backupDir(), name+"/proof.json", proof)
	}
	return name
}

func TestHeldAndRotate(t *testing.T) {
	w, _ := backupWork(t, inDirectory)
	names := []string{
		holdBackup(t, w, 0, `{"at": "2026-11-26T03:00:00Z", "error": "checksum mismatch"}`), holdBackup(t, w, 1, ""), holdBackup(t, w, 2, "{"), holdBackup(t, w, 3, ""),
	}
	put(t, w.backupDir(), "20200101T000000Z-node9/backup.json", `{"scope": "another", "verified": true, "at": "2020-01-01T00:00:00Z"}`)
	put(t, w.backupDir(), "20200102T000000Z-node9/backup.json", `{"scope": "t`)
	put(t, w.backupDir(), "20200103T000000Z-node9/base/PG_VERSION", "17")
	put(t, w.backupDir(), "lost+found/x", "")
	all, err := w.held(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range all {
		got = append(got, h.Name)
	}
	if d := cmp.Diff([]string{names[3], names[2], names[1], names[0]}, got); d != "" {
		t.Errorf("held (-want +got):\n%s", d)
	}
	if err := w.rotate(t.Context(), "7"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(w.backupDir())
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	for _, e := range entries {
		got = append(got, e.Name())
	}
	// The newest is no good, so two more stay; what is not ours, or cannot be read, is left alone.
	want := []string{"20200101T000000Z-node9", "20200102T000000Z-node9", "20200103T000000Z-node9", names[2], names[1], names[0], "lost+found"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("after the rotation (-want +got):\n%s", d)
	}
}

func TestSweepTakesOnlyItsOwn(t *testing.T) {
	w, ran := backupWork(t, inDirectory)
	name := backup.Name(time.Now(), "node1")
	put(t, w.backupDir(), backup.Partial(name, "node1")+"/base/PG_VERSION", "17")
	put(t, w.backupDir(), backup.Proving("node1")+"/postmaster.pid", "1")
	put(t, w.backupDir(), backup.Partial(backup.Name(time.Now(), "node2"), "node2")+"/base/PG_VERSION", "17")
	if err := w.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(w.backupDir())
	if len(entries) != 1 || !strings.HasSuffix(entries[0].Name(), ".node2") {
		t.Errorf("left: %v", entries)
	}
	if !strings.Contains(ran.String(), "pg_ctl stop -D "+filepath.Join(w.backupDir(), backup.Proving("node1"))+" -m immediate") {
		t.Errorf("the database that was left running was not stopped: %s", ran)
	}
}

// Each of these once ran with a password, or through a shell, or as root.
func TestBackupCommandLines(t *testing.T) {
	w, ran := backupWork(t, "postgres: {databases: [{name: app, owner: app}], users: [{name: app}]}\nbackup: {directory: /backups, dump: [app]}\n")
	if err := w.baseBackup(t.Context(), "/backups/x/base"); err != nil {
		t.Fatal(err)
	}
	if _, failed := w.dump(t.Context(), "/backups/x"); failed != "" {
		t.Fatal(failed)
	}
	const want = `pg_basebackup -D /backups/x/base --wal-method=stream --checkpoint=fast --label=pgha -h /var/run/postgresql -p 5432 -U postgres -w
pg_verifybackup --quiet /backups/x/base
pg_dumpall --globals-only -f /backups/x/globals.sql -h /var/run/postgresql -p 5432 -U postgres -w
pg_dump --format=custom -f /backups/x/app.dump -d dbname=app -h /var/run/postgresql -p 5432 -U postgres -w
`
	got := strings.ReplaceAll(ran.String(), "setpriv --reuid=postgres --regid=postgres --init-groups -- /usr/lib/postgresql/17/bin/", "")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestBriefErrors(t *testing.T) {
	for _, tt := range []struct{ err, want string }{
		{"back up: it failed", "back up: it failed"},
		{"back up: no room\n      hint: give it more", "back up: no room"},
		{"back up: run x: exit status 1\n      one\n      two\n      hint: three", "back up: run x: exit status 1: two"},
	} {
		if got := brief(errors.New(tt.err)); got != tt.want {
			t.Errorf("%q is %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestFullDisk(t *testing.T) {
	for _, err := range []error{syscall.ENOSPC, &run.Error{Args: []string{"pg_dump"}, Tail: "could not write: No space left on device", Err: errors.New("exit status 1")}} {
		if got := full(err, "/backups"); !strings.Contains(got.Error(), "the disk of /backups is full") || !errors.Is(got, err) {
			t.Errorf("got %v", got)
		}
	}
	if err := errors.New("anything"); full(err, "/backups") != err || full(nil, "/backups") != nil { //nolint:errorlint // the very same one
		t.Error("other errors are changed")
	}
}

func TestOneAtATime(t *testing.T) {
	w, _ := backupWork(t, inDirectory)
	unlock, err := w.lockBackups("back up")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.lockBackups("prove"); err == nil || !strings.Contains(err.Error(), "prove: a backup, a proof or a restore is at work") {
		t.Errorf("got %v", err)
	}
	unlock()
	if unlock, err = w.lockBackups("prove"); err != nil {
		t.Fatal(err)
	}
	unlock()
}

// A state that others read keeps what it does not change.
func TestStateOfBackups(t *testing.T) {
	w, _ := backupWork(t, inDirectory)
	at := time.Date(2026, 11, 26, 2, 0, 0, 0, time.UTC)
	if err := errors.Join(w.noteProof(backup.Proof{At: at, Backup: "b", Error: "no good"}), w.noteBackup(backup.Done{At: at, Machine: "node1", Bytes: 7})); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(w.Root, backupState))
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	s, ok := BackupState(w.Root)
	want := backup.State{Backup: backup.Done{At: at, Machine: "node1", Bytes: 7}, Proof: backup.Proof{At: at, Backup: "b", Error: "no good"}}
	if d := cmp.Diff(want, s); !ok || d != "" {
		t.Error(d)
	}
}

// What pgBackRest 2.54 says of a repository, shortened.
func TestRepositoryInfo(t *testing.T) {
	body, err := os.ReadFile("testdata/pgbackrest-info.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := parseInfo(body)
	if err != nil {
		t.Fatal(err)
	}
	all := s.held("moment", backup.Proof{Backup: "20261126-122622F", Error: "no good"})
	at := func(clock string) time.Time { v, _ := time.Parse(time.DateTime, "2026-11-26 "+clock); return v }
	want := []backup.Held{
		{Record: backup.Record{Name: "20261126-122622F", Scope: "moment", Role: "full", Version: 17, Bytes: 31174203, Verified: true, Timeline: 1, System: "7442000000000000000",
			At: at("12:26:22"), Ended: at("12:26:24")}, Proof: backup.Proof{Backup: "20261126-122622F", Error: "no good"}},
		{Record: backup.Record{Name: "20261126-122622F_20261126-122627D", Scope: "moment", Role: "diff", Version: 17, Bytes: 31190587, Verified: true, Timeline: 16, System: "7442000000000000000",
			At: at("12:26:27"), Ended: at("12:26:28")}},
	}
	if d := cmp.Diff(want, all); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for body, want := range map[string]string{
		`[]`: "nothing of this cluster",
		`[{"name": "moment", "status": {"code": 1, "message": "missing stanza path"}}]`: "missing stanza path",
		`ERROR`: "read what pgBackRest says",
	} {
		if _, err := parseInfo([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", body, err)
		}
	}
	if _, err := parseInfo([]byte(`[{"name": "moment", "status": {"code": 2, "message": "no valid backups"}}]`)); err != nil {
		t.Error(err)
	}
}

// A restore that was stopped between its two renames goes on, and one that is done does nothing: never is a database deleted.
func TestExchangeFromAnyPoint(t *testing.T) {
	for what, lay := range map[string]func(x *restoring){
		"not begun": func(x *restoring) {
			put(t, x.Plan.Data, "PG_VERSION", "old")
			put(t, x.Plan.Staged, "PG_VERSION", "new")
			put(t, x.Plan.Staged, stagedMark, "")
		},
		"between the renames": func(x *restoring) {
			put(t, x.Plan.Aside, "PG_VERSION", "old")
			put(t, x.Plan.Staged, "PG_VERSION", "new")
			put(t, x.Plan.Staged, stagedMark, "")
		},
		"the mark is left": func(x *restoring) {
			put(t, x.Plan.Aside, "PG_VERSION", "old")
			put(t, x.Plan.Data, "PG_VERSION", "new")
			put(t, x.Plan.Data, stagedMark, "")
		},
		"done": func(x *restoring) {
			put(t, x.Plan.Aside, "PG_VERSION", "old")
			put(t, x.Plan.Data, "PG_VERSION", "new")
		},
	} {
		w, _ := backupWork(t, inDirectory)
		data := filepath.Join(w.Root, "main")
		x := &restoring{work: w, Restore: &Restore{Plan: backup.Plan{Data: data, Staged: data + ".restored", Aside: data + ".aside"}, Next: backup.StepSwap}}
		lay(x)
		if err := x.exchange(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		for dir, want := range map[string]string{x.Plan.Data: "new", x.Plan.Aside: "old"} {
			if got, err := os.ReadFile(filepath.Join(dir, "PG_VERSION")); err != nil || string(got) != want {
				t.Errorf("%s: %s holds the %s one: %v", what, filepath.Base(dir), got, err)
			}
		}
		if exists(x.Plan.Staged) || exists(filepath.Join(x.Plan.Data, stagedMark)) {
			t.Errorf("%s: left over", what)
		}
		// And back, from any point, too.
		for range 2 {
			if exists(x.Plan.Aside) {
				if err := x.back(); err != nil {
					t.Errorf("%s, back: %v", what, err)
				}
			}
			for dir, want := range map[string]string{x.Plan.Data: "old", x.Plan.Staged: "new"} {
				if got, err := os.ReadFile(filepath.Join(dir, "PG_VERSION")); err != nil || string(got) != want {
					t.Errorf("%s, back: %s holds the %s one: %v", what, filepath.Base(dir), got, err)
				}
			}
			if err := errors.Join(os.Rename(x.Plan.Data, x.Plan.Aside)); err != nil { // stopped between its two renames
				t.Fatal(err)
			}
		}
	}
}

func TestWhoIsAReplica(t *testing.T) {
	runs := func(role string, streams ...string) heard {
		h := heard{member: member{Role: role, State: "running", Timeline: 3}}
		for _, name := range streams {
			h.Replication = append(h.Replication, standby{Name: name, State: "streaming"})
		}
		return h
	}
	c := &cluster.Cluster{Nodes: []cluster.Node{{Name: "db1"}, {Name: "db2"}, {Name: "db3"}}}
	for what, tt := range map[string]struct {
		all  []heard
		want string
	}{
		"all well":                             {[]heard{runs("primary", "db2", "db3"), runs("replica"), runs("replica")}, "P R R"},
		"one runs, and does not follow":        {[]heard{runs("primary", "db3"), runs("replica"), runs("replica")}, "P - R"},
		"one is caught up from the archive":    {[]heard{{member: member{Role: "primary", State: "running", Replication: []standby{{"db2", "catchup"}, {"db3", "streaming"}}}}, runs("replica"), runs("replica")}, "P - R"},
		"nobody leads":                         {[]heard{{err: errors.New("no")}, runs("replica"), runs("replica")}, "- - -"},
		"one is started":                       {[]heard{runs("primary", "db2", "db3"), {member: member{Role: "replica", State: "starting"}}, runs("replica")}, "P - R"},
		"one that led says who followed it":    {[]heard{runs("primary", "db3"), runs("replica", "db3"), runs("replica", "db2")}, "P - R"},
		"the primary does not answer any more": {[]heard{{member: member{Role: "primary", State: "running", Replication: []standby{{"db2", "streaming"}}}, err: errors.New("no")}, runs("replica"), runs("replica")}, "- - -"},
	} {
		var got []string
		for _, m := range whatTheyAre(c, tt.all) {
			switch {
			case m.Primary:
				got = append(got, "P")
			case m.Replica:
				got = append(got, "R")
			default:
				got = append(got, "-")
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", what, got, tt.want)
		}
	}
}

// backingUp plays a machine that backs up into a directory; failing names the program that fails.
func backingUp(t *testing.T, failing string) (*work, *answering) {
	t.Helper()
	w, _ := backupWork(t, "postgres: {databases: [{name: app, owner: app}, {name: other, owner: app}], users: [{name: app}]}\nbackup: {directory: /backups, dump: [app, other], keep: 1}\n")
	const prefix = "setpriv --reuid=postgres --regid=postgres --init-groups -- "
	r := &answering{}
	r.do = func(line string) error {
		line = strings.TrimPrefix(line, prefix)
		if failing != "" && strings.Contains(line, failing) {
			return errors.New("it fails")
		}
		f := strings.Fields(line)
		switch f[0] {
		case "mkdir":
			return os.Mkdir(f[len(f)-1], 0o700)
		case "dd":
			return os.WriteFile(strings.TrimPrefix(f[1], "of="), []byte(r.stdin), 0o600)
		case "rm":
			return os.RemoveAll(f[len(f)-1])
		}
		return nil
	}
	r.answer = func(line string) string {
		if strings.Contains(line, "psql") {
			return "1000000|f|7442000000000000000|3|17|0\n"
		}
		return ""
	}
	w.Runner = r
	return w, r
}

// A base backup that is whole and verified stays and counts, whatever becomes of the dumps beside it.
func TestADumpThatFailsCostsNoBackup(t *testing.T) {
	for _, tt := range []struct {
		name, failing string
		counts        bool
		dumps         []string
		errors        string
	}{
		{"nothing", "", true, []string{"app", "other"}, ""},
		{"a dump", "app.dump -d", true, []string{"other"}, "the database app: it fails"},
		{"the roles", "pg_dumpall", true, []string{"app", "other"}, "the roles: it fails"},
		{"the look", "pg_verifybackup", false, nil, "verify the copy: it fails"},
		{"the copy", "pg_basebackup", false, nil, "copy the database: it fails"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _ := backingUp(t, tt.failing)
			old := holdBackup(t, w, 90, "")
			r, err := w.makeBackup(t.Context(), time.Now())
			if (err == nil) != (tt.errors == "") || err != nil && !strings.Contains(err.Error(), tt.errors) {
				t.Errorf("got %v, want %q", err, tt.errors)
			}
			if counts := err == nil || errors.As(err, new(beside)); counts != tt.counts {
				t.Errorf("it counts: %t, want %t", counts, tt.counts)
			}
			all, held := w.held(t.Context())
			if held != nil {
				t.Fatal(held)
			}
			newest, _ := backup.Newest(all, "", all[len(all)-1].System, false, time.Now().Add(time.Hour))
			switch {
			case !tt.counts && newest.Name != old:
				t.Errorf("the newest good one is %s, want %s", newest.Name, old)
			case tt.counts && (newest.Name != r.Name || !cmp.Equal(newest.Dumps, tt.dumps) || (newest.DumpError == "") != (tt.errors == "")):
				t.Errorf("its record is %+v, want %s with %v", newest.Record, r.Name, tt.dumps)
			}
		})
	}
}
