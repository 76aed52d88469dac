package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// trust is what a machine says of its certificates, in `pgha status --json`.
type trust struct {
	Machine  string
	Trusts   []string
	SignedBy []string `json:"signed_by"`
	From     time.Time
}

// Certificates are renewed, and the authority is changed for another, while clients work that verify everything. Then
// a machine is given what is not its own.
func TestCertificates(t *testing.T) {
	beside(t)
	l := up(t, quickstart(t, "certificates", 13))
	before := l.healthy(time.Minute)
	started := map[string]string{}
	for _, m := range members {
		started[m] = l.superuser(m, "SELECT pg_postmaster_start_time()")
	}
	l.allTrust()

	// A session that lasts longer than it all, an application that writes a row every 20 ms, and connections made anew all
	// the time, each of them through the proxy.
	l.sql("CREATE TABLE finished(i int); CREATE TABLE anew(i int)")
	session := make(chan error, 1)
	go func() {
		_, err := l.try(t.Context(), "lab", "psql", "--", "-XAtq", "-v", "ON_ERROR_STOP=1",
			"-c", "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_tables WHERE tablename = 'go_on') LOOP PERFORM pg_sleep(0.1); END LOOP; END $$",
			"-c", "INSERT INTO finished VALUES (1)")
		session <- err
	}()
	anew := l.connectAnew()
	stop, file := l.write()

	t.Run("renewed", l.on(t).renewed)
	t.Run("another authority", l.on(t).anotherAuthority)

	stop()
	if connections := anew(); connections < 50 {
		t.Errorf("only %d connections were made", connections)
	} else if got := l.sql("SELECT count(*) FROM anew"); got != fmt.Sprint(connections) {
		t.Errorf("%d connections have written a row each, and %s are there", connections, got)
	}
	a := l.account(file)
	t.Logf("%d rows acknowledged", len(a.acknowledged))
	l.calm(a.Account)
	l.keptAll(a)
	l.sql("CREATE TABLE go_on()")
	if err := <-session; err != nil {
		t.Errorf("the session did not survive: %v", err)
	}
	for _, m := range members {
		if got := l.superuser(m, "SELECT pg_postmaster_start_time()"); got != started[m] {
			t.Errorf("PostgreSQL of %s was restarted: since %s, was %s", m, got, started[m])
		}
	}
	if after := l.healthy(30 * time.Second); after.primary() != before.primary() || after.Members[0].Timeline != 1 {
		t.Errorf("the primary has moved: %+v", after)
	}
	t.Run("a stolen machine", l.stolen)
	t.Run("bad input", l.badInput)
}

// connectAnew writes one row over each of many connections, one after the other, none of which may fail.
func (l *lab) connectAnew() (stop func() int) {
	done, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				ended <- n
				return
			default:
			}
			if _, err := l.try(l.Context(), "lab", "psql", "--", "-XAtqc", fmt.Sprintf("INSERT INTO anew VALUES (%d)", n)); err != nil {
				l.Errorf("connection %d: %v", n, err)
			}
			n++
		}
	}()
	return sync.OnceValue(func() int { close(done); return <-ended })
}

// allTrust is what all machines say, asked on db1: one that was slow is missing in an answer.
func (l *lab) allTrust() (all map[string]trust) {
	l.Helper()
	l.eventually("all machines to say what they have", time.Minute, func() bool {
		all = l.trusts()
		return len(all) == len(l.machines)
	})
	return all
}

// trusts is what machines say, asked on db1.
func (l *lab) trusts() map[string]trust {
	l.Helper()
	return trusts(l.statusJSON("db1"))
}

func trusts(out string) map[string]trust {
	var s struct{ Certificates []trust }
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return nil
	}
	all := map[string]trust{}
	for _, t := range s.Certificates {
		all[t.Machine] = t
	}
	return all
}

// spread makes a generation of what is in secrets/ now, gives it to one machine, and waits until all say that they have it.
func (l *lab) spread(what string, has func(trust) bool) {
	l.Helper()
	dist := l.TempDir()
	l.pgbake("seed", "-o", dist)
	generation, err := os.ReadFile(filepath.Join(dist, "seeds", "generation.json"))
	if err != nil {
		l.Fatal(err)
	}
	began := time.Now()
	if out, code := l.exec("db2", "sh", "-c", "echo "+base64.StdEncoding.EncodeToString(generation)+" | base64 -d >/run/generation.json; pgha spec accept /run/generation.json 2>&1"); code != 0 {
		l.Fatalf("pgha spec accept: exit code %d\n%s", code, out)
	}
	l.eventually(what+" everywhere", 2*time.Minute, func() bool {
		all := l.trusts()
		return len(all) == len(l.machines) && !slices.ContainsFunc(slices.Collect(maps.Values(all)), func(t trust) bool { return !has(t) })
	})
	l.Logf("%s: on every machine %.1f s after one was told", what, time.Since(began).Seconds())
	l.serveWhatTheyHave()
}

// serveWhatTheyHave complains about a service that shows another certificate than the file that it has.
func (l *lab) serveWhatTheyHave() {
	l.Helper()
	ask := "openssl s_client -connect $1 $3 </dev/null 2>/dev/null | openssl x509 -noout -serial -issuer; openssl x509 -noout -serial -issuer -in /etc/pgha/tls/$2.crt"
	address := l.addresses()
	for _, m := range l.machines {
		services := [][]string{{":8008", "rest"}, {":2379", "etcd"}, {":2380", "etcd"}, {":5432", "postgres", "-starttls postgres"}}
		if !slices.Contains(members, m) {
			services = [][]string{{":7000", "proxy"}}
		}
		for _, s := range services {
			s[0] = address[m] + s[0]
			l.eventually("the new certificate of "+m+" at "+s[0], 15*time.Second, func() bool {
				out, _ := l.exec(m, append([]string{"sh", "-c", strings.Replace(ask, "$3", strings.Join(s[2:], ""), 1), "sh"}, s[:2]...)...)
				lines := strings.Split(strings.TrimSpace(out), "\n")
				return len(lines) == 4 && lines[0] == lines[2] && lines[1] == lines[3]
			})
		}
	}
}

// renewed gives every machine certificates that are new, for the keys that they have.
func (l *lab) renewed(t *testing.T) {
	l = l.on(t)
	secrets := filepath.Join(filepath.Dir(l.spec), "secrets")
	old, err := filepath.Glob(filepath.Join(secrets, "machines", "*", "*.crt"))
	if err != nil || len(old) == 0 {
		t.Fatal(old, err)
	}
	for _, crt := range old {
		if filepath.Base(crt) == "ca.crt" {
			continue
		}
		if err := os.Remove(crt); err != nil {
			t.Fatal(err)
		}
	}
	had := l.allTrust()
	l.spread("renewed certificates", func(t trust) bool { return t.From.After(had[t.Machine].From) })
	l.healthy(30 * time.Second)
}

// anotherAuthority takes the three steps, each with its way to the machines.
func (l *lab) anotherAuthority(t *testing.T) {
	l = l.on(t)
	secrets := filepath.Join(filepath.Dir(l.spec), "secrets")
	first := l.allTrust()["db1"].Trusts
	old := readText(t, filepath.Join(secrets, "machines/db1/etcd-client.crt"))

	l.pgbake("ca", "rotate")
	said := l.said("db1")
	if _, err := l.try(t.Context(), "ca", "rotate", "--status", said); err == nil || !strings.Contains(err.Error(), "db1: it trusts only "+first[0]) {
		t.Errorf("the second step before the machines have the first: %v", err)
	}
	l.spread("both authorities", func(t trust) bool { return len(t.Trusts) == 2 })
	l.eventually("pgha status on proxy1 to say who trusts whom", 30*time.Second, func() bool {
		out, _ := l.exec("proxy1", "pgha", "status")
		return strings.Contains(out, "db3 trusts "+first[0]+", ")
	})

	l.secondAndThirdStep(first[0])

	// What the first authority has signed opens nothing any more; the key is the same.
	const list = "cd /etc/patroni/tls && etcdctl --endpoints=https://127.0.0.1:2379 --cacert=ca.crt --cert=$1 --key=etcd-client.key member list"
	if out, code := l.exec("db1", "sh", "-c", list, "sh", "etcd-client.crt"); code != 0 {
		t.Errorf("with its new certificate: %s", out)
	}
	if out, code := l.exec("db1", "sh", "-c", "echo '"+old+"' >/run/old.crt; "+list, "sh", "/run/old.crt"); code == 0 {
		t.Errorf("etcd takes a certificate of the first authority: %s", out)
	}
}

// said is a file with what a machine says of all.
func (l *lab) said(machine string) (path string) {
	l.Helper()
	path = filepath.Join(l.TempDir(), "status.json")
	l.eventually(machine+" to know of all", 30*time.Second, func() bool {
		out := l.statusJSON(machine)
		return len(trusts(out)) == len(l.machines) && os.WriteFile(path, []byte(out), 0o600) == nil
	})
	return path
}

// secondAndThirdStep end the trust in an authority.
func (l *lab) secondAndThirdStep(first string) {
	l.Helper()
	l.pgbake("ca", "rotate", "--status", l.said("db3"))
	l.spread("certificates of the second authority", func(t trust) bool { return len(t.SignedBy) == 1 && t.SignedBy[0] != first })
	l.pgbake("ca", "rotate", "--status", l.said("db3"))
	l.spread("the second authority alone", func(t trust) bool { return len(t.Trusts) == 1 && t.Trusts[0] != first })
	l.healthy(30 * time.Second)
}

// stolen: somebody has a member's disk. The steps are those that pgbake machine rekey prints; afterwards nothing of what is on
// that disk opens anything.
func (l *lab) stolen(t *testing.T) {
	l = l.on(t)
	before := l.healthy(time.Minute)
	victim := slices.DeleteFunc(before.replicas(), func(m string) bool { return m == "db1" })[0]
	secrets := filepath.Join(filepath.Dir(l.spec), "secrets")
	crt, key := readText(t, filepath.Join(secrets, "machines", victim, "etcd-client.crt")), readText(t, filepath.Join(secrets, "machines", victim, "etcd-client.key"))
	password := l.secrets()["replicator"]
	opens := func() (etcd, postgres int) {
		t.Helper()
		_, etcd = l.exec("db1", "sh", "-c", "echo '"+crt+"' >/run/stolen.crt; echo '"+key+"' >/run/stolen.key; cd /etc/patroni/tls && "+
			"etcdctl --endpoints=https://127.0.0.1:2379 --cacert=ca.crt --cert=/run/stolen.crt --key=/run/stolen.key member list")
		_, postgres = l.exec("db1", "env", "PGPASSWORD="+password, "psql", "-XAtc", "IDENTIFY_SYSTEM",
			"host="+l.addresses()[before.primary()]+" user=replicator replication=true sslmode=verify-full sslrootcert=/etc/patroni/tls/ca.crt")
		return etcd, postgres
	}
	if etcd, postgres := opens(); etcd != 0 || postgres != 0 {
		t.Fatalf("what was stolen opens nothing already: %d, %d", etcd, postgres)
	}

	if said := l.pgbake("machine", "rekey", victim); !strings.Contains(said, "replicator, rewind, rest in secrets.yaml: new") {
		t.Errorf("it says %s", said)
	}
	dist := t.TempDir()
	l.pgbake("seed", "--interface", "host0", "-o", dist)
	l.newDisks(victim)
	for _, f := range []string{"user-data", "meta-data", "network-config"} {
		if err := os.WriteFile(l.disk(victim, "var/lib/cloud/seed/nocloud/"+f), []byte(readText(t, filepath.Join(dist, "seeds", victim, f))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.powerOn(victim)
	for _, m := range append(slices.DeleteFunc(before.replicas(), func(m string) bool { return m == victim }), before.primary()) {
		var seed struct {
			Files []struct{ Path, Content string } `yaml:"write_files"`
		}
		if err := yaml.Unmarshal([]byte(readText(t, filepath.Join(dist, "seeds", m, "user-data"))), &seed); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(seed.Files, func(f struct{ Path, Content string }) bool { return f.Path == "/etc/pgha/secrets.yaml" })
		l.sh(m, "echo "+base64.StdEncoding.EncodeToString([]byte(seed.Files[i].Content))+" | base64 -d >/etc/pgha/secrets.yaml && pgha apply 2>&1")
	}
	began := time.Now()
	l.healthy(2 * time.Minute)
	t.Logf("%s: whole again %.1f s after the primary had its new passwords", victim, time.Since(began).Seconds())

	first := l.allTrust()["db1"].Trusts
	l.pgbake("ca", "rotate")
	l.spread("both authorities", func(t trust) bool { return len(t.Trusts) == 2 })
	l.secondAndThirdStep(first[0])
	if etcd, postgres := opens(); etcd == 0 || postgres == 0 {
		t.Errorf("what was stolen still opens etcd (%d) or PostgreSQL (%d)", etcd, postgres)
	}
}

func (l *lab) statusJSON(machine string) string {
	l.Helper()
	out, _ := l.exec(machine, "sh", "-c", "pgha status --json 2>/dev/null || true")
	return out
}

func readText(t *testing.T, path string) string {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
