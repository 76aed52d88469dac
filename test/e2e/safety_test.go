package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// refusals are connections that must fail, each for its own reason.
func (l *lab) refusals(t *testing.T, app application) {
	l = l.on(t)
	password := "PGPASSWORD=" + l.password(app.user)
	first := l.member(1)
	address := l.addresses()[first]
	proxy, member := "host="+l.entry()+" port=5000", "host="+address+" port=5432"
	for _, tt := range []struct{ name, conn, want string }{
		{"superuser through the proxy", proxy + " user=postgres dbname=postgres sslmode=require", "pg_hba.conf rejects"},
		{"superuser at the member", member + " user=postgres dbname=postgres sslmode=require", "pg_hba.conf rejects"},
		{"plain text", proxy + " sslmode=disable user=" + app.user + " dbname=" + app.database, "no encryption"},
	} {
		out, err := l.inside([]string{password}, "psql", "-XAtc", "SELECT 1", tt.conn)
		if err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %v, want %q in\n%s", tt.name, err, tt.want, out)
		}
	}
	// D13, D14: nobody without a certificate reads etcd, nobody without a password changes Patroni's configuration.
	// The firewall keeps this host from both, so a machine of the cluster tries.
	const ask = "import ssl, sys, urllib.request as u\n" +
		"r = u.Request(sys.argv[2], method=sys.argv[1], data=b'{\"ttl\": 40}' if sys.argv[1] == 'PATCH' else None)\n" +
		"print(u.urlopen(r, context=ssl._create_unverified_context(), timeout=5).status)"
	if out, code := l.exec(first, "python3", "-c", ask, "GET", "https://"+address+":2379/version"); code == 0 || !strings.Contains(out, "certificate required") && !strings.Contains(out, "bad certificate") {
		t.Errorf("etcd without a certificate: exit code %d\n%s", code, out)
	}
	if out, code := l.exec(first, "python3", "-c", ask, "PATCH", "https://"+address+":8008/config"); code == 0 || !strings.Contains(out, "401") {
		t.Errorf("PATCH /config without a password: exit code %d, want a 401 in\n%s", code, out)
	}
}

// firewall: this host stands in the client networks, so PostgreSQL and the proxy answer it, and nothing else does.
func (l *lab) firewall(t *testing.T) {
	l = l.on(t)
	reaches := func(address string, port int) bool {
		_, err := l.inside(nil, "timeout", "2", "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", address, port))
		return err == nil
	}
	member := l.addresses()[l.member(1)]
	for port, open := range map[int]bool{5432: true, 2379: false, 2380: false, 8008: false} {
		if got := reaches(member, port); got != open {
			t.Errorf("a client reaches port %d of a member: %t, want %t", port, got, open)
		}
	}
	l.firewallAnew()
}

// firewallAnew loads a member's firewall while connections are there that connection tracking never saw begin. It cuts none.
// A stream of etcd's is what notices: over it a member hears of another without asking, and one that is cut is not given up
// for a minute, but nothing comes over it.
func (l *lab) firewallAnew() {
	l.Helper()
	replica := l.healthy(time.Minute).replicas()[0]
	if out, code := l.exec(replica, "sh", "-c", "systemctl stop pgha-firewall && systemctl restart etcd"); code != 0 {
		l.Fatal(out)
	}
	quiet := map[string]traffic{} // each connection when it had sent what it has sent until now
	var streams []string
	l.eventually("etcd to have two streams from each of the two others", 30*time.Second, func() bool {
		streams = nil
		for connection, now := range l.etcdPeers(replica) {
			was, known := quiet[connection]
			switch {
			case !known || now.sent != was.sent:
				quiet[connection] = now
			case now.received > was.received:
				streams = append(streams, connection)
			}
		}
		return len(streams) == 4
	})
	if out, code := l.exec(replica, "systemctl", "start", "pgha-firewall"); code != 0 {
		l.Fatal(out)
	}
	loaded := l.etcdPeers(replica)
	l.eventually("etcd to hear of the others over the same streams, with the firewall loaded", 10*time.Second, func() bool {
		now := l.etcdPeers(replica)
		return !slices.ContainsFunc(streams, func(stream string) bool { return now[stream].received <= loaded[stream].received })
	})
	if out, code := l.exec(replica, "sh", "-c", "pgha apply 2>&1"); code != 0 || !strings.Contains(out, "nothing to change") {
		l.Errorf("after the firewall was loaded anew: exit code %d\n%s", code, out)
	}
	l.healthy(15 * time.Second)
}

// traffic is how many bytes went over a connection.
type traffic struct{ sent, received int }

// etcdPeers are the connections that a member has made to the etcd of others, by their addresses and ports.
func (l *lab) etcdPeers(member string) map[string]traffic {
	l.Helper()
	out, code := l.exec(member, "ss", "--no-header", "--tcp", "--numeric", "--info", "--oneline", "state", "established", "dport = :2380")
	if code != 0 {
		l.Fatal(out)
	}
	connections := map[string]traffic{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line) // two queues, the address here, the one there, and what is known of it
		if len(f) < 4 {
			l.Fatalf("ss: %q", line)
		}
		var t traffic
		for _, word := range f[4:] {
			key, value, _ := strings.Cut(word, ":")
			n, _ := strconv.Atoi(value) // other words are no numbers
			switch key {
			case "bytes_sent":
				t.sent = n
			case "bytes_received":
				t.received = n
			}
		}
		connections[f[2]+" "+f[3]] = t
	}
	return connections
}

func (l *lab) applyTwice(t *testing.T) {
	l = l.on(t)
	for _, machine := range l.machines {
		if out, code := l.exec(machine, "sh", "-c", "pgha apply 2>&1"); code != 0 || !strings.Contains(out, "nothing to change") {
			t.Errorf("%s: apply again: exit code %d\n%s", machine, code, out)
		}
		if out, code := l.exec(machine, "pgha", "diff"); code != 0 {
			t.Errorf("%s: diff after apply: exit code %d\n%s", machine, code, out)
		}
	}
}

// killedApply changes files behind pgha's back, kills an apply at several moments and lets the next one finish.
func (l *lab) killedApply(t *testing.T) {
	l = l.on(t)
	last := l.member(3)
	for _, after := range []string{"0.01", "0.03", "0.06", "0.1"} {
		out, code := l.exec(last, "sh", "-c", "echo '# by hand' >>/etc/patroni/config.yml; echo '# by hand' >>/etc/pgha/firewall.nft; "+
			"timeout -s KILL "+after+" pgha apply >/dev/null 2>&1; pgha apply 2>&1 && pgha diff && test ! -e /var/lib/pgha/pending.json")
		if code != 0 {
			t.Errorf("killed after %s s, then applied: exit code %d\n%s", after, code, out)
		}
	}
	// A broken seed is one message, exit code 2, and nothing touched.
	out, code := l.exec(last, "sh", "-c", "cp -a /etc/pgha/cluster.yaml /tmp/ && sed -i 's/^scope:/scoop:/' /etc/pgha/cluster.yaml; pgha apply 2>&1; r=$?; cp -a /tmp/cluster.yaml /etc/pgha/; exit $r")
	if code != 2 || !strings.Contains(out, `unknown key "scoop"`) {
		t.Errorf("broken seed: exit code %d, want 2\n%s", code, out)
	}
	l.healthy(time.Minute)
}

// noLeak looks for the secrets, as nobody, in every file below the places where they could be.
// secretFiles are where a machine has secrets; all are root's, or of the service that reads them, and closed to everybody else.
var secretFiles = regexp.MustCompile(`^/(etc/(pgha|patroni|etcd|haproxy|keepalived)/.+` +
	`|var/lib/cloud/(seed/nocloud/user-data|instances/[^/]+/(user-data\.txt(\.i)?|cloud-config\.txt|obj\.pkl))` +
	`|var/lib/postgresql/\.pgpass_patroni)$`)

// noLeak looks for every secret of the cluster in everything that its machines hold: in logs, consoles, the list of processes
// and etcd there is none; files that have one are known, and closed to others. An application's password, the authority's key
// and the operator's are nowhere; a proxy has nothing that a member logs in with.
func (l *lab) noLeak(t *testing.T) {
	l = l.on(t)
	secrets := l.secrets()
	// found are the secrets in a text, by what they are.
	found := func(text []byte) (names []string) {
		for name, word := range secrets {
			if bytes.Contains(text, []byte(word)) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	nowhere := regexp.MustCompile(`^(user|ca\.key|operator\.key)`)
	members := regexp.MustCompile(`^(replicator|rewind|rest)$`)
	proxies := map[string]bool{}
	for _, p := range l.healthy(time.Minute).Proxies {
		proxies[p.Name] = true
	}
	for machine := range l.addresses() {
		above := filepath.Join("/var/lib/pgbake/lab", l.scope, machine)
		seen := 0
		err := filepath.WalkDir(filepath.Join(above, "upper"), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return nil //nolint:nilerr // the machine runs, and its files come and go
			}
			body, err := os.ReadFile(path)
			if err != nil {
				return nil //nolint:nilerr // as above
			}
			names := found(body)
			if len(names) == 0 {
				return nil
			}
			seen++
			info, err := e.Info()
			if err != nil {
				return err
			}
			inside := strings.TrimPrefix(path, filepath.Join(above, "upper"))
			if info.Mode().Perm()&0o007 != 0 || !secretFiles.MatchString(inside) {
				t.Errorf("%s: %s %s has %q", machine, info.Mode(), inside, names)
			}
			for _, name := range names {
				if nowhere.MatchString(name) || proxies[machine] && members.MatchString(name) {
					t.Errorf("%s: %s has %s", machine, inside, name)
				}
			}
			return nil
		})
		if err != nil || seen < 5 {
			t.Errorf("%s: only %d files have a secret: %v", machine, seen, err)
		}
		console, err := os.ReadFile(filepath.Join(above, "console.log"))
		if err != nil {
			t.Error(err)
		}
		texts := map[string]string{
			"console": string(console), "journal": l.sh(machine, "journalctl --no-pager -o cat"), "processes": l.sh(machine, "cat /proc/[0-9]*/cmdline"),
			// What is there may be in memory alone.
			"open files of /run": l.sh(machine, "find /run /dev/shm /tmp -xdev -type f -perm /o+r -exec cat {} +"),
		}
		if !proxies[machine] {
			texts["etcd"], _ = l.etcdctl(machine, "etcdctl --endpoints=$own get '' --prefix")
		}
		for what, text := range texts {
			if names := found([]byte(text)); len(names) > 0 || len(text) < 100 {
				t.Errorf("%s: %s, %d bytes: %q", machine, what, len(text), names)
			}
		}
	}
}

// secrets are all that the operator has, by what they are: passwords, and some of the letters of each key.
func (l *lab) secrets() map[string]string {
	l.Helper()
	dir := filepath.Join(filepath.Dir(l.spec), "secrets")
	body, err := os.ReadFile(filepath.Join(dir, "secrets.yaml"))
	if err != nil {
		l.Fatal(err)
	}
	var all map[string]any
	if err := yaml.Unmarshal(body, &all); err != nil {
		l.Fatal(err)
	}
	words := map[string]string{}
	for name, value := range all {
		if word, ok := value.(string); ok && len(word) >= 8 {
			words[name] = word
		}
	}
	for name, password := range l.passwords() {
		words["user "+name] = password
	}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".key" {
			return err
		}
		key, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		// The first line ends in the middle of the number that is secret, of either kind of key that pgbake makes (PKCS #8).
		_, first, _ := strings.Cut(string(key), "\n")
		words[name] = first[48:64]
		return nil
	})
	if err != nil || len(words) < 10 {
		l.Fatalf("%d secrets: %v", len(words), err)
	}
	return words
}

// powerCut switches the primary's machine off while an application writes.
func (l *lab) powerCut(t *testing.T) {
	l = l.on(t)
	before := l.healthy(time.Minute)
	stop, file := l.write()

	victim, cut := before.primary(), time.Now()
	l.pgbake("lab", "fault", "power-cut", victim)
	l.eventually("writes after the power cut", 90*time.Second, func() bool { return l.account(file).after(cut.Add(5*time.Second)) > 50 })
	stop()

	a := l.account(file)
	t.Logf("%d rows acknowledged, outage %.1f s", len(a.acknowledged), a.outage().Seconds())
	l.keptAll(a)

	l.pgbake("lab", "fault", "power-on", victim)
	after := l.healthy(2 * time.Minute)
	for _, m := range after.Members {
		// Soon it counts for commits: "quorum standby", or "sync standby".
		follows := m.Role == "replica" || strings.HasSuffix(m.Role, " standby")
		if m.Name == victim && (!follows || m.State != "streaming" && m.State != "running") {
			t.Errorf("%s came back as %s, %s; want a replica", victim, m.Role, m.State)
		}
	}
	if after.primary() == victim {
		t.Errorf("%s leads again at once", victim)
	}
}

// behind cuts the power of a primary whose replicas have not received much of its WAL: a load that nobody has committed.
// What was acknowledged is on them, and one of them leads.
func (l *lab) behind(t *testing.T) {
	l = l.on(t)
	victim := l.leftBehind("")
	if after := l.healthy(3 * time.Minute); after.primary() == victim {
		t.Errorf("%s leads again", victim)
	}
}

// behindForGood is behind, and pg_rewind does not find the WAL that it reads: the data is set aside and copied anew without a
// command. Until then readers at the old primary would see what no other member has.
func (l *lab) behindForGood(t *testing.T) {
	l = l.on(t)
	victim := l.leftBehind("cd /var/lib/postgresql/*/main/pg_wal; redo=$(runuser -u postgres -- psql -XAtqc 'SELECT redo_wal_file FROM pg_control_checkpoint()'); " +
		"for f in 0???????????????????????; do if [ $f '<' $redo ]; then rm $f; fi; done; test -e $redo")
	// It serves what no other member has, and until that is mended Patroni keeps the proxies from it.
	const ask = `import ssl, sys, urllib.error, urllib.request as u
for path in "/health", "/replica":
    try:
        print(u.urlopen(sys.argv[1] + path, context=ssl._create_unverified_context(), timeout=5).status)
    except urllib.error.HTTPError as e:
        print(e.code)`
	l.eventually("Patroni to keep readers from the old primary, which runs", 3*time.Minute, func() bool {
		out, code := l.exec(victim, "python3", "-c", ask, "https://"+l.addresses()[victim]+":8008")
		return code == 0 && strings.Join(strings.Fields(out), " ") == "200 503"
	})
	l.eventually("the data to be set aside", 6*time.Minute, func() bool {
		_, code := l.exec(victim, "sh", "-c", "ls -d /var/lib/postgresql/*/main.aside-*")
		return code == 0
	})
	after := l.healthy(3 * time.Minute)
	if after.primary() == victim {
		t.Errorf("%s leads again", victim)
	}
	l.eventually("who looks at the state to be told", 2*time.Minute, func() bool {
		out, _ := l.exec(after.primary(), "pgha", "status")
		return strings.Contains(out, "PostgreSQL of "+victim+" could not go on with its data (it has ") && strings.Contains(out, " that no other member has, since ")
	})
	l.sh(victim, "rm -r /var/lib/postgresql/*/main.aside-*")
}

// leftBehind loads a primary whose replicas receive nothing, runs a script on it, and cuts its power. When another one leads it
// comes back. It returns its name.
func (l *lab) leftBehind(script string) string {
	l.Helper()
	before := l.healthy(2 * time.Minute)
	stop, file := l.write()
	victim, others := before.primary(), before.replicas()
	for _, m := range others {
		l.sh(m, "pkill --signal STOP --full '^postgres: .* walreceiver '")
	}
	l.superuser(victim, "BEGIN; CREATE TABLE public.bulk AS SELECT n, repeat('x', 1000) FROM generate_series(1, 250000) n; "+
		"SELECT pg_logical_emit_message(false, 'pgha', 'the WAL goes to the disk'); ROLLBACK; CHECKPOINT")
	l.eventually("Patroni to say in etcd how far the primary is", 30*time.Second, func() bool {
		said, code := l.etcdctl(victim, "etcdctl --endpoints=$own get --print-value-only --prefix /service/"+l.scope+"/status")
		var status struct {
			Optime int64 `json:"optime"`
		}
		return code == 0 && json.Unmarshal([]byte(said), &status) == nil && status.Optime > 250e6
	})
	if script != "" {
		l.sh(victim, script)
	}
	cut := time.Now()
	l.pgbake("lab", "fault", "power-cut", victim)
	for _, m := range others {
		l.sh(m, "pkill --signal CONT --full '^postgres: .* walreceiver '")
	}
	l.eventually("writes after the power cut", 90*time.Second, func() bool { return l.account(file).after(cut.Add(5*time.Second)) > 50 })
	stop()
	l.keptAll(l.account(file))
	l.pgbake("lab", "fault", "power-on", victim)
	return victim
}
