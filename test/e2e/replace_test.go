package e2e

import (
	"os"
	"strings"
	"testing"
	"time"
)

// replaced: a machine is destroyed, a new one boots from the same image and seed, and nobody gives a command.
func (l *lab) replaced(t *testing.T) {
	l = l.on(t)
	before := l.healthy(time.Minute)
	t.Run("a replica", func(t *testing.T) { l.on(t).replace(before.replicas()[0]) })
	t.Run("the primary", func(t *testing.T) { l.on(t).replace(l.healthy(time.Minute).primary()) })
	t.Run("two at once", l.twoAtOnce)
}

// replace destroys a machine while an application writes.
func (l *lab) replace(victim string) {
	l.Helper()
	stop, file := l.write()
	witness := "db1"
	if victim == witness {
		witness = "db2"
	}
	// It waits for fifteen seconds only: both look all the time, and keep what they have seen.
	watchers := []string{witness, "proxy1"}
	l.onAll(watchers, "systemd-run", "--quiet", "--collect", "--unit=seen", "sh", "-c", "exec pgha status --watch >/run/seen")
	cut := time.Now()
	l.newDisks(victim)
	l.powerOn(victim)
	for _, machine := range watchers {
		l.eventually("pgha status on "+machine+" to say what "+victim+" waits for", time.Minute, func() bool {
			_, code := l.exec(machine, "grep", "-qF", victim+" waits: this machine has no data, and the member at its address had some", "/run/seen")
			return code == 0
		})
	}
	l.onAll(watchers, "systemctl", "stop", "seen")
	l.healthy(2 * time.Minute)
	whole := time.Since(cut)
	l.eventually("rows since", 10*time.Second, func() bool { return l.account(file).after(cut.Add(whole)) > 20 })
	stop()
	a := l.account(file)
	l.Logf("%s: whole again %.1f s after it was destroyed; %d rows acknowledged, outage %.1f s", victim, whole.Seconds(), len(a.acknowledged), a.outage().Seconds())
	l.keptAll(a)
	l.oneCluster()
	l.applyTwice(l.T)
}

// twoAtOnce are replaced beside one survivor: without a quorum nobody may, and nobody begins anew.
func (l *lab) twoAtOnce(t *testing.T) {
	l = l.on(t)
	l.newDisks("db2", "db3")
	l.powerOn("db2", "db3")
	for _, m := range []string{"db2", "db3"} {
		l.eventually(m+" to say that db1 alone is no quorum", time.Minute, func() bool {
			why, _ := l.waits(m)
			return strings.Contains(why, "the cluster exists on db1") && strings.Contains(why, "no quorum")
		})
	}
	l.refusesOrder("db2", "db1")

	// The survivor off: two machines without data look like a cluster that was never there, to all but the proxy.
	l.pgbake("lab", "fault", "power-cut", "db1")
	for _, m := range []string{"db2", "db3"} {
		l.eventually(m+" to wait for db1 longer than the others would", 3*time.Minute, func() bool {
			why, _ := l.waits(m)
			out, _ := l.exec(m, "journalctl", "-u", "pgha-apply", "-o", "cat", "--grep", "proxy1.*has seen this cluster alive")
			return strings.Contains(why, "no answer from db1") && strings.Count(out, "has seen this cluster alive") >= 2 // said once a minute
		})
		l.holdsNothing(m)
	}
	if _, err := os.Stat(l.disk("db1", "var/lib/postgresql/15/main/PG_VERSION")); err != nil {
		t.Errorf("the survivor's database: %v", err)
	}
}

// refusesOrder tries to order a new cluster beside one that has data.
func (l *lab) refusesOrder(machine, with string) {
	l.Helper()
	out, code := l.exec(machine, "pgha", "bootstrap", "--i-know-that-no-data-exists")
	if code == 0 || !strings.Contains(out, "there is data on "+with) {
		l.Errorf("pgha bootstrap on %s: exit code %d\n%s", machine, code, out)
	}
}
