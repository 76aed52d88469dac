package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/agent"
	"github.com/pgbake/pgbake/agent/backup"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func TestListBackups(t *testing.T) {
	all := []backup.Held{
		{Record: backup.Record{Name: "20261118T020000Z-db2", Role: "replica", At: noon.AddDate(0, 0, -8), Bytes: 81750025, Verified: true},
			Proof: backup.Proof{At: noon.AddDate(0, 0, -7), Found: "2 databases, 1 tables, 1000 rows; every table and index checked"}},
		{Record: backup.Record{Name: "20261126T020000Z-db2", Role: "replica", At: noon.Add(-10 * time.Hour), Bytes: 812, Verified: true},
			Proof: backup.Proof{At: noon.Add(-time.Hour), Error: "prove 20261126T020000Z-db2: verify the copy: checksum mismatch"}},
	}
	state := backup.State{
		Backup: backup.Done{At: noon.Add(-time.Minute), Machine: "db2", Error: "back up: /var/backups has room for 1 MB"},
		Proof:  backup.Proof{At: noon.Add(-time.Hour), Error: "checksum mismatch"},
	}
	var b strings.Builder
	if err := listBackups(&b, all, state, noon); err != nil {
		t.Fatal(err)
	}
	const want = `BACKUP                AGE   SIZE     FROM     VERIFIED  PROVEN
20261118T020000Z-db2  8 d   81.8 MB  replica  yes       7 d ago: 2 databases, 1 tables, 1000 rows; every table and index checked
20261126T020000Z-db2  10 h  812 B    replica  yes       FAILED 60 min ago: prove 20261126T020000Z-db2: verify the copy: checksum mismatch

the last backup failed, 60 s ago on db2: back up: /var/backups has room for 1 MB
the last proof failed, 60 min ago: checksum mismatch
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestParseMoment(t *testing.T) {
	for _, s := range []string{"2026-11-26 12:00:00+00", "2026-11-26 12:00:00.000+00", "2026-11-26T12:00:00Z", "2026-11-26 15:00:00+03:00", "2026-11-26 12:00:00 +00:00"} {
		if got, err := parseMoment(s); err != nil || !got.Equal(noon) {
			t.Errorf("%s is %s: %v", s, got, err)
		}
	}
	local := time.Date(2026, 11, 26, 12, 0, 0, 0, time.Local) //nolint:gosmopolitan // what is tested
	if got, err := parseMoment("2026-11-26 12:00"); err != nil || !got.Equal(local) {
		t.Errorf("without a zone: %s: %v", got, err)
	}
	if got, err := parseMoment(""); err != nil || !got.IsZero() {
		t.Errorf("none: %s: %v", got, err)
	}
	if _, err := parseMoment("yesterday"); err == nil || !strings.Contains(err.Error(), "hint: such as") {
		t.Errorf("got %v", err)
	}
}

// Where a restore that was stopped stands, for whoever comes to it at night.
func TestPrintPlan(t *testing.T) {
	p := backup.Plan{
		Machine: "db2", Backup: "20261126T020000Z-db2", Primary: "db1", Others: []string{"db1"}, Data: "/data", Staged: "/data.restored", Aside: "/data.aside-1",
		Began: noon, Taken: noon, Bytes: 1000,
	}
	var b strings.Builder
	printPlan(&b, &agent.Restore{Plan: p, Next: backup.StepStart, Error: "Patroni does not answer"})
	const want = `This takes the whole cluster back to the end of 20261126T020000Z-db2.
What was written after that is no longer in the database; it stays in the one that is kept.

done 1. verify 20261126T020000Z-db2
done 2. switch over from db1 to this machine
done 3. restore to the end of 20261126T020000Z-db2 in /data.restored, beside the database that goes on serving
done 4. pause Patroni: nobody fails over meanwhile
done 5. stop PostgreSQL on this machine: from here on nobody writes
done 6. keep the database of today as /data.aside-1; put the restored one in its place
fail 7. start it, under Patroni, as the primary: applications write again
     8. end the pause, as soon as no member could lead with the database of today
     9. wait for the copies of db1; what they have goes

it stopped at: Patroni does not answer
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
