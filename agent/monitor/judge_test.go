package monitor

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/agent/archive"
	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/agent/horizon"
	"github.com/pgbake/pgbake/cluster"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// sound is a cluster of three and a proxy in which all is well: db1 leads, db2 leads etcd.
func sound() *Seen {
	disk := func() []Disk { return []Disk{{Path: "/var/lib/postgresql", Total: 100 << 30, Free: 60 << 30}} }
	report := func() *Report {
		return &Report{At: noon, Every: 30, Disks: disk(), Clock: &Clock{Offset: 0.0001, Synchronised: true}}
	}
	db := func(name, id string) Machine {
		m := Machine{Name: name, Address: "10.0.0.1" + name[2:], Role: cluster.DB, Report: report(), Timed: true}
		m.Etcd = &Etcd{Healthy: true, ID: id, Leader: "b", Size: 1 << 20}
		m.Patroni = &Member{Role: "replica", State: "streaming", Timeline: 3, Location: 5 << 30, Replayed: noon}
		m.Trust = &cluster.Trust{Machine: name, First: "rest.crt", To: noon.Add(300 * 24 * time.Hour)}
		return m
	}
	proxy := Machine{Name: "proxy1", Address: "10.0.0.21", Role: cluster.Proxy, Report: report(), Timed: true}
	proxy.Routes = &Routes{ReadWrite: []string{"db1"}, ReadOnly: []string{"db2", "db3"}}
	s := &Seen{
		At: noon, Scope: "shop", Self: "proxy1", Ports: cluster.DefaultPorts(), Synchronous: true, Confirm: []string{"db2", "db3"}, Since: noon.Add(-100 * time.Hour),
		Machines: []Machine{db("db1", "a"), db("db2", "b"), db("db3", "c"), proxy},
	}
	s.Machines[0].Patroni.Role, s.Machines[0].Patroni.State, s.Machines[0].Patroni.Streams = "primary", "running", []string{"db2", "db3"}
	s.Machines[0].Report.Slots = []Slot{{Name: "db2", Active: true}, {Name: "db3", Active: true, Retained: 1 << 20}}
	return s
}

// gone makes machines silent.
func gone(s *Seen, names ...string) {
	for i := range s.Machines {
		m := &s.Machines[i]
		for _, name := range names {
			if m.Name == name {
				*m = Machine{Name: m.Name, Address: m.Address, Role: m.Role, Door: "no answer in time", NoPatroni: "no answer in time"}
			}
		}
	}
}

func backedUp(s *Seen, age time.Duration, failed string, proof time.Duration, unproven string) {
	s.Backups = true
	s.Machines[1].Backup = &Backups{
		Backup: &backup.Done{At: noon.Add(-age), Machine: "db2", Bytes: 1 << 30, Error: failed},
		Proof:  &backup.Proof{At: noon.Add(-proof), Backup: "base-1", Error: unproven},
	}
}

// m is the machine of that number.
func m(s *Seen, n int) *Machine { return &s.Machines[n-1] }

// cases spoil a sound cluster.
var cases = []struct {
	name  string
	spoil func(*Seen)
}{
	{"all is well", func(*Seen) {}},
	{"power cut of a replica", func(s *Seen) { gone(s, "db3"); m(s, 1).Patroni.Streams = []string{"db2"} }},
	{"power cut of the primary, nobody leads yet", func(s *Seen) { gone(s, "db1") }},
	{"this machine is cut off", func(s *Seen) { gone(s, "db1", "db2", "db3") }},
	{"a member is cut off", func(s *Seen) {
		s.Self = "db2"
		gone(s, "db1", "db3", "proxy1")
		m(s, 2).Etcd = &Etcd{ID: "b"}
	}},
	{"two leaders", func(s *Seen) { m(s, 3).Patroni.Role = "primary"; m(s, 3).Patroni.State = "running" }},
	{"no leader, all answer", func(s *Seen) { m(s, 1).Patroni.Role = "replica" }},
	{"Patroni answers nowhere", func(s *Seen) {
		for n := 1; n <= 3; n++ {
			m(s, n).Patroni, m(s, n).NoPatroni = nil, "connection refused"
		}
	}},
	{"etcd without quorum", func(s *Seen) {
		m(s, 1).Etcd.Healthy = false
		m(s, 2).Etcd.Healthy, m(s, 3).Etcd = false, nil
	}},
	{"etcd cannot be asked: no monitor runs", func(s *Seen) {
		for n := 1; n <= 3; n++ {
			m(s, n).Etcd, m(s, n).Age = nil, time.Hour
		}
	}},
	{"one etcd is down", func(s *Seen) { m(s, 3).Etcd.Healthy = false }},
	{"etcd is full", func(s *Seen) { m(s, 2).Etcd.Alarms = []string{"memberID:1 alarm:NOSPACE"} }},
	{"etcd fills", func(s *Seen) { m(s, 1).Etcd.Size, m(s, 2).Etcd.Size = 1537<<20, 1535<<20 }},
	{"etcd is full, and says so itself", func(s *Seen) {
		m(s, 2).Etcd.Size, m(s, 2).Etcd.Alarms = 2<<30, []string{"memberID:1 alarm:NOSPACE"}
	}},
	{"a replica is behind by bytes", func(s *Seen) { m(s, 2).Patroni.Location -= 200 << 20 }},
	{"a replica is behind by time", func(s *Seen) { m(s, 2).Patroni.Location--; m(s, 2).Patroni.Replayed = noon.Add(-5 * time.Minute) }},
	{"nothing was written for an hour", func(s *Seen) { m(s, 2).Patroni.Replayed = noon.Add(-time.Hour) }},
	{"a replica does not stream", func(s *Seen) { m(s, 1).Patroni.Streams = []string{"db2"}; m(s, 3).Patroni.State = "running" }},
	{"a replica does not start", func(s *Seen) { m(s, 3).Patroni.State = "start failed" }},
	{"a replica's data was set aside", func(s *Seen) {
		m(s, 3).Report.Recopied = &Recopied{At: noon, Aside: "/var/lib/postgresql/17/main.aside-20260101T120000.000Z", Why: "incorrect checksum in control file"}
	}},
	{"security updates wait for nine days, and one of a day", func(s *Seen) {
		m(s, 2).Report.Updates = &Updates{Waiting: 4, Since: noon.Add(-9 * 24 * time.Hour)}
		m(s, 3).Report.Updates = &Updates{Waiting: 1, Since: noon.Add(-24 * time.Hour)}
		m(s, 4).Report.Updates = &Updates{Waiting: 1, Since: noon.Add(-200 * time.Hour)}
	}},
	{"archives do not answer for nine days, and for a day", func(s *Seen) {
		m(s, 2).Report.Updates = &Updates{Unanswered: noon.Add(-9 * 24 * time.Hour), Failed: "apt-get update: exit status 100"}
		m(s, 3).Report.Updates = &Updates{Unanswered: noon.Add(-24 * time.Hour), Failed: "apt-get update: exit status 100"}
		m(s, 4).Report.Updates = &Updates{}
	}},
	{"users wait on a replica", func(s *Seen) { m(s, 2).Report.Roles = noon.Add(-time.Hour) }},
	{"users wait on the primary, which makes them", func(s *Seen) { m(s, 1).Report.Roles = noon.Add(-time.Hour) }},
	{"users wait while nobody leads", func(s *Seen) {
		m(s, 2).Report.Roles = noon.Add(-time.Hour)
		gone(s, "db1")
	}},
	{"no replica confirms", func(s *Seen) { s.Confirm = nil }},
	{"slots", func(s *Seen) {
		m(s, 1).Report.Slots = []Slot{{Name: "db2", Active: true, Retained: 5 << 30}, {Name: "old", Retained: 2 << 30}, {Name: "gone", Lost: true}}
	}},
	{"a disk fills", func(s *Seen) {
		m(s, 1).Report.Disks[0] = Disk{Path: "/var/lib/postgresql", Total: 100 << 30, Free: 40 << 30, Hours: 3}
		m(s, 2).Report.Disks[0] = Disk{Path: "/var/lib/postgresql", Total: 100 << 30, Free: 40 << 30, Hours: 20}
		m(s, 3).Report.Disks[0] = Disk{Path: "/var/lib/postgresql", Total: 100 << 30, Free: 90 << 30, Hours: 3}
	}},
	{"disks are full", func(s *Seen) {
		m(s, 1).Report.Disks[0].Free = 4 << 30
		m(s, 4).Report.Disks[0] = Disk{Path: "/", Total: 10 << 30, Free: 1 << 30}
	}},
	{"certificates end", func(s *Seen) {
		m(s, 1).Trust.To = noon.Add(-time.Hour)
		m(s, 2).Trust.To = noon.Add(3 * 24 * time.Hour)
		m(s, 3).Trust.To = noon.Add(20 * 24 * time.Hour)
	}},
	{"clocks", func(s *Seen) {
		m(s, 1).Report.Clock = &Clock{Offset: -0.7, Synchronised: true}
		m(s, 2).Skew = -time.Minute
		m(s, 3).Report.Clock, m(s, 4).Report.Clock = &Clock{}, &Clock{}
	}},
	{"no backup was ever taken", func(s *Seen) { s.Backups = true }},
	{"the first backup is yet to come", func(s *Seen) { s.Backups, s.Since = true, noon.Add(-time.Hour) }},
	{"a note of nothing", func(s *Seen) {
		backedUp(s, 0, "", 0, "")
		s.Machines[1].Backup = &Backups{Backup: s.Newest().Backup}
		s.Machines[1].Backup.Backup.At = time.Time{}
	}},
	{"the backup is old", func(s *Seen) { backedUp(s, 50*time.Hour, "", time.Hour, "") }},
	{"the backup failed", func(s *Seen) { backedUp(s, time.Hour, "pg_basebackup: no space left on device", time.Hour, "") }},
	{"the backup cannot be restored", func(s *Seen) { backedUp(s, time.Hour, "", time.Hour, "amcheck: corrupt index") }},
	{"the proof is old", func(s *Seen) { backedUp(s, time.Hour, "", 10*24*time.Hour, "") }},
	{"backup and proof are good", func(s *Seen) { backedUp(s, time.Hour, "", time.Hour, "") }},
	{"WAL is archived, and the repository has it", func(s *Seen) { archives(s, archive.State{Repository: &archive.Repository{Backup: "20261126-020000F"}}) }},
	{"archive_command fails", func(s *Seen) {
		archives(s, archive.State{Fails: "0000000300000001000000AB", Waiting: 12, WaitingBytes: 192 << 20, WaitingSeconds: 700, Hangs: false})
	}},
	{"archive_command hangs", func(s *Seen) {
		archives(s, archive.State{Waiting: 12, WaitingBytes: 192 << 20, WaitingSeconds: 700, Hangs: true})
	}},
	{"archive_command is at work", func(s *Seen) {
		archives(s, archive.State{Waiting: 1, WaitingBytes: 16 << 20, WaitingSeconds: 20, Hangs: true})
	}},
	{"archiving is slower than writing", func(s *Seen) {
		archives(s, archive.State{Waiting: 900, WaitingBytes: 900 << 24, WaitingSeconds: 3600})
	}},
	{"the archive has a hole", func(s *Seen) {
		archives(s, archive.State{Repository: &archive.Repository{Backup: "20261126-020000F", Hole: &archive.Hole{First: "0000000300000001000000AB", Last: "0000000300000001000000AF", Segments: 5, Reach: noon.Add(-time.Hour)}}})
	}},
	{"the archive lacks the backup's own WAL", func(s *Seen) {
		archives(s, archive.State{Repository: &archive.Repository{Backup: "20261126-020000F", Hole: &archive.Hole{First: "0000000300000001000000AB", Last: "0000000300000001000000AB", Segments: 1}}})
	}},
	{"the repository cannot be read", func(s *Seen) {
		archives(s, archive.State{Repository: &archive.Repository{Error: "the repository does not answer: pgbackrest: exit status 47"}})
	}},
	{"a hole that a replica told of when it led", func(s *Seen) {
		archives(s, archive.State{Fails: "0000000300000001000000AB"})
		m(s, 2).Report.Archive, m(s, 1).Report.Archive = m(s, 1).Report.Archive, nil
	}},
	{"failed units", func(s *Seen) { m(s, 1).Report.Failed = []string{"pgha-backup.service", "man-db.service"} }},
	{"HAProxy is down", func(s *Seen) { m(s, 4).Routes, m(s, 4).NoRoutes = nil, "connection refused" }},
	{"HAProxy has no server", func(s *Seen) { m(s, 4).Routes = &Routes{} }},
	{"HAProxy leads writers to a replica", func(s *Seen) { m(s, 4).Routes.ReadWrite = []string{"db3"} }},
	{"nobody has the virtual address", func(s *Seen) { s.VirtualAddress = "10.0.0.30" }},
	{"an agent does not answer", func(s *Seen) { m(s, 2).Door, m(s, 2).Report = "connection refused", nil }},
	{"a monitor does not run", func(s *Seen) { m(s, 2).Age = 3 * time.Minute }},
	{"PostgreSQL cannot be asked", func(s *Seen) {
		m(s, 2).Report.Unasked = map[string]string{"postgres": "psql does not answer"}
	}},
	{"Patroni is paused", func(s *Seen) { m(s, 1).Patroni.Paused = true }},
	{"a maintenance", func(s *Seen) { m(s, 1).Patroni.Paused = true; s.Maintenance = noon.Add(time.Hour) }},
	{"a restore", func(s *Seen) { m(s, 1).Patroni.Paused = true; s.Restore = "db2: restore to 12:00" }},
	{"a restore that stopped", func(s *Seen) { s.Restore, s.RestoreFailed = "db2: restore to 12:00, stopped: no room", "no room" }},
	{"a maintenance that was forgotten", func(s *Seen) { m(s, 1).Patroni.Paused = true; s.Maintenance = noon.Add(-time.Hour) }},
	{"the cluster follows a primary elsewhere", func(s *Seen) {
		s.Follows, s.Synchronous, s.Confirm = "10.9.9.9:5432", true, nil
		m(s, 1).Patroni.Role, m(s, 4).Routes.ReadWrite = StandbyLeader, nil
	}},
	{"no member streams from the primary elsewhere", func(s *Seen) {
		s.Follows = "10.9.9.9:5432"
		m(s, 1).Patroni.Role = "replica"
	}},
	{"transaction ids are old", func(s *Seen) { holds(s, 600_000_000, nil) }},
	{"PostgreSQL soon gives out no more of them", func(s *Seen) {
		holds(s, 2_000_000_000, &horizon.Holder{Kind: horizon.Slot, Age: 1_990_000_000, Seconds: -1, Name: "db3"})
	}},
	{"multixacts are old", func(s *Seen) {
		holds(s, 1, nil)
		m(s, 1).Report.Horizon.Multixacts = horizon.Oldest{Database: "template0", Age: 1_700_000_000, FreezeMax: 400_000_000, Closed: true}
	}},
	{"a replica told of old ids when it led", func(s *Seen) {
		holds(s, 600_000_000, nil)
		m(s, 2).Report.Horizon, m(s, 1).Report.Horizon = m(s, 1).Report.Horizon, nil
	}},
	{"a session holds xmin", func(s *Seen) {
		holds(s, 1, &horizon.Holder{Kind: horizon.Session, Age: 30_000_000, Seconds: 7200, PID: 4711, User: "app", Application: "x\nhint: y", Database: "app", State: "idle in transaction"})
	}},
	{"a query on a replica holds xmin", func(s *Seen) {
		holds(s, 1, &horizon.Holder{Kind: horizon.Slot, Age: 30_000_000, Seconds: -1, Name: "db3", Active: true})
	}},
	{"transactions stay prepared", func(s *Seen) {
		holds(s, 1, nil)
		m(s, 1).Report.Horizon.Prepared, m(s, 1).Report.Horizon.First = 2, &horizon.Prepared{GID: "it's", Owner: "app", Database: "app", Seconds: 4000}
	}},
	{"the slot elsewhere is read", func(s *Seen) { copies(s, Elsewhere{There: &Slot{Active: true, Retained: 1 << 30}, Limit: -1}) }},
	{"the slot elsewhere is read slowly", func(s *Seen) { copies(s, Elsewhere{There: &Slot{Active: true, Retained: 5 << 30}, Limit: -1}) }},
	{"nobody reads the slot elsewhere", func(s *Seen) { copies(s, Elsewhere{There: &Slot{Retained: 2 << 30}, Limit: -1}) }},
	{"nobody reads the slot elsewhere for long", func(s *Seen) { copies(s, Elsewhere{There: &Slot{Retained: 5 << 30}, Limit: -1}) }},
	{"nobody reads the slot elsewhere, which is limited", func(s *Seen) { copies(s, Elsewhere{There: &Slot{Retained: 5 << 30}, Limit: 10240}) }},
	{"nobody reads the slot elsewhere, and it holds little", func(s *Seen) { copies(s, Elsewhere{There: &Slot{Retained: 1 << 30}, Limit: -1}) }},
	{"the slot elsewhere is lost", func(s *Seen) { copies(s, Elsewhere{There: &Slot{Lost: true}, Limit: 10240}) }},
	{"there is no slot elsewhere", func(s *Seen) { copies(s, Elsewhere{}) }},
	{"the primary elsewhere takes no question", func(s *Seen) { copies(s, Elsewhere{Error: "no pg_hba.conf entry", Behind: 1 << 20}) }},
	{"the primary elsewhere does not answer", func(s *Seen) { copies(s, Elsewhere{Error: "timeout expired", Behind: -1}) }},
	{"the slot elsewhere after the cut-over", func(s *Seen) {
		copies(s, Elsewhere{There: &Slot{Retained: 5 << 30}, Limit: -1})
		s.Follows, m(s, 1).Patroni.Role, m(s, 4).Routes.ReadWrite = "", "primary", []string{"db1"}
		s.Confirm = []string{"db2", "db3"}
	}},
}

// holds is a primary that says what holds its transaction ids back.
func holds(s *Seen, age int64, h *horizon.Holder) {
	s.Machines[0].Report.Horizon = &horizon.Facts{TransactionIDs: horizon.Oldest{Database: "app", Age: age, FreezeMax: 200_000_000}, Holder: h}
}

// copies is a cluster that follows a primary elsewhere, and what its standby leader says of its slot there.
func copies(s *Seen, e Elsewhere) {
	s.Follows, s.Synchronous, s.Confirm = "10.9.9.9:5432", true, nil
	s.Machines[0].Patroni.Role, s.Machines[3].Routes.ReadWrite = StandbyLeader, nil
	e.Host, e.Slot = "10.9.9.9", "pgha_shop"
	s.Machines[0].Report.Elsewhere = &e
}

// archives is a cluster with a repository, and what its primary says of it.
func archives(s *Seen, a archive.State) {
	s.Repository = true
	s.Machines[0].Report.Archive = &a
}

// TestJudge: each case spoils a sound cluster, and testdata/judge.golden has every word that is said of it.
func TestJudge(t *testing.T) {
	var got strings.Builder
	for _, c := range cases {
		s := sound()
		c.spoil(s)
		fmt.Fprintf(&got, "== %s\n", c.name)
		for _, p := range Judge(s).Problems {
			fmt.Fprintf(&got, "%s %s (%d)\n   %s\n   %s\n", p.Severity, p.Key, p.Looks, p.Text, p.Hint)
		}
	}
	const golden = "testdata/judge.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("run with -update and read the difference (-want +got):\n%s", d)
	}
}

func TestHoursLeft(t *testing.T) {
	fill := func(every time.Duration, n int, free func(i int) int64) float64 {
		var list []Sample
		for i := range n {
			list = Remember(list, Sample{noon.Add(time.Duration(i) * every), free(i)})
		}
		return HoursLeft(list)
	}
	gib := int64(1 << 30)
	if got := fill(5*time.Minute, 13, func(i int) int64 { return 100*gib - int64(i)*gib }); got < 7.3 || got > 7.4 { // 12 GiB an hour, 88 left
		t.Errorf("a disk that fills by 12 GiB an hour, with 88 GiB free: %.2f hours", got)
	}
	if got := fill(5*time.Minute, 13, func(i int) int64 { return 50*gib + int64(i) }); got != 0 {
		t.Errorf("a disk that empties: %.2f hours", got)
	}
	if got := fill(5*time.Minute, 5, func(i int) int64 { return 100*gib - int64(i)*gib }); got != 0 {
		t.Errorf("after 20 minutes nothing is foretold: %.2f hours", got)
	}
	list := Remember([]Sample{{noon, 1}, {noon.Add(time.Hour), 2}}, Sample{noon.Add(-time.Hour), 3})
	if len(list) != 1 || list[0].Free != 3 {
		t.Errorf("after the clock was set back samples begin anew: %v", list)
	}
	if got := fill(30*time.Second, 10000, func(int) int64 { return gib }); got != 0 {
		t.Errorf("a disk at rest: %.2f hours", got)
	}
}

// TestPortsOfTheCluster has every case again, in a cluster with other ports: no hint has one of the defaults, and none leaves a
// program to guess.
func TestPortsOfTheCluster(t *testing.T) {
	p := cluster.DefaultPorts()
	old := regexp.MustCompile(fmt.Sprintf(`\b(%d|%d|%d|%d|%d|%d|%d|%d|%d)\b`, p.Postgres, p.Patroni, p.EtcdClient, p.EtcdPeer, p.ReadWrite, p.ReadOnly, p.Stats, p.PGHA, p.Metrics))
	program := regexp.MustCompile(`(psql|etcdctl) (\S+ \S+)`)
	told := map[string]string{"psql": "-p 31847", "etcdctl": "--endpoints=https://127.0.0.1:32049 --cacert=/etc/patroni/tls/ca.crt"}
	seen := map[string]int{}
	for _, c := range cases {
		s := sound()
		s.Ports = cluster.Ports{Postgres: 31847, Patroni: 31948, EtcdClient: 32049, EtcdPeer: 32150, ReadWrite: 32251, ReadOnly: 32352, Stats: 32453, PGHA: 32554, Metrics: 32655, SSH: 32756}
		c.spoil(s)
		for _, p := range Judge(s).Problems {
			if port := old.FindString(p.Hint); port != "" {
				t.Errorf("%s has the port %s: %s", p.Key, port, p.Hint)
			}
			for _, call := range program.FindAllStringSubmatch(p.Hint, -1) {
				seen[call[1]]++
				if call[2] != told[call[1]] {
					t.Errorf("%s: %s is not told the port: %s", p.Key, call[1], p.Hint)
				}
			}
		}
	}
	for name := range told {
		if seen[name] == 0 {
			t.Errorf("no hint calls %s", name)
		}
	}
}
