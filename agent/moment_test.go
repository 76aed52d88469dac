package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/agent/archive"
	"github.com/pgbake/pgbake/agent/backup"
)

// shelf is a repository: files by their directory, each with the hour of the day when it came there.
type shelf struct {
	dirs  map[string]map[string]int
	files map[string]string
	asked []string
}

func hour(n int) time.Time { return time.Date(2026, 11, 26, n, 0, 0, 0, time.UTC) }

func (s *shelf) answer(_ context.Context, args ...string) ([]byte, error) {
	s.asked = append(s.asked, strings.Join(args, " "))
	at := args[len(args)-1]
	if args[0] == "repo-get" {
		text, ok := s.files[at]
		if !ok {
			return nil, errors.New("unable to open " + at)
		}
		return []byte(text), nil
	}
	all := []string{`".":{"type":"path"}`}
	for name, h := range s.dirs[at] {
		kind := "file"
		if len(name) == 16 {
			kind = "path"
		}
		all = append(all, fmt.Sprintf(`%q:{"type":%q,"time":%d}`, name, kind, hour(h).Unix()))
	}
	return []byte("{" + strings.Join(all, ",") + "}"), nil
}

// The histories of timelines 2 and 3 are told by that of 4; timeline 5 was left by a restore, whose history pg_wal has.
func TestTimelinesOfTheArchive(t *testing.T) {
	const dir = "archive/moment/17-1"
	s := &shelf{
		dirs: map[string]map[string]int{dir: {"00000002.history": 2, "00000003.history": 3, "00000004.history": 4, "00000005.history": 5, "0000000100000000": 5, "00000006.history.gz": 1}},
		files: map[string]string{
			dir + "/00000005.history": "1\t0/100\tno recovery target specified\n\n2\t0/200\tno recovery target specified\n\n3\t0/300\tno recovery target specified\n",
			dir + "/00000004.history": "1\t0/100\tno recovery target specified\n\n2\t0/200\tno recovery target specified\n\n3\t0/310\tno recovery target specified\n",
		},
	}
	a, err := archivedIn(t.Context(), s.answer, "moment", "17-1")
	if err != nil {
		t.Fatal(err)
	}
	all, err := a.timelines(t.Context(), 6, "1\t0/80\tbefore 2026-11-26 05:30:00+00\n")
	got := map[uint32]archive.Timeline{}
	for _, each := range all {
		got[each.ID] = each
	}
	want := map[uint32]archive.Timeline{
		1: {ID: 1}, 2: {ID: 2, Parent: 1, Fork: 0x100, Since: hour(2)}, 3: {ID: 3, Parent: 2, Fork: 0x200, Since: hour(3)}, 4: {ID: 4, Parent: 3, Fork: 0x310, Since: hour(4)},
		5: {ID: 5, Parent: 3, Fork: 0x300, Since: hour(5)}, 6: {ID: 6, Parent: 1, Fork: 0x80, Restored: true, To: "before 2026-11-26 05:30:00+00"},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil || len(all) != len(want) {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if want := "repo-ls --output=json " + dir + "|repo-get " + dir + "/00000005.history|repo-get " + dir + "/00000004.history"; strings.Join(s.asked, "|") != want {
		t.Errorf("asked %s", s.asked)
	}
	delete(s.files, dir+"/00000004.history")
	if _, err := a.timelines(t.Context(), 6, ""); err == nil || !strings.Contains(err.Error(), "read the history of timeline 4 in the repository") {
		t.Errorf("one that cannot be read: %v", err)
	}
}

// A repository of 20 segments of timeline 1, archived one an hour, and of timeline 2, which began in the seventh.
func TestHoleTo(t *testing.T) {
	const dir, sum, size = "archive/moment/17-1", "-da39a3ee5e6b4b0d3255bfef95601890afd80709", 16 << 20
	name := func(timeline, number int) string { return fmt.Sprintf("%08X%08X%08X", timeline, 0, number) }
	one, two := archive.Timeline{ID: 1}, archive.Timeline{ID: 2, Parent: 1, Fork: 7*size + 5}
	for what, tt := range map[string]struct {
		way   []archive.Timeline
		facts *archive.Facts
		gone  []string
		to    int
		want  *archive.Hole
	}{
		"all of it":                      {[]archive.Timeline{one}, nil, nil, 23, nil},
		"a hole on the way":              {[]archive.Timeline{one}, nil, []string{name(1, 5), name(1, 6)}, 6, &archive.Hole{First: name(1, 5), Last: name(1, 6), Segments: 2, Reach: hour(4)}},
		"a hole behind it":               {[]archive.Timeline{one}, nil, []string{name(1, 8)}, 6, nil},
		"a hole on another":              {[]archive.Timeline{one, two}, nil, []string{name(1, 8)}, 23, nil},
		"a hole of before":               {[]archive.Timeline{one, two}, nil, []string{name(1, 5)}, 23, &archive.Hole{First: name(1, 5), Last: name(1, 5), Segments: 1, Reach: hour(4)}},
		"the first one of a timeline":    {[]archive.Timeline{one, two}, nil, []string{name(2, 7)}, 23, &archive.Hole{First: name(2, 7), Last: name(2, 7), Segments: 1, Reach: hour(6)}},
		"nothing yet of a timeline":      {[]archive.Timeline{one, {ID: 3, Parent: 1, Fork: 7 * size}}, nil, nil, 23, nil},
		"the last one that was given up": {[]archive.Timeline{one}, &archive.Facts{SegmentBytes: size, Current: name(1, 22)}, nil, 23, &archive.Hole{First: name(1, 21), Last: name(1, 21), Segments: 1, Reach: hour(20)}},
		"the backup is of another":       {[]archive.Timeline{{ID: 4}}, nil, nil, 23, nil},
	} {
		s := &shelf{dirs: map[string]map[string]int{dir: {name(1, 0)[:16]: 0, name(2, 0)[:16]: 0}, dir + "/" + name(1, 0)[:16]: {}, dir + "/" + name(2, 0)[:16]: {}}}
		for n := 1; n <= 20; n++ {
			s.dirs[dir+"/"+name(1, 0)[:16]][name(1, n)+sum+".zst"] = n
			if n >= 7 {
				s.dirs[dir+"/"+name(2, 0)[:16]][name(2, n)+sum+".zst"] = n
			}
		}
		for _, each := range tt.gone {
			delete(s.dirs[dir+"/"+each[:16]], each+sum+".zst")
		}
		a, err := archivedIn(t.Context(), s.answer, "moment", "17-1")
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.holeTo(t.Context(), tt.way, size, archive.Segment{Timeline: 1, Number: 3}, tt.facts, hour(tt.to))
		if got != nil {
			if len(got.Names) != got.Segments {
				t.Errorf("%s: %d segments, by name %v", what, got.Segments, got.Names)
			}
			got.Names = nil
		}
		if d := cmp.Diff(tt.want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, d)
		}
	}
}

// Where a backup leads is judged by the end of its WAL. What pgBackRest did not say of it counts as the end of the segment.
func TestStanzaBackups(t *testing.T) {
	body, err := os.ReadFile("testdata/pgbackrest-info.json")
	if err != nil {
		t.Fatal(err)
	}
	for body, end := range map[string]uint64{string(body): 0x7000120, strings.Replace(string(body), `"lsn":{"start":"0/7000028","stop":"0/7000120"},`, "", 1): 0x8000000} {
		s, err := parseInfo([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		held := []backup.Held{{Record: backup.Record{Name: "20261126-122622F", Verified: true}}, {Record: backup.Record{Name: "20261126-122622F_20261126-122627D", Verified: true}, Proof: backup.Proof{Error: "no good"}}}
		all := s.backups(1, 16<<20, held)
		at := func(unix int64) time.Time { return time.Unix(unix, 0).UTC() }
		want := []archive.Backup{
			{Name: "20261126-122622F", Timeline: 1, Began: at(1795695982), Ended: at(1795695984), End: 0x4000158, Good: true},
			{Name: "20261126-122622F_20261126-122627D", Timeline: 16, Began: at(1795695987), Ended: at(1795695988), End: end},
		}
		if d := cmp.Diff(want, all); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if got := s.backups(2, 16<<20, held); got != nil {
			t.Errorf("of another database: %v", got)
		}
		if number, id, err := s.database("7442000000000000000"); number != 1 || id != "17-1" || err != nil {
			t.Errorf("database %d, %s: %v", number, id, err)
		}
		if _, _, err := s.database("1"); err == nil || !strings.Contains(err.Error(), "no archive of this database") {
			t.Errorf("another database: %v", err)
		}
		if first := (readPast{stanza: s, segmentBytes: 16 << 20}).firstSegment("20261126-122622F"); first != (archive.Segment{Timeline: 1, Number: 4}) {
			t.Errorf("the first segment: %v", first)
		}
	}
}

// Of backups in a directory only their times are known: those that a restore has left behind were taken after the one that it went to.
func TestDirectoryPast(t *testing.T) {
	const system = "7"
	held := func(names ...string) (all []backup.Held) {
		for _, n := range names {
			name, timeline, _ := strings.Cut(n, " ")
			at, ok := backup.Taken(name)
			if !ok {
				t.Fatalf("%s is no name of a backup", name)
			}
			id, err := strconv.Atoi(timeline)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, backup.Held{Record: backup.Record{Name: name, At: at, Ended: at.Add(time.Minute), System: system, Timeline: id, Verified: true}})
		}
		return all
	}
	const first, second, third = "20261101T020000Z-db1", "20261102T020000Z-db2", "20261103T020000Z-db1"
	for _, tt := range []struct {
		name, history string
		live          uint32
		held          []backup.Held
		want          string
		left          bool // the newest of all
	}{
		{"nothing has happened", "", 1, held(first+" 1", second+" 1"), second, false},
		{"failovers", "1\t0/3000000\tno recovery target specified\n2\t0/5000000\tno recovery target specified\n", 3, held(first+" 1", second+" 2"), second, false},
		{"taken back to the first", "1\t0/3000000\treached consistency\n" + archive.Comment("the end of "+first), 2, held(first+" 1", second+" 1"), first, true},
		{"taken back to the first, which is gone", "1\t0/3000000\treached consistency\n" + archive.Comment("the end of "+first), 2, held(second + " 1"), "", true},
		{"and one since", "1\t0/3000000\treached consistency\n" + archive.Comment("the end of "+first), 2, held(first+" 1", second+" 1", third+" 2"), third, false},
		{"taken back past a failover", "1\t0/3000000\treached consistency\n" + archive.Comment("the end of "+first), 3, held(first+" 1", second+" 2"), first, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := directoryPast(system, tt.live, tt.history, append(tt.held, backup.Held{Record: backup.Record{Name: "20261104T020000Z-db1", System: "another", Timeline: 1, Verified: true}}))
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Newest(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)); got != tt.want {
				t.Errorf("the newest is %q, want %q", got, tt.want)
			}
			newest := tt.held[len(tt.held)-1].Name
			if got := p.LeftOf(newest, time.UTC); (got != "") != tt.left {
				t.Errorf("%s is of %q", newest, got)
			}
		})
	}
}
