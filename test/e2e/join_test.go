package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Machines without data, in every order, with their power cut on the way.

func TestJoin(t *testing.T) {
	beside(t)
	l := beginAnew(t, "join")
	t.Run("one after another", l.oneAfterAnother)
	t.Run("without the third", l.twoOfThree)
}

func TestJoinPowerCuts(t *testing.T) {
	beside(t)
	beginAnew(t, "join-power-cuts").powerCuts(t)
}

// beginAnew is a lab whose machines have booted once: the first boot is not the one that is looked at.
func beginAnew(t *testing.T, name string) *lab {
	t.Helper()
	l := open(t, quickstart(t, name, 13))
	l.atOnce()
	return l
}

// quickstart is the example under another name.
func quickstart(t *testing.T, scope string, debian int) string {
	t.Helper()
	return replaceOnce(t, example(t, "quickstart.yaml"), "\nscope: quickstart\n", "\nscope: "+scope+"\n") + fmt.Sprintf("debian: %d\n", debian)
}

var members = []string{"db1", "db2", "db3"}

// newDisks switches machines off and takes everything from them that they have written.
func (l *lab) newDisks(machines ...string) {
	l.Helper()
	for _, m := range machines {
		_, _ = l.try(l.Context(), "lab", "fault", "power-cut", m) // it may be off
		l.pgbake("lab", "fault", "disk-lost", m)
	}
}

func (l *lab) powerOn(machines ...string) {
	l.Helper()
	l.together(machines, func(m string) []string { return []string{"lab", "fault", "power-on", m} })
}

// waits is what a machine's agent waits for, and for how long; empty when it does not say.
func (l *lab) waits(machine string) (why string, since time.Duration) {
	l.Helper()
	out, err := l.try(l.Context(), "lab", "exec", machine, "--", "cat", "/run/pgha/status.json")
	var s struct {
		Waiting string
		Since   time.Time
	}
	if err != nil || json.Unmarshal([]byte(out), &s) != nil { // it boots
		return "", 0
	}
	return s.Waiting, time.Since(s.Since)
}

// disk is a file on a machine's disk, as this host sees it, whether the machine is on or off.
func (l *lab) disk(machine, path string) string {
	return filepath.Join("/var/lib/pgbake/lab", l.scope, machine, "upper", path)
}

// holdsNothing complains about a machine that has begun a cluster.
func (l *lab) holdsNothing(machine string) {
	l.Helper()
	for _, data := range []string{"var/lib/etcd/pgha/member/wal", "var/lib/postgresql/17/main/PG_VERSION"} {
		if _, err := os.Stat(l.disk(machine, data)); err == nil {
			l.Errorf("%s has %s", machine, data)
		}
	}
}

// oneAfterAnother leaves each machine to itself for longer than a boot takes.
func (l *lab) oneAfterAnother(t *testing.T) {
	l = l.on(t)
	l.newDisks(l.machines...)
	l.powerOn("db1")
	l.eventually("db1 to have waited half a minute for the others", time.Minute, func() bool {
		why, since := l.waits("db1")
		return strings.Contains(why, "no answer from db2") && strings.Contains(why, "and db3") && since > 30*time.Second
	})
	l.holdsNothing("db1")
	l.powerOn("db2")
	l.eventually("db1 and db2 to wait for db3 and the proxy", time.Minute, func() bool {
		why1, _ := l.waits("db1")
		why2, since := l.waits("db2")
		return strings.Contains(why1, "db3") && !strings.Contains(why1, "db2") &&
			strings.Contains(why2, "no answer from db3") && strings.Contains(why2, "proxy1") && since > 15*time.Second
	})
	l.eventually("pgha status on db1 to say what db2 waits for", 15*time.Second, func() bool {
		out, _ := l.exec("db1", "pgha", "status")
		return strings.Contains(out, "db2 waits: no answer from db3")
	})
	l.holdsNothing("db2")
	last := time.Now()
	l.powerOn("db3")
	l.powerOn("proxy1")
	l.healthy(2 * time.Minute)
	t.Logf("healthy %.1f s after the last machine was switched on", time.Since(last).Seconds())
	l.oneCluster()
}

// twoOfThree begin without the third, which comes when they have long been at work.
func (l *lab) twoOfThree(t *testing.T) {
	l = l.on(t)
	l.newDisks(l.machines...)
	began := time.Now()
	l.powerOn("db1", "db2", "proxy1")
	l.eventually("writes by two of three", 4*time.Minute, l.writes)
	if took := time.Since(began); took < time.Minute {
		t.Errorf("db1 and db2 have waited only %s for db3", took)
	}
	l.sql("CREATE TABLE seen(i int); INSERT INTO seen VALUES (42)")
	third := time.Now()
	l.powerOn("db3")
	l.healthy(2 * time.Minute)
	t.Logf("healthy %.1f s after the third was switched on", time.Since(third).Seconds())
	l.oneCluster()
	if !l.answers() {
		t.Error("the row is gone")
	}
}

// writes tells whether the cluster takes a write.
func (l *lab) writes() bool {
	_, err := l.try(l.Context(), "lab", "psql", "--", "-XAtqc", "CREATE TABLE IF NOT EXISTS written(i int); INSERT INTO written VALUES (1)")
	return err == nil
}

// powerCuts cut the power when a file appears on a disk: the steps of a first boot that something is decided by. Before
// etcd's first record nothing is.
func (l *lab) powerCuts(t *testing.T) {
	const pg = "var/lib/postgresql/17/main"
	for _, cut := range []struct {
		at     string
		victim string // empty for whoever comes there first
		all    bool   // everywhere at once
	}{
		{"var/lib/etcd/pgha/member/snap", "db3", true},
		{"var/lib/etcd/pgha/member/wal", "db1", false},
		{pg + "/PG_VERSION", "", false},
		{pg + "/global/pg_control", "", true},
		{"var/lib/pgha/cluster.json", "", true},
	} {
		name := filepath.Base(cut.at)
		if cut.all {
			name += ", everywhere"
		}
		t.Run(name, func(t *testing.T) {
			l := l.on(t)
			l.newDisks(l.machines...)
			l.powerOn(l.machines...)
			var victim string
			l.promptly("a file "+cut.at, time.Minute, func() bool {
				i := slices.IndexFunc(members, func(m string) bool {
					_, err := os.Stat(l.disk(m, cut.at))
					return err == nil && (cut.victim == "" || cut.victim == m)
				})
				if i >= 0 {
					victim = members[i]
				}
				return i >= 0
			})
			off := []string{victim}
			if cut.all {
				off = l.machines
			}
			l.together(off, func(m string) []string { return []string{"lab", "fault", "power-cut", m} })
			on := time.Now()
			l.powerOn(off...)
			l.healthy(4 * time.Minute)
			t.Logf("%s: healthy %.1f s after the power was back", victim, time.Since(on).Seconds())
			l.oneCluster()
			if !l.writes() {
				t.Error("it takes no write")
			}
		})
	}
}

// promptly is eventually for what passes quickly.
func (l *lab) promptly(what string, deadline time.Duration, holds func() bool) {
	l.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline *= slow
	for end := time.Now().Add(deadline); !holds(); <-tick.C {
		if time.Now().After(end) {
			l.Fatalf("waited %s for %s in vain", deadline, what)
		}
	}
}

// oneCluster complains unless all members are of one etcd cluster, each a voter, and of one PostgreSQL cluster.
func (l *lab) oneCluster() {
	l.Helper()
	numbers := map[string]bool{}
	for _, m := range members {
		l.eventually(m+" to remember the cluster", 30*time.Second, func() bool {
			out, code := l.exec(m, "cat", "/var/lib/pgha/cluster.json")
			if code == 0 {
				numbers[out] = true
			}
			return code == 0
		})
	}
	if len(numbers) != 1 {
		l.Errorf("the members are of different clusters: %v", numbers)
	}
	l.eventually("three voters", 30*time.Second, func() bool {
		out, code := l.exec("db1", "sh", "-c", "cd /etc/patroni/tls && etcdctl --endpoints=https://127.0.0.1:2379 "+
			"--cacert=ca.crt --cert=etcd-client.crt --key=etcd-client.key member list")
		return code == 0 && strings.Count(out, ", started, ") == 3 && strings.Count(out, ", false\n") == 3
	})
}
