package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/agent/monitor"
)

// policy is what `apt-cache policy` of Debian 12 and 13 prints.
const policy = `libc6:
  Installed: 2.36-9+deb12u10
  Candidate: 2.36-9+deb12u13
  Version table:
     2.36-9+deb12u13 500
        500 http://mirror.example/debian bookworm/main amd64 Packages
     2.36-9+deb12u11 500
        500 http://mirror.example/debian-security bookworm-security/main amd64 Packages
 *** 2.36-9+deb12u10 100
        100 /var/lib/dpkg/status
base-files:
  Installed: 12.4+deb12u11
  Candidate: 12.4+deb12u15
  Version table:
     12.4+deb12u15 500
        500 http://mirror.example/debian bookworm/main amd64 Packages
 *** 12.4+deb12u11 100
        100 /var/lib/dpkg/status
openssl:
  Installed: 3.0.16-1
  Candidate: 3.0.17-2
  Version table:
     3.0.17-2 500
        500 http://mirror.example/debian bookworm-updates/main amd64 Packages
 *** 3.0.16-1 500
        500 http://mirror.example/debian-security bookworm-security/main amd64 Packages
        100 /var/lib/dpkg/status
     3.0.15-1 500
        500 http://mirror.example/debian-security bookworm-security/main amd64 Packages
haproxy:
  Installed: 2.6.12-1
  Candidate: 2.6.12-1+deb12u3
  Version table:
     2.6.12-1+deb12u3 990
        990 https://mirror.example/security stable-security/main amd64 Packages
 *** 2.6.12-1 -1
        100 /var/lib/dpkg/status
`

func TestPolicy(t *testing.T) {
	want := map[string]bool{"libc6": true, "base-files": false, "openssl": false, "haproxy": true}
	got := parsePolicy(policy)
	for name, security := range want {
		if got[name] != security {
			t.Errorf("%s: a security update waits: %v, want %v", name, got[name], security)
		}
	}
}

func TestUpdatesAreNoted(t *testing.T) {
	monday := time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)
	day := func(n int) time.Time { return monday.AddDate(0, 0, n) }
	openssl, haproxy := planned{"openssl", "1", "2"}, planned{"haproxy", "1", "2"}
	away := errors.New("apt-get update: exit status 100\n      hint: none")
	var n noted
	for i, step := range []struct {
		waiting []planned
		failed  error
		want    monitor.Updates
	}{
		{nil, away, monitor.Updates{Unanswered: day(0), Failed: "apt-get update: exit status 100"}},
		{nil, away, monitor.Updates{Unanswered: day(0), Failed: "apt-get update: exit status 100"}},
		{nil, nil, monitor.Updates{}},
		{[]planned{openssl}, nil, monitor.Updates{Waiting: 1, Since: day(3)}},
		{[]planned{openssl, haproxy}, nil, monitor.Updates{Waiting: 2, Since: day(3)}},
		{nil, away, monitor.Updates{Waiting: 2, Since: day(3), Unanswered: day(5), Failed: "apt-get update: exit status 100"}},
		{[]planned{haproxy}, nil, monitor.Updates{Waiting: 1, Since: day(4)}},
		{nil, nil, monitor.Updates{}},
	} {
		n = n.next(day(i), step.waiting, step.failed)
		if diff := cmp.Diff(step.want, n.Updates); diff != "" {
			t.Errorf("day %d (-want +got):\n%s", i, diff)
		}
	}
}
