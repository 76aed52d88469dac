package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRoomForWAL(t *testing.T) {
	root := t.TempDir()
	none := walRoom(root, filepath.Join(root, "nothing"))
	put(t, root, "wal/000000010000000000000001", string(make([]byte, 16<<20)))
	// What others write meanwhile is not ours: a second look tells whether this one counts.
	if with, without := walRoom(root, filepath.Join(root, "wal")), walRoom(root, ""); none == 0 || with < without+(8<<20) {
		t.Errorf("%d without a directory, %d with 16 MiB of WAL, %d without", none, with, without)
	}
	if got := walRoom(filepath.Join(root, "nowhere"), ""); got != 0 {
		t.Errorf("of no file system: %d", got)
	}
}

func TestLimitThatIsThere(t *testing.T) {
	const patroni = "postgresql:\n  parameters:\n    max_slot_wal_keep_size: \"7680MB\"\n    max_wal_size: \"2048MB\"\n    shared_buffers: 256MB\n"
	const pgbackrest = "[global]\narchive-push-queue-max=15GB\nlog-level-file=off\n"
	for body, want := range map[string]uint64{patroni: 7680 << 20, pgbackrest: 15 << 30, "wal_keep_size: 1GB\n": 0, "": 0} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := max(limitOf(path, slotLimitKey), limitOf(path, queueLimitKey)); got != want {
			t.Errorf("%d, want %d of\n%s", got, want, body)
		}
	}
	for _, file := range []string{"quickstart/db1/etc/patroni/config.yml", "repository/db1/etc/pgbackrest/pgbackrest.conf"} {
		file := "../render/testdata/golden/" + file
		if got := max(limitOf(file, slotLimitKey), limitOf(file, queueLimitKey)); got != 15<<30 {
			t.Errorf("%d of %s, as it is written", got, file)
		}
	}
	if got := limitOf("../render/testdata/golden/quickstart/db1/etc/patroni/config.yml", walLimitKey); got != 2<<30 {
		t.Errorf("max_wal_size %d, as it is written", got)
	}
	less := "postgresql:\n  parameters:\n    max_slot_wal_keep_size: \"64MB\"\n    max_wal_size: \"64MB\"\n    shared_buffers: 256MB\n"
	more := "postgresql:\n  parameters:\n    max_slot_wal_keep_size: \"64MB\"\n    max_wal_size: \"64MB\"\n    shared_buffers: 512MB\n"
	if !onlyLimits([]byte(patroni), []byte(less)) || onlyLimits([]byte(patroni), []byte(more)) {
		t.Error("what else differs is for an apply")
	}
}

// The service is started at the first look, and when the room has changed by a tenth.
func TestRoomIsFollowed(t *testing.T) {
	w := testWork(t)
	put(t, w.Root, dataPath+"/here", "")
	r := &answering{do: func(string) error { return nil }}
	w.Runner = r
	f := newFollower(w.Agent, w.seed, nil)
	looks := func(want int) {
		t.Helper()
		f.roomAt = time.Time{}
		f.room(t.Context())
		if len(r.lines) != want {
			t.Errorf("%q, want %d starts", r.lines, want)
		}
	}
	looks(1)
	looks(1)
	f.free /= 2
	looks(2)
	looks(2)
	f.free *= 2
	looks(3)
	f.free, f.roomAt = 0, time.Now()
	f.room(t.Context()) // not yet
	if len(r.lines) != 3 {
		t.Errorf("%q", r.lines)
	}
}
