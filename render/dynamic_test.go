package render

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
)

func TestDynamicFollowsTheSpecification(t *testing.T) {
	all := specs(t)
	type answer struct {
		Synchronous, Strict, Nodes, Failsafe, Start, Lag any
	}
	for name, want := range map[string]answer{
		"global":      {"quorum", false, 1, true, 30, 1 << 40},
		"two-proxies": {"quorum", true, 2, true, 30, 1 << 40},
		"debian12":    {true, false, 1, nil, 30, 1 << 40}, // Patroni 3 has no quorum, and a failsafe mode not to be trusted
		"lone":        {false, false, nil, true, 300, 32 << 20},
		"async":       {false, false, nil, true, 300, 32 << 20},
	} {
		d := Dynamic(all[name])
		got := answer{d["synchronous_mode"], d["synchronous_mode_strict"], d["synchronous_node_count"], d["failsafe_mode"], d["primary_start_timeout"], d["maximum_lag_on_failover"]}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestTimersSuitPatroni holds the rule that Patroni enforces since 3.2.
func TestTimersSuitPatroni(t *testing.T) {
	for _, f := range []cluster.Failover{cluster.Fast, cluster.Normal, cluster.Safe} {
		d := Dynamic(&cluster.Cluster{Failover: f})
		if ttl := d["ttl"].(int); d["loop_wait"].(int)+2*d["retry_timeout"].(int) > ttl || ttl < 20 {
			t.Errorf("%s: %v", f, d)
		}
	}
}

func TestTheSpecificationsParametersWin(t *testing.T) {
	c := specs(t)["debian12"]
	parameters := Dynamic(c)["postgresql"].(map[string]any)["parameters"].(map[string]any)
	if parameters["wal_level"] != "logical" || parameters["shared_buffers"] != "2GB" {
		t.Errorf("dynamic: %v", parameters)
	}
	// A local value would win over the dynamic one.
	if v, ok := localParameters(c, Input{Memory: 4 << 30})["shared_buffers"]; ok {
		t.Errorf("the machine's own shared_buffers, %v, hides the specification's", v)
	}
}

func TestSizes(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for memory, want := range map[uint64]string{
		0: "128MB", 256 * mib: "128MB", 1 * gib: "256MB", 4 * gib: "1024MB",
		// What kernels report of "4 GB", some kilobytes apart.
		4015104 << 10: "992MB", 4015380 << 10: "992MB",
	} {
		if got := sharedBuffers(memory); got != want {
			t.Errorf("shared_buffers of %d: %s, want %s", memory, got, want)
		}
	}
	for disk, want := range map[uint64]string{0: "10GB", 100 * mib: "64MB", 10 * gib: "3072MB", 50 * gib: "15GB"} {
		if got := slotLimit(Input{Disk: disk}); got != want {
			t.Errorf("max_slot_wal_keep_size on %d: %s, want %s", disk, got, want)
		}
	}
}

// Checkpoints are forced by max_wal_size: the larger the disk, the fewer, and never one too late for the room that is left.
func TestCheckpointsLeaveRoom(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		name            string
		disk, room, had uint64 // in GiB
		want            string
	}{
		{"unknown", 0, 0, 0, "1024MB"},
		{"a small disk", 10, 9, 0, "1024MB"},
		{"the lab's", 50, 40, 0, "2048MB"},
		{"a usual one", 500, 400, 0, "16384MB"},
		{"a very large one", 20000, 15000, 0, "16384MB"},
		{"nearly full", 500, 6, 16, "512MB"},
		{"all but full", 500, 1, 1, "128MB"},
		{"a little less room", 500, 60, 8, "8192MB"},
		{"a little more room", 500, 140, 8, "8192MB"},
		{"much more room", 500, 300, 4, "16384MB"},
	} {
		if got := walLimit(Input{Disk: tt.disk * gib, WALRoom: tt.room * gib, WALLimit: tt.had * gib}); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	// What waits for a dead replica, and what is written until the next checkpoint, are on the same disk; and a limit never changes twice.
	for room := uint64(1); room <= 100; room++ {
		for had := uint64(0); had <= 40; had++ {
			in := Input{Disk: 100 * gib, WALRoom: room * gib, SlotLimit: had * gib, WALLimit: had * gib}
			first := size(t, walLimit(in))
			if sum := size(t, slotLimit(in)) + first; sum > room*gib/5*4 {
				t.Errorf("of %d GiB of room WAL may take %d", room, sum)
			}
			in.WALLimit = first
			if second := size(t, walLimit(in)); second != first {
				t.Errorf("of %d GiB: first %d, then %d", room, first, second)
			}
		}
	}
}

// Without a limit in time a quiet cluster's last transactions wait for the other 16 MB of their segment.
func TestArchivedWithinAMinute(t *testing.T) {
	all := specs(t)
	for name, want := range map[string]any{"repository": "60s", "sftp": "60s", "quickstart": nil} {
		if got := parameters(all[name])["archive_timeout"]; got != want {
			t.Errorf("%s: archive_timeout %v, want %v", name, got, want)
		}
	}
	c := *all["repository"]
	c.Postgres.Parameters = map[string]string{"archive_timeout": "5min"}
	if got := parameters(&c)["archive_timeout"]; got != "5min" {
		t.Errorf("the specification's archive_timeout is 5min, and it gets %v", got)
	}
}

// A backup may have half of the processors, a restore all of them.
func TestProcesses(t *testing.T) {
	for _, tt := range []struct {
		processors      int
		backup, restore int
	}{{0, 1, 1}, {1, 1, 1}, {2, 1, 2}, {3, 1, 3}, {8, 4, 8}, {128, 16, 16}} {
		if b, r := processes(tt.processors); b != tt.backup || r != tt.restore {
			t.Errorf("of %d processors a backup has %d and a restore %d, want %d and %d", tt.processors, b, r, tt.backup, tt.restore)
		}
	}
}

// A dead replica's slot must not fill a disk, however much of it the data has.
func TestSlotsLeaveRoom(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		name            string
		disk, room, had uint64 // in GiB
		want            string
	}{
		{"a new disk", 100, 99, 0, "30GB"},
		{"half of it is data", 100, 50, 30, "30GB"}, // 25 would be right, and 30 is about that
		{"half of it is data, after a reinstallation", 100, 50, 0, "25GB"},
		{"70 % is data", 100, 30, 30, "15GB"},
		{"85 % is data", 100, 15, 15, "7680MB"},
		{"97 % is data", 100, 3, 7, "1536MB"},
		{"nothing is left", 100, 0, 0, "30GB"}, // it could not be told
		{"some temporary files", 100, 14, 8, "8192MB"},
		{"data was removed", 100, 80, 7, "30GB"},
		{"the disk was made larger", 1000, 915, 15, "300GB"},
	} {
		in := Input{Disk: tt.disk * gib, WALRoom: tt.room * gib, SlotLimit: tt.had * gib}
		if got := slotLimit(in); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	// Whatever was there before: a slot never has more than five eighths of the room, and a limit never changes twice.
	for room := uint64(1); room <= 100; room++ {
		for had := uint64(0); had <= 40; had++ {
			in := Input{Disk: 100 * gib, WALRoom: room * gib, SlotLimit: had * gib}
			first := size(t, slotLimit(in))
			if first > room*gib/8*5 {
				t.Errorf("of %d GiB, with %d before: %d", room, had, first)
			}
			in.SlotLimit = first
			if second := size(t, slotLimit(in)); second != first {
				t.Errorf("of %d GiB: first %d, then %d", room, first, second)
			}
		}
	}
}

func size(t *testing.T, text string) (bytes uint64) {
	t.Helper()
	unit := ""
	if _, err := fmt.Sscanf(text, "%d%s", &bytes, &unit); err != nil {
		t.Fatal(text, err)
	}
	return bytes * map[string]uint64{"MB": 1 << 20, "GB": 1 << 30}[unit]
}

func TestTextQuotes(t *testing.T) {
	for _, c := range []struct {
		in                                 text
		yaml, literal, ident, hba, haproxy string
	}{
		{"global", "global", "'global'", `"global"`, "global", "'global'"},
		{"off", `"off"`, "'off'", `"off"`, "off", "'off'"},
		{"123", `"123"`, "'123'", `"123"`, `"123"`, "'123'"},
		{"app-1", "app-1", "'app-1'", `"app-1"`, `"app-1"`, "'app-1'"},
		{"all", "all", "'all'", `"all"`, `"all"`, "'all'"},
		{`it's`, `"it's"`, `'it''s'`, `"it's"`, `"it's"`, `'it'\''s'`},
		{`a\b`, `"a\\b"`, `E'a\\b'`, `"a\b"`, `"a\b"`, `'a\b'`},
		{`a"b`, `"a\"b"`, `'a"b'`, `"a""b"`, `"a""b"`, `'a"b'`},
		{"a: b #c", `"a: b #c"`, "'a: b #c'", `"a: b #c"`, `"a: b #c"`, "'a: b #c'"},
		{"<&>", `"<&>"`, "'<&>'", `"<&>"`, `"<&>"`, "'<&>'"},
	} {
		got := []string{c.in.YAML(), c.in.Literal(), c.in.Ident(), c.in.HBA(), c.in.HAProxy()}
		if d := cmp.Diff([]string{c.yaml, c.literal, c.ident, c.hba, c.haproxy}, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.in, d)
		}
	}
}
