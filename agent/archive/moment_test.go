package archive

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clockTime is a time of one day, to the second.
func clockTime(t *testing.T, s string) time.Time {
	t.Helper()
	if strings.Count(s, ":") == 1 {
		s += ":00"
	}
	at, err := time.Parse(time.DateTime, "2026-11-26 "+s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// past reads a cluster's past from what a person can write down: histories are "timeline archived-at parent@position reason",
// backups "name timeline ended-at end-position", live is the timeline of now.
func past(t *testing.T, live uint32, histories, backups string) Past {
	t.Helper()
	p := Past{Live: live}
	for line := range strings.Lines(histories) {
		var id, parent uint32
		var at string
		var fork uint64
		if _, err := fmt.Sscanf(strings.TrimSpace(line), "%d %s %d@%d", &id, &at, &parent, &fork); err != nil {
			continue
		}
		reason := strings.SplitN(strings.TrimSpace(line), " ", 4)[3]
		all, err := ReadHistory(id, fmt.Sprintf("%d\t0/%X\t%s\n", parent, fork, strings.ReplaceAll(reason, " # ", "\n# ")))
		if err != nil {
			t.Fatal(err)
		}
		own := all[len(all)-1]
		if at != "-" {
			own.Since = clockTime(t, at)
		}
		if !slices.ContainsFunc(p.Timelines, func(t Timeline) bool { return t.ID == parent }) {
			p.Timelines = append(p.Timelines, all[0])
		}
		p.Timelines = append(p.Timelines, own)
	}
	for line := range strings.Lines(backups) {
		var b Backup
		var at string
		if _, err := fmt.Sscanf(strings.TrimSpace(line), "%s %d %s %d", &b.Name, &b.Timeline, &at, &b.End); err != nil {
			continue
		}
		b.Ended, b.Good = clockTime(t, at), !strings.HasPrefix(b.Name, "bad")
		b.Began = b.Ended.Add(-time.Minute)
		p.Backups = append(p.Backups, b)
	}
	return p
}

const failover = "no recovery target specified"

func TestTo(t *testing.T) {
	const night = `
		night 1 02:00 100
		`
	// What happened at 13:00 was a restore to 12:00, and it was found to be too early.
	const early = `
		2 13:00 1@1200 before 2026-11-26 12:00:07+00
		`
	const chain = `
		2 10:00 1@1000 ` + failover + `
		3 11:00 2@1100 ` + failover + `
		`
	for what, tt := range map[string]struct {
		live      uint32
		histories string
		backups   string
		to, name  string
		// want is the backup, the timelines of the way, and when the target was left; or what the error says.
		want string
	}{
		"one timeline":                               {1, "", night, "12:00", "", "night 1"},
		"the newest backup":                          {1, "", night + "noon 1 12:00 1200\n", "12:30", "", "noon 1"},
		"the newest backup before it":                {1, "", night + "noon 1 12:00 1200\n", "11:59:59", "", "night 1"},
		"at the end of the backup":                   {1, "", night + "noon 1 12:00 1200\n", "12:00", "", "noon 1"},
		"the newest is no good":                      {1, "", night + "bad-noon 1 12:00 1200\n", "12:30", "", "night 1"},
		"one by its name":                            {1, "", night + "bad-noon 1 12:00 1200\n", "12:30", "bad-noon", "bad-noon 1"},
		"before every backup":                        {1, "", night, "01:00", "", "2026-11-26 01:00:00+00:00 is before the end of the oldest backup that could lead there, on timeline 1\n      hint: what can be restored: from 2026-11-26 02:00:00+00:00 on (timeline 1)"},
		"before the named one":                       {1, "", night, "01:00", "night", "2026-11-26 01:00:00+00:00 is before the end of night, 2026-11-26 02:00:00+00:00\n      hint: "},
		"there is no such backup":                    {1, "", night, "12:00", "noon", "there is no backup noon"},
		"no backup":                                  {1, "", "", "12:00", "", "hint: there is no good backup"},
		"failovers after it":                         {3, chain, night, "09:00", "", "night 1 2 3"},
		"just before a failover":                     {3, chain, night, "09:59:59", "", "night 1 2 3"},
		"at a failover":                              {3, chain, night, "10:00", "", "night 1 2 3"},
		"just after a failover":                      {3, chain, night, "10:00:01", "", "night 1 2 3"},
		"after both":                                 {3, chain, night + "eleven 3 11:30 1130\n", "12:00", "", "eleven 1 2 3"},
		"a backup that the failover left behind":     {2, "2 10:00 1@1000 " + failover, night + "lost 1 10:00 1001\n", "12:00", "", "night 1 2"},
		"a backup that ended where it forked":        {2, "2 10:00 1@1000 " + failover, night + "last 1 10:00 1000\n", "12:00", "", "last 1 2"},
		"too early, then 12:30":                      {2, early, night, "12:30", "", "night 1 left: timeline 1, which the cluster left at 2026-11-26 13:00:00+00:00 when it was restored to before 2026-11-26 12:00:07+00"},
		"too early, then 12:30, from a later one":    {2, early, night + "quarter 1 12:15 1215\n", "12:30", "", "quarter 1 left: timeline 1, which"},
		"too early, then 13:05":                      {2, early, night + "quarter 1 12:15 1215\n", "13:05", "", "night 1 2"},
		"a backup of what was left, by its name":     {2, early, night + "quarter 1 12:15 1215\n", "13:05", "quarter", "quarter is of timeline 1, and does not lead to timeline 2, which the cluster was on at 2026-11-26 13:05:00+00:00\n      hint: what can be restored: from 2026-11-26 02:00:00+00:00 to 2026-11-26 13:00:00+00:00 (timeline 1), from 2026-11-26 13:00:00+00:00 on (timeline 2)"},
		"the very second of the restore":             {2, early, night, "13:00", "", "night 1 2"},
		"then 12:30, then 13:05 once more":           {3, early + "3 14:00 1@1230 before 2026-11-26 12:30:07+00\n", night, "13:05", "", "night 1 2 left: timeline 2, which the cluster left at 2026-11-26 14:00:00+00:00 when it was restored to before 2026-11-26 12:30:07+00"},
		"a restore of a restore":                     {3, early + "3 14:00 2@1300 before 2026-11-26 13:30:00+00\n", night, "14:05", "", "night 1 2 3"},
		"a restore of a restore, what it left":       {3, early + "3 14:00 2@1300 before 2026-11-26 13:30:00+00\n", night, "13:45", "", "night 1 2 left: timeline 2, which the cluster left at 2026-11-26 14:00:00+00:00"},
		"a failover, then a restore of before it":    {3, "2 12:45 1@1245 " + failover + "\n3 13:00 1@1200 before 2026-11-26 12:00:07+00\n", night, "12:30", "", "night 1 2 left: timeline 2, which the cluster left at 2026-11-26 13:00:00+00:00"},
		"a restore, then a failover":                 {3, early + "3 13:30 2@1330 " + failover, night, "13:05", "", "night 1 2 3"},
		"a restore to the end of a backup":           {2, "2 13:00 1@100 reached consistency", night, "12:00", "", "night 1 left: timeline 1, which the cluster left at 2026-11-26 13:00:00+00:00 when it was restored to the end of a backup"},
		"a restore to the end of a backup, after":    {2, "2 13:00 1@100 reached consistency", night, "13:05", "", "night 1 2"},
		"a restore that had no target, but a note":   {2, "2 13:00 1@1200 " + failover + " # restored by pgha to the end of it", night, "12:30", "", "night 1 left:"},
		"a failover whose history is not yet there":  {2, "2 - 1@1000 " + failover, night, "12:00", "", "night 1 2"},
		"equal times":                                {4, chain + "4 11:00 3@1101 " + failover, night, "11:00", "", "night 1 2 3 4"},
		"two failovers of one timeline":              {3, "2 10:00 1@1001 " + failover + "\n3 10:05 1@1000 " + failover, night, "09:00", "", "night 1 2 left: timeline 2, which the cluster left at 2026-11-26 10:05:00+00:00 for timeline 3"},
		"two of one timeline, at the same place":     {3, "2 10:00 1@1000 " + failover + "\n3 10:05 1@1000 " + failover, night, "09:00", "", "night 1 3"},
		"on one that died":                           {3, "2 10:00 1@1000 " + failover + "\n3 10:05 1@1000 " + failover, night, "10:02", "", "night 1 2 left:"},
		"a new repository, and no history there":     {3, "2 - 1@10 " + failover + "\n3 - 2@20 " + failover, "first 3 02:00 100", "12:00", "", "first 1 2 3"},
		"the same, before its first backup":          {3, "2 - 1@10 " + failover + "\n3 - 2@20 " + failover, "first 3 02:00 100", "01:00", "", "is before the end of the oldest backup that could lead there, on timeline 3"},
		"a history that is nowhere":                  {5, "", "four 4 02:00 100\nfive 5 03:00 120\n", "02:30", "", "four 4 left: timeline 4, which the cluster left at 2026-11-26 02:59:00+00:00 for timeline 5"},
		"a history that is nowhere, after it":        {5, "", "four 4 02:00 100\nfive 5 03:00 120\n", "03:30", "", "five 5"},
		"histories that were expired":                {7, "7 10:00 6@600 " + failover, "seven 7 10:30 700", "09:00", "", "before the end of the oldest backup that could lead there, on timeline 7"},
		"a copied repository, the newest file first": {3, "2 20:01 1@1000 " + failover + "\n3 20:00 2@1200 before 2026-11-26 12:00:07+00", night, "21:00", "", "night 1 2 3"},
		"a copied repository: all files are new":     {3, "2 20:00 1@1200 before 2026-11-26 12:00:07+00\n3 20:00 2@1330 " + failover, night + "two 2 13:10 1300\n", "13:15", "", "two 1 2 3"},
	} {
		c, err := past(t, tt.live, tt.histories, tt.backups).To(clockTime(t, tt.to), tt.name)
		got := c.Backup.Name
		for _, each := range c.Way {
			got += fmt.Sprintf(" %d", each.ID)
		}
		if c.Left != "" {
			got += " left: " + c.Left
		}
		if err != nil {
			got = err.Error()
		}
		if ok := got == tt.want || (err != nil || strings.Contains(tt.want, " left:")) && strings.Contains(got, tt.want); !ok {
			t.Errorf("%s: to %s\n got %s\nwant %s", what, tt.to, got, tt.want)
		}
		if err == nil && c.Timeline != c.Way[len(c.Way)-1].ID {
			t.Errorf("%s: timeline %d, and the way is %v", what, c.Timeline, c.Way)
		}
	}
}

// Who asks in a zone is answered in it.
func TestToInAZone(t *testing.T) {
	p := past(t, 2, "2 13:00 1@1200 reached consistency", "night 1 02:00 100")
	c, err := p.To(clockTime(t, "12:30").In(time.FixedZone("", 3*3600)), "")
	if want := "which the cluster left at 2026-11-26 16:00:00+03:00 when"; err != nil || !strings.Contains(c.Left, want) {
		t.Errorf("%q, %v; want %q", c.Left, err, want)
	}
}

func TestReadHistory(t *testing.T) {
	// What PostgreSQL 15 and 17 write. A restore to a time leaves an empty line.
	const text = "1\t0/3000110\tno recovery target specified\n\n2\t1/A0\tbefore 2026-11-26 12:00:00.5+00\n\n\n3\t1/B0\tno recovery target specified\n# restored by pgha to the end of 20261126T020000Z-db2\n" +
		"# somebody's note\n\n4\t1/C0\tno recovery target specified\n"
	got, err := ReadHistory(5, text)
	want := []Timeline{
		{ID: 1}, {ID: 2, Parent: 1, Fork: 0x3000110}, {ID: 3, Parent: 2, Fork: 1<<32 | 0xA0, Restored: true, To: "before 2026-11-26 12:00:00.5+00"},
		{ID: 4, Parent: 3, Fork: 1<<32 | 0xB0, Restored: true, To: "the end of 20261126T020000Z-db2"}, {ID: 5, Parent: 4, Fork: 1<<32 | 0xC0},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if got, err := ReadHistory(1, ""); err != nil || len(got) != 1 || got[0].ID != 1 {
		t.Errorf("the first timeline: %v, %v", got, err)
	}
	for reason, restored := range map[string]bool{
		failover: false, "after transaction 741": true, "before 2026-11-26 12:00:00+00": true, "after LSN 0/3000110": true, `at restore point "x"`: true, "reached consistency": true,
	} {
		if got, err := ReadHistory(2, "1\t0/3000110\t"+reason+"\n"); err != nil || got[1].Restored != restored {
			t.Errorf("%s: %v, %v", reason, got, err)
		}
	}
	for _, bad := range []string{"one\t0/3000110\tx", "1\tfive\tx", "1", "2\t0/3000110\tx", "0\t0/3000110\tx", "1\t0/1\tx\n1\t0/2\tx"} {
		if got, err := ReadHistory(2, bad); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
	if text := "1\t0/3000110\tno recovery target specified\n" + Comment("noon"); text != "1\t0/3000110\tno recovery target specified\n# restored by pgha to noon\n" {
		t.Error(text)
	}
}

// Without a moment the newest backup is taken that leads to the database of now: one of what a restore has left behind brings back what
// somebody wanted to be rid of, and is taken by its name alone, with a word.
func TestNewestOfNow(t *testing.T) {
	for _, tt := range []struct {
		name               string
		live               uint32
		histories, backups string
		want               string
		left               map[string]string
	}{
		{"nothing has happened", 1, "", "a 1 01:00 100\nb 1 02:00 200", "b", map[string]string{"a": "", "b": ""}},
		{"a failover", 2, "2 03:00 1@300 no recovery target specified", "a 1 01:00 100\nb 1 02:00 200", "b", map[string]string{"a": "", "b": ""}},
		{"taken back to a", 2, "2 03:00 1@100 reached consistency", "a 1 01:00 100\nb 1 02:00 200", "a",
			map[string]string{"a": "", "b": "timeline 1, which the cluster left at 2026-11-26 03:00:00+00:00 when it was restored to the end of a backup"}},
		{"taken back to a, and a backup since", 2, "2 03:00 1@100 reached consistency", "a 1 01:00 100\nb 1 02:00 200\nc 2 04:00 150", "c", map[string]string{"c": ""}},
		{"taken back to a, and then to b", 3, "2 03:00 1@100 reached consistency\n3 05:00 1@200 reached consistency", "a 1 01:00 100\nb 1 02:00 200\nc 2 04:00 150", "b",
			map[string]string{"b": "", "c": "timeline 2, which the cluster left at 2026-11-26 05:00:00+00:00 when it was restored to the end of a backup"}},
		{"all that is good was left", 2, "2 03:00 1@100 reached consistency", "bad-a 1 01:00 100\nb 1 02:00 200", "", map[string]string{"bad-a": ""}},
		{"the new timeline is not archived yet", 2, "2 - 1@100 reached consistency", "a 1 01:00 100\nb 1 02:00 200", "a",
			map[string]string{"b": "timeline 1, which is not the one of now, 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := past(t, tt.live, tt.histories, tt.backups)
			ahead := p
			ahead.Backups = append(slices.Clone(p.Backups), Backup{Name: "of-a-wrong-clock", Timeline: tt.live, Began: clockTime(t, "23:00"), Ended: clockTime(t, "23:01"), Good: true})
			if got := ahead.Newest(clockTime(t, "06:00")); got != tt.want {
				t.Errorf("the newest is %q, want %q", got, tt.want)
			}
			for name, want := range tt.left {
				if got := p.LeftOf(name, time.UTC); got != want {
					t.Errorf("%s is of %q, want %q", name, got, want)
				}
			}
		})
	}
}
