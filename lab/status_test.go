package lab

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// healthy is three members and a proxy; change makes something of it unhealthy.
func healthy(change func(s *Status)) Status {
	s := Status{
		Members: []Member{
			{Name: "node1", On: true, Role: "primary", State: "running"},
			{Name: "node2", On: true, Role: "quorum standby", State: "streaming"},
			{Name: "node3", On: true, Role: "replica", State: "streaming"},
		},
		Proxies: []Proxy{{Name: "proxy1", On: true, ReadWrite: []string{"node1"}}},
	}
	change(&s)
	return s
}

func TestProblem(t *testing.T) {
	for want, change := range map[string]func(s *Status){
		"":                                 func(*Status) {},
		"node3 is off":                     func(s *Status) { s.Members[2].On = false },
		"node3 is starting, not streaming": func(s *Status) { s.Members[2].State = "starting" },
		"node3 boots":                      func(s *Status) { s.Members[2] = Member{Name: "node3", On: true} },
		"node3: waits for etcd":            func(s *Status) { s.Members[2] = Member{Name: "node3", On: true, Note: "waits for etcd"} },
		"several primaries: node1, node3":  func(s *Status) { s.Members[2].Role = "primary"; s.Members[2].State = "running" },
		"node1 is not running, not streaming; no primary": func(s *Status) {
			s.Members[0].Role, s.Members[0].State = "replica", "not running"
		},
		"proxy1 leads to []":            func(s *Status) { s.Proxies[0].ReadWrite = nil },
		"proxy1 leads to [node1 node2]": func(s *Status) { s.Proxies[0].ReadWrite = []string{"node1", "node2"} },
		"proxy1 leads to [node2]":       func(s *Status) { s.Proxies[0].ReadWrite = []string{"node2"} },
		"proxy1 is off":                 func(s *Status) { s.Proxies[0].On = false },
		"no proxy holds 10.0.0.9":       func(s *Status) { s.VirtualAddress = netip.MustParseAddr("10.0.0.9") },
		"10.0.0.9 is held by proxy1 and proxy2": func(s *Status) {
			s.VirtualAddress, s.Proxies[0].Holds = netip.MustParseAddr("10.0.0.9"), true
			s.Proxies = append(s.Proxies, Proxy{Name: "proxy2", On: true, Holds: true, ReadWrite: []string{"node1"}})
		},
	} {
		if got := healthy(change).Problem(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The answers were recorded from Patroni 3.0.2 and 4.0.7.
func TestCombine(t *testing.T) {
	for patroni, cluster := range map[string]map[string]string{
		"3.0.2": {}, // no replica counted yet
		"4.0.7": {"db1": "quorum_standby", "db2": "quorum_standby", "db3": "leader"},
	} {
		body, err := os.ReadFile("testdata/patroni-" + patroni + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var answers []patroniAnswer
		if err := json.Unmarshal(body, &answers); err != nil {
			t.Fatal(err)
		}
		s := Status{Members: []Member{{Name: "db1", Lag: -1}, {Name: "db2", Lag: -1}, {Name: "db3", Lag: -1}}}
		for i := range answers {
			if role := answers[i].Role; role == "primary" || role == "master" {
				answers[i].cluster = cluster
			}
		}
		s.combine(answers)
		var got strings.Builder
		for _, m := range s.Members {
			if err := json.NewEncoder(&got).Encode([]any{m.Name, m.Role, m.State, m.Timeline, m.Lag}); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile("testdata/patroni-" + patroni + ".want")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("Patroni %s: %s", patroni, diff)
		}
	}
}

func TestServersUp(t *testing.T) {
	answer, err := os.ReadFile("testdata/haproxy-2.6.csv")
	if err != nil {
		t.Fatal(err)
	}
	var asked bytes.Buffer
	up, err := serversUp(struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(answer), &asked})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"postgres_rw": {"db3"}, "postgres_ro": {"db1", "db2"}}
	if diff := cmp.Diff(want, up); diff != "" {
		t.Error(diff)
	}
	if _, err := serversUp(struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(answer[:len(answer)/2]), &asked}); err == nil {
		t.Error("half an answer was taken for a whole one")
	}
}

func TestShownOnAConsole(t *testing.T) {
	for name, tc := range map[string]struct{ console, want string }{
		"nothing":  {"", ""},
		"a kernel": {"[    0.1] first\r\n[    0.2] second\r\n", "boots: [    0.2] second"},
		"colours":  {"[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mbasic.target\x1b[0m - Basic System.\r\r\n", "boots: [  OK  ] Reached target basic.target - Basic System."},
		"a menu":   {"GRUB\n\x1b[2J\x1b[01;01Hup and down\x1b[04;80H\x1b[07;03HDebian    \x1b[09;01H  Booting `Debian'\r\r", "boots: Booting `Debian'"},
		"long":     {strings.Repeat("x", 100), "boots: " + strings.Repeat("x", 60) + "…"},
	} {
		file := filepath.Join(t.TempDir(), "console.log")
		if err := os.WriteFile(file, []byte(tc.console), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := shown(file); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
