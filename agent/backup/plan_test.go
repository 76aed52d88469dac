package backup

import (
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/agent/archive"
)

func TestMake(t *testing.T) {
	from := Held{Record: Record{Name: "20261126T020000Z-db2", Verified: true, Version: 17, System: "7", At: night, Ended: night.Add(time.Minute)}}
	base := Facts{
		Self: "db2", From: from, Now: night.Add(time.Hour), System: "7", Version: 17, Data: "/data", Size: 1 << 30, Free: 2 << 30,
		Members: []Member{{Name: "db1", Primary: true}, {Name: "db2", Replica: true}, {Name: "db3", Replica: true}},
	}
	for what, tt := range map[string]struct {
		change func(*Facts)
		want   string // in the error; none when empty
	}{
		"all well":                          {func(*Facts) {}, ""},
		"not verified":                      {func(f *Facts) { f.From.Verified = false }, "is not verified"},
		"another version":                   {func(f *Facts) { f.From.Version = 15 }, "is of PostgreSQL 15, and the cluster runs 17"},
		"another database":                  {func(f *Facts) { f.From.System = "8" }, "when all machines were lost, and these are the new ones: pgha restore --another-database"},
		"another database, in a repository": {func(f *Facts) { f.From.System = "8"; f.Repository = true }, "is of another database"},
		"another version, in a repository":  {func(f *Facts) { f.From.Version = 15; f.Repository = true }, "is of PostgreSQL 15"},
		"all was lost":                      {func(f *Facts) { f.From.System = "8"; f.Another = true }, ""},
		"nothing was lost":                  {func(f *Facts) { f.Another = true }, "without --another-database"},
		"a moment, no WAL":                  {func(f *Facts) { f.To = f.Now }, "without an archive of the WAL a backup restores the database only as it was"},
		"a moment":                          {func(f *Facts) { f.To = f.Now; f.Repository = true }, ""},
		"a moment ago": {func(f *Facts) {
			f.Now = f.Now.Add(500 * time.Millisecond)
			f.To = f.Now.Add(-time.Millisecond)
			f.Repository = true
		}, ""},
		"the future":         {func(f *Facts) { f.To = f.Now.Add(time.Second); f.Repository = true }, "is in the future"},
		"before the backup":  {func(f *Facts) { f.To = night; f.Repository = true }, "is before the end of the oldest backup"},
		"behind a hole":      {hole(night.Add(30*time.Minute), night.Add(40*time.Minute)), "lies behind a hole in the archive: 5 segments of WAL, from 0000000300000001000000AB on, are not there\n      hint: 20261126T020000Z-db2 can be restored a moment up to 2026-11-26T02:30:00Z;"},
		"before a hole":      {hole(night.Add(30*time.Minute), night.Add(20*time.Minute)), ""},
		"a hole at once":     {hole(time.Time{}, night.Add(2*time.Minute)), "a moment before the end of 20261126T020000Z-db2;"},
		"no moment, a hole":  {hole(night.Add(30*time.Minute), time.Time{}), ""},
		"no room":            {func(f *Facts) { f.Free = 1 << 20 }, "has room for 1 MB beside the database of today"},
		"a disk beyond full": {func(f *Facts) { f.Free = -1 }, "has room for 0 MB"},
	} {
		f := base
		tt.change(&f)
		_, err := Make(f)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", what, err, tt.want)
		}
	}
	p, _ := Make(base)
	var text strings.Builder
	for _, s := range Steps {
		text.WriteString(p.Says(s) + "\n")
	}
	const want = `verify 20261126T020000Z-db2
switch over from db1 to this machine
restore to the end of 20261126T020000Z-db2 in /data.restored-20261126T030000Z, beside the database that goes on serving
pause Patroni: nobody fails over meanwhile
stop PostgreSQL on this machine: from here on nobody writes
keep the database of today as /data.aside-20261126T030000Z; put the restored one in its place
start it, under Patroni, as the primary: applications write again
end the pause, as soon as no member could lead with the database of today
wait for the copies of db1 and db3; what they have goes
`
	if text.String() != want {
		t.Errorf("the plan is\n%s", text.String())
	}
}

func TestPlanSaysTheTimeline(t *testing.T) {
	f := Facts{From: Held{Record: Record{Name: "one", Verified: true}}, Repository: true, To: night, Now: night.Add(time.Hour), Data: "/data",
		Timeline: "current", Left: "timeline 1, which the cluster left at noon"}
	p, err := Make(f)
	if err != nil || p.Timeline != "current" {
		t.Errorf("%+v, %v", p, err)
	}
	if got, want := p.Says(StepCopy), "restore to 2026-11-26 02:00:00+00:00 on timeline 1, which the cluster left at noon, in "; !strings.HasPrefix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	p.Reached = &Reached{Last: night.Add(-time.Minute)}
	if got, want := p.Back(), "2026-11-26 02:00:00+00:00; the last transaction in it is of 2026-11-26 01:59:00+00:00"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// hole is an archive that is whole up to a moment, and another one to restore to.
func hole(reach, to time.Time) func(*Facts) {
	return func(f *Facts) {
		f.Repository, f.To = true, to
		f.Hole = &archive.Hole{First: "0000000300000001000000AB", Last: "0000000300000001000000AF", Segments: 5, Reach: reach}
	}
}

func TestPlanOfAnotherDatabase(t *testing.T) {
	f := Facts{
		Self: "db1", From: Held{Record: Record{Name: "20261126-020000F", Verified: true, Version: 17, System: "8", At: night, Ended: night}}, Repository: true, Another: true,
		Now: night.Add(time.Hour), System: "7", Version: 17, Data: "/data", Size: 1, Free: 2,
	}
	p, err := Make(f)
	if err != nil || p.Another != "8" || !p.Newest() || p.Moment() != "the end of what the repository has" {
		t.Errorf("%+v, %s: %v", p, p.Moment(), err)
	}
	f.To = night.Add(time.Minute)
	if p, err = Make(f); err != nil || p.Newest() {
		t.Errorf("to a moment: %+v: %v", p, err)
	}
}
