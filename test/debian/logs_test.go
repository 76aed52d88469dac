package debian

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTelling(t *testing.T) {
	one := "2026-11-28T20:58:28.742051+00:00 db1 patroni[277]: 2026-11-28 20:58:28.742 UTC [277] FATAL:  password authentication failed\n" +
		"2026-11-28T20:58:28.756871+00:00 db1 patroni[278]: 2026-11-28 20:58:28.756 UTC [278] FATAL:  password authentication failed\n" +
		"2026-11-28T20:58:30.000000+00:00 db1 systemd[1]: Started etcd.service\n-- No entries --\n"
	two := "2026-11-28T20:58:28.750000+00:00 db2 etcd[9]: {\"level\":\"info\",\"msg\":\"failed before\"}\n" +
		"2026-11-28T20:58:28.760000+00:00 db2 patroni[280]: 2026-11-28 20:58:28.760 UTC [280] FATAL:  password authentication failed\n" +
		"2026-11-28T20:58:28.700000+00:00 db2 kernel: Out of memory: Killed process 1 (postgres)\n"
	want := []string{
		"2026-11-28T20:58:28.700000+00:00 db2 kernel: Out of memory: Killed process 1 (postgres)",
		"2026-11-28T20:58:28.756871+00:00 db1 patroni[278]: 2026-11-28 20:58:28.756 UTC [278] FATAL:  password authentication failed",
		"2026-11-28T20:58:28.760000+00:00 db2 patroni[280]: 2026-11-28 20:58:28.760 UTC [280] FATAL:  password authentication failed",
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), Telling(one, two)); diff != "" {
		t.Error(diff)
	}
	many := ""
	for c := 'a'; c <= 'z'; c++ {
		many += fmt.Sprintf("2026-11-28T20:58:%02d.000000+00:00 db1 x[1]: error %c%[2]c%[2]cz\n", c-'a', c)
	}
	if got := strings.Split(Telling(many), "\n"); len(got) != 20 || !strings.HasSuffix(got[19], "zzzz") {
		t.Errorf("%d lines, the last is %q", len(got), got[len(got)-1])
	}
}
