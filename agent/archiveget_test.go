package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// archiveOf puts a program in pgBackRest's place, which gets FILE and PATH as $1 and $2, and returns what asks for a segment from
// a data directory as PostgreSQL does.
func archiveOf(t *testing.T, script string) ArchivedFile {
	t.Helper()
	bin, data := t.TempDir(), t.TempDir()
	body := "#!/bin/sh\n[ \"$1 $2\" = '--stanza=shop archive-get' ] || exit 99\nshift 2\necho \"$1\" >>" + data + "/asked\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(bin, "pgbackrest"), []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	if err := os.MkdirAll(filepath.Join(data, "pg_wal/archive_status"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(data)
	return ArchivedFile{Scope: "shop", Name: "000000010000000000000003", To: "pg_wal/RECOVERYXLOG", State: filepath.Join(bin, "state")}
}

// asks is how often pgBackRest was run.
func asks(t *testing.T) int {
	t.Helper()
	body, err := os.ReadFile("asked")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(body), "\n")
}

// left is what lies in pg_wal.
func left(t *testing.T) (names []string) {
	t.Helper()
	all, err := os.ReadDir("pg_wal")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestArchivedFileComesWholeOrNotAtAll(t *testing.T) {
	f := archiveOf(t, `[ "$1" = 000000010000000000000003 ] || exit 1; echo WAL >"$2"`)
	if err := f.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	if body, err := os.ReadFile(f.To); err != nil || string(body) != "WAL\n" {
		t.Errorf("it brought %q: %v", body, err)
	}
	// What is not there is asked for again and again, every second; a while after the last time it may have come.
	f.Name = "000000010000000000000004"
	end := time.Now().Add(time.Minute)
	for calls := 0; asks(t) < 3 && time.Now().Before(end); calls++ {
		if err := f.Get(t.Context()); !errors.Is(err, ErrNotArchived) {
			t.Errorf("a segment that is not there: %v", err)
		}
		if calls == 1 && asks(t) != 2 {
			t.Errorf("asked %d times", asks(t))
		}
	}
	if got := asks(t); got != 3 {
		t.Errorf("asked %d times", got)
	}
	if got := strings.Join(left(t), " "); got != "RECOVERYXLOG" {
		t.Errorf("in pg_wal: %s", got)
	}
}

// A repository that fails is left alone for a while; pg_rewind, which tries once, asks it all the same.
func TestArchiveThatFailsIsNotAskedAtOnce(t *testing.T) {
	f := archiveOf(t, `echo half >"$2"; exit 55`)
	if err := f.Get(t.Context()); err == nil || !strings.Contains(err.Error(), "exit status 55; the archive is asked again after 30s") {
		t.Errorf("the first time: %v", err)
	}
	if err := f.Get(t.Context()); !errors.Is(err, ErrNotArchived) {
		t.Errorf("the second time: %v", err)
	}
	f.To = filepath.Join("pg_wal", f.Name)
	if err := f.Get(t.Context()); err == nil || errors.Is(err, ErrNotArchived) {
		t.Errorf("for pg_rewind: %v", err)
	}
	if got := asks(t); got != 2 {
		t.Errorf("asked %d times", got)
	}
	if got := left(t); got != nil {
		t.Errorf("in pg_wal: %s", got)
	}
}

// A repository that hangs costs one silence, and a process that cannot be ended keeps a second one away, for pg_rewind too.
func TestArchiveThatHangs(t *testing.T) {
	f := archiveOf(t, `mkfifo never; (trap '' HUP; exec >/dev/null 2>&1; read -r _ <never) & echo $! >pid; read -r _ <never`)
	t.Cleanup(func() { // the one that was left
		if w, err := os.OpenFile("never", os.O_WRONLY, 0); err == nil {
			_ = w.Close()
		}
	})
	began := time.Now()
	if err := f.Get(t.Context()); err == nil || !strings.Contains(err.Error(), "it has brought nothing for 5s") {
		t.Errorf("hangs: %v", err)
	}
	if took := time.Since(began); took < archiveSilence || took > rewindSilence {
		t.Errorf("that took %s", took)
	}
	began = time.Now()
	if err := f.Get(t.Context()); !errors.Is(err, ErrNotArchived) {
		t.Errorf("the next file: %v", err)
	}
	f.To = filepath.Join("pg_wal", f.Name)
	if err := f.Get(t.Context()); err == nil || !strings.Contains(err.Error(), "an earlier pgBackRest still hangs") {
		t.Errorf("for pg_rewind: %v", err)
	}
	if took := time.Since(began); took > archiveSilence {
		t.Errorf("the next ones took %s", took)
	}
	if got := asks(t); got != 1 {
		t.Errorf("asked %d times", got)
	}
}

// A slow one is not one that hangs.
func TestArchiveThatIsSlow(t *testing.T) {
	f := archiveOf(t, `for _ in 1 2 3; do sleep 2; echo more >>"$2"; done`)
	if err := f.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	if body, err := os.ReadFile(f.To); err != nil || len(body) != 15 {
		t.Errorf("it brought %q: %v", body, err)
	}
}

// What pg_wal has all of is not fetched, unless PostgreSQL comes back for it: then it is damaged.
func TestArchiveIsNotAskedForWhatIsHere(t *testing.T) {
	f := archiveOf(t, `echo WAL >"$2"`)
	put := func(path string) {
		t.Helper()
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("pg_wal/" + f.Name) // a file that is kept for later use has such a name, and old WAL in it
	if err := f.Get(t.Context()); err != nil || asks(t) != 1 {
		t.Fatalf("a segment that may be recycled: %v", err)
	}
	put("pg_wal/archive_status/" + f.Name + ".done")
	if err := f.Get(t.Context()); !errors.Is(err, ErrNotArchived) || asks(t) != 1 {
		t.Errorf("a segment that is here: %v", err)
	}
	if err := f.Get(t.Context()); err != nil || asks(t) != 2 {
		t.Errorf("a segment that is here, and damaged: %v", err)
	}
	f.Name, f.To = "00000002.history", "pg_wal/RECOVERYHISTORY"
	put("pg_wal/" + f.Name)
	if err := f.Get(t.Context()); !errors.Is(err, ErrNotArchived) || asks(t) != 2 {
		t.Errorf("a history that is here: %v", err)
	}
}

func TestArchiveWithoutItsProgram(t *testing.T) {
	f := archiveOf(t, "")
	t.Setenv("PATH", t.TempDir())
	if err := f.Get(t.Context()); err == nil || errors.Is(err, ErrNotArchived) {
		t.Errorf("without pgBackRest: %v", err)
	}
	if err := f.Get(t.Context()); !errors.Is(err, ErrNotArchived) {
		t.Errorf("the second time: %v", err)
	}
}

// A timeline that has ended is not followed beyond its end; pg_rewind wants to see what is there.
func TestArchiveBringsNoOtherHistory(t *testing.T) {
	f := archiveOf(t, `head -c 16777216 /dev/zero >"$2"`)
	for name, body := range map[string]string{
		"00000003.history": "1\t0/3000100\tno recovery target specified\n\n2\t1/FF000000\tno recovery target specified\n",
		"00000002.history": "1\t0/1000100\tof a timeline that nobody follows\n",
	} {
		if err := os.WriteFile("pg_wal/"+name, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]error{
		"000000010000000000000002": nil,            // whole before the end
		"000000010000000000000003": ErrNotArchived, // the end is in it
		"000000010000000000000004": ErrNotArchived,
		"0000000200000001000000FE": nil, // its last byte is the last before the end
		"0000000200000001000000FF": ErrNotArchived,
		"000000020000000200000000": ErrNotArchived,
		"0000000300000001000000FF": nil,
		"00000004.history":         nil,
	} {
		f.Name, f.To = name, "pg_wal/RECOVERYXLOG"
		if err := f.Get(t.Context()); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		f.To = "pg_wal/" + name
		if err := f.Get(t.Context()); err != nil {
			t.Errorf("%s for pg_rewind: %v", name, err)
		}
		if err := os.Remove(f.To); err != nil {
			t.Fatal(err)
		}
	}
}
