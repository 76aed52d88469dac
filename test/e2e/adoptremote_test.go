package e2e

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The primary elsewhere: a second address of db3's card, which the cluster knows nothing of.
const (
	theirs     = "10.20.0.99"
	theirsData = "/srv/old"
	theirPsql  = "runuser -u postgres -- psql -Xqh " + theirsData + " -d postgres"
	startTheir = "systemd-run --quiet --unit=theirs -p User=postgres -p KillSignal=SIGINT -p KillMode=mixed /usr/lib/postgresql/17/bin/postgres -D " + theirsData + "/data\n"
)

// aPrimaryElsewhere is one that somebody made by hand, with a certificate of its own.
const aPrimaryElsewhere = `set -eu
ip address add ` + theirs + `/24 dev host0
install -d -o postgres -m 700 ` + theirsData + `
cd ` + theirsData + `
as() { runuser -u postgres -- "$@"; }
as /usr/lib/postgresql/17/bin/initdb -A peer --locale=C.UTF-8 data >/dev/null
mv /root/tls.crt data/server.crt
mv /root/tls.key data/server.key
chown postgres data/server.*
cat >>data/postgresql.conf <<-'EOF'
	listen_addresses = '` + theirs + `'
	unix_socket_directories = '` + theirsData + `'
	ssl = on
	work_mem = 7MB
	max_connections = 150
EOF
echo 'hostssl app app all scram-sha-256' >>data/pg_hba.conf
` + startTheir + `
timeout 30 sh -c 'until pg_isready -q -h ` + theirsData + `; do sleep 0.1; done'
as psql -Xqh ` + theirsData + ` -v ON_ERROR_STOP=1 <<-'EOF'
	CREATE ROLE app LOGIN PASSWORD 'from before: it''s \ ours';
	CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'somebody streams by it';
	CREATE DATABASE app OWNER app;
	\c app
	SET ROLE app;
	CREATE TABLE ledger(n bigint PRIMARY KEY);
	CREATE TABLE things AS SELECT i, 'thing ' || i AS name FROM generate_series(1, 10000) i;
	CREATE UNLOGGED TABLE scratch AS SELECT 1 AS i;
EOF
`

// slotElsewhere is what the monitor reports of a slot that is read.
var slotElsewhere = regexp.MustCompile(`"there":\{"name":"pgha_elsewhere[_0-9]*","active":true,`)

// A primary elsewhere is copied by streaming while it serves, and handed over.
func TestAdoptRemote(t *testing.T) {
	beside(t)
	certificate, key := selfSigned(t, theirs)
	// The other one has a role replicator, whose password is not the cluster's to change.
	spec := replaceOnce(t, quickstart(t, "elsewhere", 13), "\npostgres:\n", "\npostgres:\n  replication_user: streams\n") + "adopt:\n  remote:\n    host: " + theirs + "\n    ca: |\n      " +
		strings.ReplaceAll(strings.TrimSpace(certificate), "\n", "\n      ") + "\n"
	l := open(t, spec)
	l.atOnce()
	l.eventually("db1 to wait for the primary elsewhere", 2*time.Minute, func() bool {
		why, _ := l.waits("db1")
		return strings.Contains(why, "ask the primary at "+theirs) && strings.Contains(why, "pgbake adopt")
	})
	for _, m := range members {
		if _, err := os.Stat(l.disk(m, filepath.Join(pgData, "PG_VERSION"))); err == nil {
			t.Errorf("%s has made a database", m)
		}
	}
	l.put("db3", "/root/tls.crt", certificate)
	l.put("db3", "/root/tls.key", key)
	l.sh("db3", aPrimaryElsewhere)

	// What `pgbake adopt` prints: SQL for psql, and in its comments the lines of pg_hba.conf. db3, whose card has the other
	// primary, must not be the one that copies it: its line comes later.
	l.put("db3", "/root/adopt.sql", l.pgbake("adopt"))
	hba, own := theirsData+"/data/pg_hba.conf", l.addresses()["db3"]+"/32"
	l.sh("db3", "cp "+hba+" /root/hba; sed -n 's/^--   //p' /root/adopt.sql >/root/lines; grep -q -F "+own+" /root/lines; grep -v -F "+own+" /root/lines | cat - /root/hba >"+hba)
	l.sh("db3", "(cat /root/adopt.sql; echo 'SELECT pg_reload_conf();') | "+theirPsql)
	const replicator = "echo \"SELECT rolpassword FROM pg_authid WHERE rolname = 'replicator'\" | " + theirPsql + " -At"
	somebodys := l.sh("db3", replicator)
	// Twice does no harm; and for a role that somebody else has made, it changes nothing and says what to do.
	l.sh("db3", theirPsql+" </root/adopt.sql")
	if out := l.sh("db3", "sed s/streams/replicator/g /root/adopt.sql | "+theirPsql+" 2>&1 && echo accepted || :; rm /root/adopt.sql"); !strings.Contains(out, "the role replicator is there already") || strings.Contains(out, "accepted") {
		t.Errorf("a role that somebody has made: %s", out)
	}
	if out := l.sh("db3", replicator); out != somebodys || !strings.HasPrefix(out, "SCRAM-SHA-256$") {
		t.Errorf("the password of somebody's role is %s, and was %s", out, somebodys)
	}
	stop, file := l.writeTo(url.URL{
		Scheme: "postgres", User: url.UserPassword("app", oldSecret), Host: theirs, Path: "app", RawQuery: "sslmode=require&connect_timeout=3",
	})
	l.eventually("a member that copies the primary elsewhere", 3*time.Minute, func() bool { return l.standbyLeader() != "" })
	l.sh("db3", "cat /root/lines /root/hba >"+hba+"; echo 'SELECT pg_reload_conf();' | "+theirPsql)

	leader := l.threeFollow()
	if leader == "db3" {
		t.Fatal("db3 has copied it, which it was not let to")
	}
	// The others have copied at the same time, each by a slot that is gone.
	if got := l.superuser(leader, "SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots"); strings.Contains(got, "pgha_") {
		t.Errorf("slots on the member that copied first: %s", got)
	}
	// Its monitor watches the slot on the other one, where it could fill a disk.
	l.eventually("the monitor to ask for the slot elsewhere", 2*time.Minute, func() bool {
		// A lab beside another one of its name has a number behind it.
		return slotElsewhere.MatchString(l.sh(leader, "cat /run/pgha/report.json || :"))
	})
	for _, m := range members {
		if out := l.sh(m, "journalctl -u patroni | grep -e 'failed to bootstrap' -e 'Error creating replica' || :"); out != "" {
			t.Errorf("%s did not copy at the first try:\n%s", m, out)
		}
	}
	// What the first copy left in /run is gone after a boot, and whoever leads now may never have had it.
	l.pgbake("lab", "fault", "power-cut", leader)
	l.powerOn(leader)
	leader = l.threeFollow()
	l.followsElsewhere(leader)
	t.Run("a primary that was killed", func(t *testing.T) { l.on(t).killedElsewhere(leader) })

	// The cut-over: a person shuts the other one down when told to.
	done := make(chan string, 1)
	go func() {
		out, err := l.try(t.Context(), "lab", "exec", leader, "--", "sh", "-c", "pgha cutover --yes --timeout 90s 2>&1")
		if err != nil {
			out += err.Error()
		}
		done <- out
	}()
	l.eventually("the word to shut it down", time.Minute, func() bool {
		why, _ := l.waits(leader)
		return strings.Contains(why, "still streams")
	})
	// A mere restart looks the same for a moment, and is none.
	l.sh("db3", "systemctl restart theirs")
	l.eventually("the cluster to follow it again", time.Minute, func() bool {
		why, _ := l.waits(leader)
		return strings.Contains(why, "still streams") && l.superuser(leader, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1"
	})
	l.sh("db3", "systemctl stop theirs")
	said := <-done
	t.Logf("%s", said)
	if !strings.Contains(said, "this cluster leads: nobody could write for ") {
		t.Fatal("the cut-over failed")
	}
	stop()
	l.onAll(members, "pgha", "apply")
	if s := l.healthy(2 * time.Minute); s.primary() != leader {
		t.Errorf("the primary is %s, and %s has streamed", s.primary(), leader)
	}
	for _, tt := range []struct{ query, want string }{
		{"SELECT count(*) FROM things", "10000"}, {"SHOW work_mem", "7MB"}, {"SHOW max_connections", "150"}, {"INSERT INTO ledger VALUES (-1) RETURNING n", "-1"},
	} {
		if out, err := l.asRole("app", "app", oldSecret, tt.query); err != nil || out != tt.want {
			t.Errorf("%s: %s %v, want %s", tt.query, out, err, tt.want)
		}
	}
	l.keptAllOf(l.account(file))
	if out := l.sh(leader, "pgha cutover"); !strings.Contains(out, "follows nobody") {
		t.Errorf("after the cut-over: %s", out)
	}
	l.oneCluster()
	l.applyTwice(t)
	t.Run("power cut", func(t *testing.T) {
		l := l.on(t)
		l.pgbake("lab", "fault", "power-cut", leader)
		l.eventually("every thing at another primary", 2*time.Minute, func() bool {
			out, err := l.asRole("app", "app", oldSecret, "INSERT INTO ledger VALUES (-2) ON CONFLICT DO NOTHING; SELECT count(*) FROM things")
			return err == nil && out == "10000"
		})
	})
}

// keptAllOf complains about rows that the primary elsewhere has acknowledged and that are not here.
func (l *lab) keptAllOf(a account) {
	l.Helper()
	out, err := l.asRole("app", "app", oldSecret, "SELECT n FROM ledger")
	if err != nil {
		l.Fatal(err)
	}
	there := map[string]bool{}
	for _, n := range strings.Fields(out) {
		there[n] = true
	}
	lost := 0
	for _, n := range a.acknowledged {
		if !there[strconv.Itoa(n)] {
			lost++
		}
	}
	l.Logf("%d rows acknowledged by the primary elsewhere, %d lost", len(a.acknowledged), lost)
	if lost > 0 {
		l.Errorf("%d of %d acknowledged rows are lost", lost, len(a.acknowledged))
	}
}

// threeFollow waits until the primary elsewhere streams to one member, which it returns, and that one to the others.
func (l *lab) threeFollow() (leader string) {
	l.Helper()
	l.eventually("three members that follow the primary elsewhere", 3*time.Minute, func() bool {
		leader = l.standbyLeader()
		if leader == "" {
			return false
		}
		out, _ := l.exec(leader, "pgha", "cutover")
		return strings.Contains(out, "bytes behind it") && !strings.Contains(out, "does not stream")
	})
	return leader
}

// standbyLeader is the member that streams from elsewhere, as db1 knows; empty when none does.
func (l *lab) standbyLeader() string {
	l.Helper()
	out, err := l.try(l.Context(), "lab", "exec", "db1", "--", "sh", "-c", "pgha status --json || :")
	var s status
	if err != nil || json.Unmarshal([]byte(out), &s) != nil {
		return ""
	}
	for _, m := range s.Members {
		if m.Role == "standby leader" {
			return m.Name
		}
	}
	return ""
}

// followsElsewhere: everybody says that there is no primary, and why, and who will notice when there is.
func (l *lab) followsElsewhere(leader string) {
	l.Helper()
	for _, m := range []string{"db1", "proxy1"} {
		out, code := l.exec(m, "pgha", "status")
		if code != 3 || !strings.Contains(out, "the cluster follows the primary at "+theirs) {
			l.Errorf("pgha status on %s: exit code %d\n%s", m, code, out)
		}
	}
	out, _ := l.exec(leader, "pgha", "cutover")
	for _, want := range []string{"database app: unlogged tables are empty in the copy: public.scratch", "next: stop the applications"} {
		if !strings.Contains(out, want) {
			l.Errorf("not a word of %q in\n%s", want, out)
		}
	}
	for _, m := range members {
		if m == leader {
			continue
		}
		if out, code := l.exec(m, "pgha", "cutover", "--yes"); code != 1 || !strings.Contains(out, "run it there") {
			l.Errorf("cut over on %s: exit code %d\n%s", m, code, out)
		}
	}
}

// killedElsewhere: a primary that did not shut down in order may have what is not here.
func (l *lab) killedElsewhere(leader string) {
	l.Helper()
	l.sh("db3", "systemctl kill --signal=KILL theirs")
	out, code := l.exec(leader, "sh", "-c", "pgha cutover --yes --timeout 20s 2>&1")
	if code != 1 || !strings.Contains(out, "its last record here is not that it was shut down") || !strings.Contains(out, "nothing has changed here") {
		l.Errorf("exit code %d\n%s", code, out)
	}
	l.sh("db3", "systemctl reset-failed theirs 2>/dev/null; "+startTheir)
	l.eventually("the cluster to follow it again", time.Minute, func() bool {
		return l.superuser(leader, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1"
	})
}

// put writes a file that only root may read.
func (l *lab) put(machine, path, body string) {
	l.Helper()
	l.sh(machine, "umask 077; echo "+base64.StdEncoding.EncodeToString([]byte(body))+" | base64 -d >"+path)
}
