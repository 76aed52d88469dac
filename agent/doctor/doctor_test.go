package doctor

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Every case is a file: how the machine looks, over a healthy one, and beside it what is found.
func TestFindings(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.json")
	if err != nil || len(cases) == 0 {
		t.Fatal(cases, err)
	}
	fired := map[string]bool{}
	for _, file := range cases {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			l := look(t, file)
			var b strings.Builder
			for _, f := range Judge(l) {
				fired[f.Check] = true
				b.WriteString(said(f))
				if len(f.Mend) == 0 || f.Mend[0] == "" {
					t.Errorf("%s: nothing mends it", f.What)
				}
			}
			want := strings.TrimSuffix(file, ".json") + ".want"
			if *update {
				if err := os.WriteFile(want, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(golden), b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, c := range Checks {
		if !fired[c.Name] {
			t.Errorf("no case makes the check %q find anything", c.Name)
		}
	}
}

// look is how the machine of a case looks.
func look(t *testing.T, file string) *Look {
	t.Helper()
	l := healthy()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// JSON would be laid over the elements that are there.
	for field, empty := range map[string]func(){`"Members"`: func() { l.Cluster.Members = nil }, `"Units"`: func() { l.Units = nil }, `"Disks"`: func() { l.Disks = nil }} {
		if strings.Contains(string(body), field) {
			empty()
		}
	}
	decode := json.NewDecoder(strings.NewReader(string(body)))
	decode.DisallowUnknownFields()
	if err := decode.Decode(l); err != nil {
		t.Fatal(err)
	}
	l.Connect()
	return l
}

func said(f Finding) string {
	text := fmt.Sprintf("%s: %s\n  why: %s\n", f.Check, f.What, f.Why)
	for _, m := range f.Mend {
		text += fmt.Sprintf("  mend: %s\n", m)
	}
	return text
}

// TestPortsOfTheCluster has every case again, in a cluster with other ports: no command has one of the defaults, and none
// leaves a program to guess.
func TestPortsOfTheCluster(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.json")
	if err != nil || len(cases) == 0 {
		t.Fatal(cases, err)
	}
	p := cluster.DefaultPorts()
	old := regexp.MustCompile(fmt.Sprintf(`\b(%d|%d|%d|%d|%d|%d|%d|%d|%d)\b`, p.Postgres, p.Patroni, p.EtcdClient, p.EtcdPeer, p.ReadWrite, p.ReadOnly, p.Stats, p.PGHA, p.Metrics))
	psql, etcdctl := 0, 0
	for _, file := range cases {
		l := look(t, file)
		l.Ports = cluster.Ports{Postgres: 31847, Patroni: 31948, EtcdClient: 32049, EtcdPeer: 32150, ReadWrite: 32251, ReadOnly: 32352, Stats: 32453, PGHA: 32554, Metrics: 32655, SSH: 32756}
		for _, f := range Judge(l) {
			for line := range strings.Lines(said(f)) {
				if port := old.FindString(line); port != "" {
					t.Errorf("%s has the port %s: %s", file, port, line)
				}
				if strings.Contains(line, " psql ") {
					psql++
					if !strings.Contains(line, " psql -p 31847 ") {
						t.Errorf("%s: psql is not told the port: %s", file, line)
					}
				}
				if strings.Contains(line, "etcdctl") {
					etcdctl++
					if !strings.Contains(line, "etcdctl --endpoints=https://127.0.0.1:32049 --cacert=") {
						t.Errorf("%s: etcdctl is not told the port: %s", file, line)
					}
				}
			}
		}
	}
	if psql == 0 || etcdctl == 0 {
		t.Errorf("%d commands of psql and %d of etcdctl were seen", psql, etcdctl)
	}
}

func TestAHealthyMachineHasNothing(t *testing.T) {
	if found := Judge(healthy()); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}

// Nothing is known of a machine that could not be asked: what was not seen is not judged.
func TestNothingSeenIsNothingFound(t *testing.T) {
	if found := Judge(&Look{DB: true}); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}

// healthy is db1, a replica.
func healthy() *Look {
	member := func(name string) Member {
		return Member{Name: name, Etcd: true, Asked: true, Runs: true, State: "running", Timeline: 3, System: "7561"}
	}
	db2 := member("db2")
	db2.Leads = true
	unit := func(name string) Unit {
		return Unit{Name: name, Load: "loaded", Active: "active", Result: "success", Wanted: true, Restart: "always"}
	}
	return &Look{
		Name: "db1", DB: true, Ports: cluster.DefaultPorts(), Configured: true,
		Units:    []Unit{unit("etcd.service"), unit("patroni.service")},
		Disks:    []Disk{{Path: "/", Used: 40, Inodes: 10, Free: 50 << 30}},
		Cluster:  &Cluster{Members: []Member{member("db1"), db2, member("db3")}, Holder: "db2", Confirm: []string{"db1", "db3"}, ConfirmWant: 2},
		Etcd:     &Etcd{Size: 1 << 20, Quota: 2 << 30},
		Database: &Database{Limit: 10240, HBA: "/var/lib/postgresql/17/main/pg_hba.conf"},
	}
}
