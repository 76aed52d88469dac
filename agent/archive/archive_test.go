package archive

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const bytes = 16 << 20

func names(way []Segment) (all []string) {
	for _, s := range way {
		all = append(all, s.Name(bytes))
	}
	return all
}

// Every case is what PostgreSQL says, the first segment of a backup, and the segments that recovery reads from there.
func TestWay(t *testing.T) {
	const second = "1\t0/5000110\tno recovery target specified\n"
	for name, c := range map[string]struct {
		facts Facts
		from  string
		want  string
		off   bool
	}{
		"one timeline":            {Facts{Current: "000000010000000000000004"}, "000000010000000000000001", "000000010000000000000001 000000010000000000000002 000000010000000000000003", false},
		"nothing yet":             {Facts{Current: "000000010000000000000004"}, "000000010000000000000004", "", false},
		"what waits":              {Facts{Current: "000000010000000000000009", Oldest: "0000000000000003"}, "000000010000000000000001", "000000010000000000000001 000000010000000000000002", false},
		"all waits":               {Facts{Current: "000000010000000000000009", Oldest: "0000000000000001"}, "000000010000000000000001", "", false},
		"another log file":        {Facts{Current: "000000010000000100000001"}, "0000000100000000000000FE", "0000000100000000000000FE 0000000100000000000000FF 000000010000000100000000", false},
		"a failover":              {Facts{Current: "000000020000000000000007", History: second}, "000000010000000000000004", "000000010000000000000004 000000020000000000000005 000000020000000000000006", false},
		"a failover, then backup": {Facts{Current: "000000020000000000000007", History: second}, "000000020000000000000006", "000000020000000000000006", false},
		"two failovers": {
			Facts{Current: "000000030000000000000007", History: second + "\n2\t0/6000000\tno recovery target specified\n"}, "000000010000000000000003",
			"000000010000000000000003 000000010000000000000004 000000020000000000000005 000000030000000000000006", false,
		},
		"two failovers, from between": {
			Facts{Current: "000000030000000000000007", History: second + "2\t0/6000000\tno recovery target specified\n"}, "000000020000000000000005",
			"000000020000000000000005 000000030000000000000006", false,
		},
		"what waits is of before the failover": {Facts{Current: "000000020000000000000007", History: second, Oldest: "0000000000000004"}, "000000010000000000000003", "000000010000000000000003", false},
		"a backup of what was left":            {Facts{Current: "000000020000000000000007", History: second}, "000000010000000000000006", "", true},
		"a timeline that is no ancestor":       {Facts{Current: "000000040000000000000007", History: second}, "000000030000000000000004", "", true},
		"a history that cannot be read":        {Facts{Current: "000000020000000000000007", History: "1\tfive\tno reason"}, "000000010000000000000004", "", true},
		"no name":                              {Facts{Current: "000000020000000000000007"}, "", "", true},
	} {
		c.facts.SegmentBytes = bytes
		way, ok := c.facts.Way(c.from)
		if got := strings.Join(names(way), " "); got != c.want || ok == c.off {
			t.Errorf("%s: %q, %v; want %q", name, got, ok, c.want)
		}
	}
}

// With other segments the names count otherwise.
func TestSegmentSizes(t *testing.T) {
	for size, want := range map[uint64]string{1 << 20: "0000000100000001000000FF", 1 << 30: "000000010000000100000003"} {
		s, ok := Parse(want, size)
		if !ok || s.Name(size) != want || (Segment{s.Timeline, s.Number}).Name(size) != want {
			t.Errorf("%s with segments of %d: %+v is %s", want, size, s, s.Name(size))
		}
	}
	f := Facts{SegmentBytes: 1 << 30, Current: "000000010000000200000001"}
	way, ok := f.Way("000000010000000100000002")
	want := []string{"0000000100000001", "0000000100000002"}
	if d := cmp.Diff(want, Directories(way, 1<<30)); !ok || len(way) != 3 || d != "" {
		t.Errorf("%d segments, %v, directories (-want +got):\n%s", len(way), ok, d)
	}
}

func TestMissing(t *testing.T) {
	f := Facts{SegmentBytes: bytes, Current: "000000010000000000000007"}
	way, _ := f.Way("000000010000000000000001")
	noon := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	held := func(numbers string) map[string]time.Time {
		all := map[string]time.Time{}
		for i, n := range numbers {
			all["00000001000000000000000"+string(n)] = noon.Add(time.Duration(i) * time.Minute)
		}
		return all
	}
	missing := func(numbers string) (names []string) {
		for _, n := range numbers {
			names = append(names, "00000001000000000000000"+string(n))
		}
		return names
	}
	for numbers, want := range map[string]*Hole{
		"123456": nil,
		"1256":   {First: "000000010000000000000003", Last: "000000010000000000000004", Segments: 2, Reach: noon.Add(time.Minute), Names: missing("34")},
		"1246":   {First: "000000010000000000000003", Last: "000000010000000000000005", Segments: 2, Reach: noon.Add(time.Minute), Names: missing("35")},
		"23456":  {First: "000000010000000000000001", Last: "000000010000000000000001", Segments: 1, Names: missing("1")},
		"12345":  {First: "000000010000000000000006", Last: "000000010000000000000006", Segments: 1, Reach: noon.Add(4 * time.Minute), Names: missing("6")},
		"":       {First: "000000010000000000000001", Last: "000000010000000000000006", Segments: 6, Names: missing("123456")},
	} {
		if d := cmp.Diff(want, Missing(way, bytes, held(numbers))); d != "" {
			t.Errorf("with %q (-want +got):\n%s", numbers, d)
		}
	}
}

func TestSegmentOf(t *testing.T) {
	const name, sum = "000000010000000000000001", "da39a3ee5e6b4b0d3255bfef95601890afd80709"
	for file, want := range map[string]string{
		name + "-" + sum + ".zst": name, name + "-" + sum: name,
		name + ".partial-" + sum + ".zst": "", name + "-" + sum + ".zst.pgbackrest.tmp": "", "00000002.history": "", name + ".00000028.backup": "", ".": "",
	} {
		if got, ok := SegmentOf(file); got != want || ok != (want != "") {
			t.Errorf("%s is of %q, %v; want %q", file, got, ok, want)
		}
	}
}

func TestState(t *testing.T) {
	for name, c := range map[string]struct {
		facts       Facts
		hangs, late bool
	}{
		"nothing waits, nothing was archived": {Facts{ArchivedSeconds: -1}, false, false},
		"one waits for a moment":              {Facts{Waiting: 1, WaitingSeconds: 0.1, ArchivedSeconds: 3}, true, false},
		"it hangs":                            {Facts{Waiting: 1, WaitingSeconds: 600, ArchivedSeconds: 900}, true, true},
		"it hangs from the first one on":      {Facts{Waiting: 3, WaitingSeconds: 600, ArchivedSeconds: -1}, true, true},
		"it is slow":                          {Facts{Waiting: 90, WaitingSeconds: 600, ArchivedSeconds: 2}, false, true},
		"it fails":                            {Facts{Waiting: 3, WaitingSeconds: 600, ArchivedSeconds: -1, Fails: "000000010000000000000001"}, false, true},
	} {
		if s := c.facts.State(); s.Hangs != c.hangs || s.IsLate() != c.late {
			t.Errorf("%s: hangs %v, late %v", name, s.Hangs, s.IsLate())
		}
	}
}
