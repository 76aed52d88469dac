package e2e

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"
	"time"
)

// changed: a specification changes while the cluster runs: edited on every machine, then `pgha apply` on one after the other.
// Nobody notices but those who look for what is new.
func (l *lab) changed(t *testing.T) {
	l = l.on(t)
	spec := l.text
	before := l.healthy(time.Minute)
	const (
		postmasters = "SELECT pg_postmaster_start_time()"
		worker      = "pgrep --newest --exact haproxy"
	)
	started := map[string]string{}
	for _, m := range before.Members {
		started[m.Name] = l.superuser(m.Name, postmasters)
	}
	serving, _ := l.exec("proxy1", "sh", "-c", worker)

	// A session that works through the proxy all the time, and a client that writes.
	l.sql("CREATE TABLE finished(i int)")
	session := make(chan error, 1)
	go func() {
		_, err := l.try(t.Context(), "lab", "psql", "--", "-XAtq", "-v", "ON_ERROR_STOP=1",
			"-c", "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_tables WHERE tablename = 'go_on') LOOP PERFORM pg_sleep(0.1); END LOOP; END $$",
			"-c", "INSERT INTO finished VALUES (1)")
		session <- err
	}()
	stop, file := l.write()

	spec = replaceOnce(t, spec, "  databases:\n    - {name: app, owner: app}\n", "  databases:\n    - {name: app, owner: app}\n    - {name: reports, owner: reporter}\n")
	spec = replaceOnce(t, spec, "  users:\n    - name: app\n", "  users:\n    - name: app\n    - name: reporter\n"+
		"  parameters:\n    work_mem: 9MB\n    max_connections: 120 # wants a restart of PostgreSQL, which is the operator's to choose\n")
	spec += "failover: fast\n"
	if err := os.WriteFile(l.spec, []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	l.pgbake("init") // adds the password that is missing, and changes no other
	l.onAll(l.machines, "sh", "-c", "echo "+base64.StdEncoding.EncodeToString([]byte(spec))+" | base64 -d >/etc/pgha/cluster.yaml")
	var members []string
	for _, m := range before.Members {
		members = append(members, m.Name)
	}
	for _, machine := range append(before.replicas(), before.primary()) {
		if out, code := l.exec(machine, "sed", "-i", "s/^users:$/&\\n    reporter: "+l.password("reporter")+"/", "/etc/pgha/secrets.yaml"); code != 0 {
			t.Fatal(out)
		}
	}

	// The replicas first: whoever sees the settings first sends them, and the users wait for the primary.
	var said strings.Builder
	for _, machine := range append(before.replicas(), before.primary(), "proxy1") {
		out, code := l.exec(machine, "sh", "-c", "pgha apply 2>&1")
		if code != 0 {
			t.Fatalf("apply on %s: %s", machine, out)
		}
		said.WriteString(out)
	}
	for what, times := range map[string]int{
		"patch Patroni's dynamic configuration":           1,
		"bring users, databases and passwords up to date": 1,
		"passwords are the primary's to change":           len(before.Members) - 1,
		"reload-or-restart haproxy.service":               1,
		"reload-or-restart patroni.service":               len(before.Members),
		"restart etcd":                                    0,
	} {
		if got := strings.Count(said.String(), what); got != times {
			t.Errorf("%q was said %d times, want %d, in\n%s", what, got, times, said.String())
		}
	}

	for _, name := range members {
		l.eventually("the parameter on "+name, 20*time.Second, func() bool { return l.superuser(name, "SHOW work_mem") == "9MB" })
		if got := l.superuser(name, postmasters); got != started[name] {
			t.Errorf("PostgreSQL of %s was restarted: since %s, was %s", name, got, started[name])
		}
	}
	if out, _ := l.exec(before.primary(), "runuser", "-u", "postgres", "--", "patronictl", "-c", "/etc/patroni/config.yml", "show-config"); !strings.Contains(out, "ttl: 20") || !strings.Contains(out, "loop_wait: 3") {
		t.Errorf("Patroni's timers are not those of failover: fast\n%s", out)
	}
	if out, _ := l.exec(before.primary(), "pgha", "status"); !strings.Contains(out, "restart pending") {
		t.Errorf("pgha status does not say that a restart is pending:\n%s", out)
	}
	if got := l.sql("SELECT current_user, current_database()", "--user=reporter", "--database=reports"); got != "reporter|reports" {
		t.Errorf("the new user logs in as %s", got)
	}

	if now, code := l.exec("proxy1", "sh", "-c", worker); code != 0 || now == serving {
		t.Errorf("HAProxy was not reloaded: process %s", now)
	}
	stop()
	l.calm(l.account(file).Account)
	l.keptAll(l.account(file))
	l.sql("CREATE TABLE go_on()")
	if err := <-session; err != nil {
		t.Errorf("the session through HAProxy did not survive: %v", err)
	}
	if got := l.sql("SELECT count(*) FROM finished"); got != "1" {
		t.Errorf("the session wrote %s rows", got)
	}
	if after := l.healthy(30 * time.Second); after.primary() != before.primary() || after.Members[0].Timeline != before.Members[0].Timeline {
		t.Errorf("the primary has moved: %+v", after)
	}
	t.Run("apply twice", l.applyTwice)
	t.Run("a primary that was not told", func(t *testing.T) { l.on(t).untold(spec) })
}

// untold: a user whom only the replicas were told of is made when one of them leads, without a command; the old primary, told
// when it is back, has nothing to make.
func (l *lab) untold(spec string) {
	before := l.healthy(time.Minute)
	spec = replaceOnce(l.T, spec, "    - name: reporter\n", "    - name: reporter\n    - name: late\n")
	if err := os.WriteFile(l.spec, []byte(spec), 0o600); err != nil {
		l.Fatal(err)
	}
	l.pgbake("init")
	tell := func(machine string) (said string) {
		l.sh(machine, "echo "+base64.StdEncoding.EncodeToString([]byte(spec))+" | base64 -d >/etc/pgha/cluster.yaml")
		l.sh(machine, "sed -i 's/^users:$/&\\n    late: "+l.password("late")+"/' /etc/pgha/secrets.yaml")
		return l.sh(machine, "pgha apply 2>&1")
	}
	for _, machine := range before.replicas() {
		if said := tell(machine); !strings.Contains(said, "until then they wait here") {
			l.Errorf("%s says nothing of users that wait:\n%s", machine, said)
		}
	}
	l.pgbake("lab", "fault", "power-cut", before.primary())
	l.eventually("the user on the new primary", 2*time.Minute, func() bool {
		s, err := l.status()
		if err != nil || s.primary() == "" || s.primary() == before.primary() {
			return false
		}
		out, code := l.exec(s.primary(), "runuser", "-u", "postgres", "--", "psql", "-XAtc", "SELECT rolname FROM pg_roles WHERE rolname = 'late'")
		return code == 0 && strings.TrimSpace(out) == "late"
	})
	l.pgbake("lab", "fault", "power-on", before.primary())
	after := l.healthy(2 * time.Minute)
	if said := tell(before.primary()); strings.Contains(said, "bring users") || strings.Contains(said, "wait here") {
		l.Errorf("the old primary has users to make:\n%s", said)
	}
	for _, machine := range after.replicas() {
		l.eventually("nothing to wait for on "+machine, 20*time.Second, func() bool {
			_, code := l.exec(machine, "test", "-e", "/var/lib/pgha/roles.waiting.json")
			return code != 0
		})
	}
}

// superuser asks a member's PostgreSQL on its own socket.
func (l *lab) superuser(member, query string) string {
	l.Helper()
	out, code := l.exec(member, "runuser", "-u", "postgres", "--", "psql", "-XAtc", query)
	if code != 0 {
		l.Fatalf("%s: %s: %s", member, query, out)
	}
	return strings.TrimSpace(out)
}
