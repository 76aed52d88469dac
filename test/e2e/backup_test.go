package e2e

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const backupDir = "/var/backups/pgha"

// Backups as a machine takes them by itself, their proof, and the way back: on one lab, one after the other.
func TestBackup(t *testing.T) {
	beside(t)
	spec := example(t, "quickstart.yaml")
	spec = strings.Replace(spec, "scope: quickstart", "scope: backup", 1) + "backup: {directory: " + backupDir + ", keep: 2, dump: [app]}\n"
	l := up(t, spec)
	l.healthy(time.Minute)
	l.sql("CREATE TABLE moments(i int PRIMARY KEY); INSERT INTO moments SELECT generate_series(1, 1000)")
	t.Run("elected", l.elected)
	t.Run("killed", l.killedBackup)
	t.Run("damaged", l.damagedBackup)
	t.Run("a dump fails", l.dumpFails)
	t.Run("restored", l.restoredCluster)
	t.Run("restored slowly", l.restoredSlowly)
	t.Run("restore given up", l.restoreGivenUp)
	t.Run("all lost", l.allLost)
}

// taken is what `pgha backup list --json` says.
type taken struct {
	Name, Machine, Role string
	Verified            bool
	Proof               struct{ Found, Error string }
}

func (l *lab) backups(machine string) (all []taken) {
	l.Helper()
	out, err := l.try(l.Context(), "lab", "exec", machine, "--", "pgha", "backup", "list", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &all)
	}
	if err != nil {
		l.Fatalf("backups of %s: %v: %s", machine, err, out)
	}
	return all
}

// must runs a program on a machine that has to succeed.
func (l *lab) must(machine string, args ...string) string {
	l.Helper()
	out, code := l.exec(machine, args...)
	if code != 0 {
		l.Fatalf("%s on %s: exit code %d\n%s", strings.Join(args, " "), machine, code, out)
	}
	return out
}

// elected lets every member do what its timer makes it do. One of them takes the backup, and all of them hear of it.
func (l *lab) elected(t *testing.T) {
	l = l.on(t)
	s := l.healthy(time.Minute)
	for _, m := range s.Members {
		l.eventually("the timers of "+m.Name, time.Minute, func() bool {
			_, code := l.exec(m.Name, "systemctl", "is-active", "pgha-backup.timer", "pgha-proof.timer")
			return code == 0
		})
	}
	// What happened before today's time was the last chance: the clock of the lab is not at two o'clock.
	l.onAll(l.members(), "systemctl", "start", "pgha-backup.service")
	var where []string
	for _, m := range s.Members {
		for _, b := range l.backups(m.Name) {
			if b.Role != "replica" || !b.Verified || b.Machine != m.Name {
				t.Errorf("%s: %+v", m.Name, b)
			}
			where = append(where, m.Name)
		}
	}
	if len(where) != 1 || where[0] == s.primary() {
		t.Fatalf("backups on %v, and the primary is %s", where, s.primary())
	}
	for _, m := range s.Members {
		out := l.must(m.Name, "cat", "/var/lib/pgha/backup.json")
		var state struct {
			Backup struct{ Machine, Error string }
		}
		if err := json.Unmarshal([]byte(out), &state); err != nil || state.Backup.Machine != where[0] || state.Backup.Error != "" {
			t.Errorf("%s knows of %s: %v", m.Name, out, err)
		}
	}
	dir := backupDir + "/" + l.backups(where[0])[0].Name
	if got := l.must(where[0], "sh", "-c", "stat -c %U:%a "+dir+"; cat "+dir+"/globals.sql | grep -c 'CREATE ROLE app'; /usr/lib/postgresql/17/bin/pg_restore -l "+dir+"/app.dump | grep -c 'TABLE DATA public moments'"); got != "postgres:700\n1\n1\n" {
		t.Errorf("in the backup: %s", got)
	}
	l.onAll(l.members(), "systemctl", "start", "pgha-proof.service")
	for _, m := range s.Members {
		if out := l.must(m.Name, "cat", "/var/lib/pgha/backup.json"); !strings.Contains(out, "1000 rows") {
			t.Errorf("%s does not know of the proof: %s", m.Name, out)
		}
	}
}

func (l *lab) members() (names []string) {
	l.Helper()
	s, err := l.status()
	if err != nil {
		l.Fatal(err)
	}
	for _, m := range s.Members {
		names = append(names, m.Name)
	}
	return names
}

// killedBackup kills one half-way. Nothing is left under a final name, and the next run clears up what is its own.
func (l *lab) killedBackup(t *testing.T) {
	l = l.on(t)
	m := l.healthy(time.Minute).replicas()[0]
	before := len(l.backups(m))
	l.must(m, "sh", "-c", "mkdir -m 700 "+backupDir+"/.partial-20200101T000000Z-elsewhere.elsewhere")
	l.must(m, "sh", "-c", `pgha backup >/dev/null 2>&1 & p=$!; until ls -d `+backupDir+`/.partial-*.`+m+` >/dev/null 2>&1; do kill -0 $p || exit 1; sleep 0.05; done; kill -9 $p; ls -d `+backupDir+`/.partial-*.`+m)
	if got := l.backups(m); len(got) != before {
		t.Errorf("half a backup counts: %+v", got)
	}
	for range 3 { // beside the one of before: more than are kept
		l.must(m, "pgha", "backup")
	}
	if got := l.backups(m); len(got) != 2 {
		t.Errorf("two are to be kept: %+v", got)
	}
	if out := l.must(m, "ls", "-A", backupDir); !strings.Contains(out, ".partial-20200101T000000Z-elsewhere.elsewhere") || strings.Contains(out, "."+m+"\n") {
		t.Errorf("left over, and another machine's: %s", out)
	}
	// A replica that is behind is no source of a backup until it has what the primary had.
	// Patroni takes a pause of the replay back at once.
	l.must(m, "pkill", "-STOP", "-f", "^postgres: .*startup")
	l.sql("CREATE TABLE fresh()")
	l.must(m, "sh", "-c", `pgha backup >/tmp/behind.log 2>&1 & p=$!
until grep -q 'waiting for the replay' /tmp/behind.log; do kill -0 $p || { cat /tmp/behind.log; exit 1; }; sleep 0.1; done
pkill -CONT -f '^postgres: .*startup' && wait $p || { cat /tmp/behind.log; exit 1; }`)
	all := l.backups(m)
	if got := l.must(m, "sh", "-c", "/usr/lib/postgresql/17/bin/pg_restore -l "+backupDir+"/"+all[len(all)-1].Name+"/app.dump | grep -c 'TABLE DATA public fresh'"); got != "1\n" {
		t.Errorf("it lacks what the primary had: %s", got)
	}
	// No room: one message, and nothing is lost.
	l.must(m, "sh", "-c", "mount -t tmpfs -o size=1M,mode=700,uid=$(id -u postgres) none "+backupDir)
	if out, code := l.exec(m, "pgha", "backup"); code != 1 || !strings.Contains(out, "nothing was begun") || !strings.Contains(out, "hint: give it more room") {
		t.Errorf("no room: exit code %d\n%s", code, out)
	}
	l.must(m, "umount", backupDir)
	if got := l.backups(m); len(got) != 2 {
		t.Errorf("two were there: %+v", got)
	}
}

// damagedBackup turns one byte of the newest backup round. The proof finds it, says so, and it counts no more.
func (l *lab) damagedBackup(t *testing.T) {
	l = l.on(t)
	m := l.healthy(time.Minute).replicas()[0]
	all := l.backups(m)
	newest := all[len(all)-1].Name
	l.must(m, "sh", "-c", "f=$(ls -S "+backupDir+"/"+newest+"/base/base/1/* | head -n 1); printf '\\377\\376\\375' | dd of=$f bs=1 seek=9000 conv=notrunc status=none")
	if out, code := l.exec(m, "pgha", "backup", "prove"); code != 1 || !strings.Contains(out, "checksum mismatch") {
		t.Errorf("a damaged backup: exit code %d\n%s", code, out)
	}
	if out := l.must(m, "pgha", "backup", "list"); !strings.Contains(out, "FAILED") || !strings.Contains(out, "the last proof failed") {
		t.Errorf("the list does not say so:\n%s", out)
	}
	if out := l.must(m, "cat", "/var/lib/pgha/backup.json"); !strings.Contains(out, "checksum mismatch") {
		t.Errorf("the record does not say so:\n%s", out)
	}
}

// dumpFails: one file that pg_dump cannot read costs its dump, and not the backup beside it.
func (l *lab) dumpFails(t *testing.T) {
	l = l.on(t)
	m := l.healthy(time.Minute).replicas()[0]
	const program = "/usr/lib/postgresql/17/bin/pg_dump"
	l.must(m, "sh", "-c", "mount --bind /bin/false "+program)
	out, code := l.exec(m, "pgha", "backup")
	if code != 1 || !strings.Contains(out, "is a good backup of the database, and a dump beside it failed") || !strings.Contains(out, "the database app: ") {
		t.Errorf("a dump that fails: exit code %d\n%s", code, out)
	}
	l.must(m, "umount", program)
	all := l.backups(m)
	if newest := all[len(all)-1]; !newest.Verified || !strings.Contains(out, newest.Name) {
		t.Errorf("it counts not: %+v", all)
	}
	if out := l.must(m, "pgha", "backup", "list"); !strings.Contains(out, "yes, not all dumps") || !strings.Contains(out, "something failed beside it") {
		t.Errorf("the list does not say so:\n%s", out)
	}
	l.must(m, "pgha", "backup")
}

// TestPointInTime archives WAL into a repository, and goes back to a moment between two rows. One member is enough: what a
// restore does with the others is TestBackup's.
func TestPointInTime(t *testing.T) {
	beside(t)
	const spec = `scope: moment
network: 10.21.0.0/24
nodes:
  - {name: db1, address: 10.21.0.11}
postgres:
  databases:
    - {name: app, owner: app}
  users:
    - name: app
backup:
  repository: {type: path, path: /srv/pgbackrest}
alerts:
  command: [/bin/sh, -c, "cat >>/run/pgha/heard.command"]
`
	l := up(t, spec)
	l.healthy(time.Minute)
	psql := func(query string) string {
		t.Helper()
		return strings.TrimSpace(l.must("db1", "runuser", "-u", "postgres", "--", "psql", "-XAtq", "-d", "app", "-c", query))
	}
	l.eventually("the timers", time.Minute, func() bool {
		_, code := l.exec("db1", "systemctl", "is-active", "pgha-backup.timer", "pgha-proof.timer")
		return code == 0
	})
	psql("CREATE TABLE moments(i int)")
	l.must("db1", "systemctl", "start", "pgha-backup.service")
	if all := l.backups("db1"); len(all) != 1 || all[0].Role != "full" || !all[0].Verified {
		t.Fatalf("in the repository: %+v", all)
	}
	// moment is one at which the row is the last one, and nothing is written for a second.
	moment := func(row string) string {
		t.Helper()
		psql("INSERT INTO moments VALUES (" + row + ")")
		at := psql("SELECT clock_timestamp()")
		l.eventually("another second", 10*time.Second, func() bool { return psql("SELECT clock_timestamp() > '"+at+"'::timestamptz + '1 s'") == "t" })
		return at
	}
	first := moment("1")
	l.setTraps("db1")
	second := moment("2")
	psql("INSERT INTO moments VALUES (3)")

	l.must("db1", "pgha", "backup")
	if all := l.backups("db1"); len(all) != 2 || all[1].Role != "diff" {
		t.Errorf("the second backup: %+v", all)
	}
	l.must("db1", "systemctl", "start", "pgha-proof.service")
	if out := l.must("db1", "pgha", "backup", "list"); !strings.Contains(out, "3 rows; every table and index checked; all WAL behind it") {
		t.Errorf("the proof: %s", out)
	}
	l.untrapped(t, "db1")
	for to, want := range map[string]string{"2020-01-01 00:00:00+00": "is before the end of the oldest backup", "2999-01-01 00:00:00+00": "is in the future", "tomorrow": "is no moment"} {
		if out, code := l.exec("db1", "pgha", "restore", "--to", to); code != 1 || !strings.Contains(out, want) {
			t.Errorf("--to %s: exit code %d\n%s", to, code, out)
		}
	}
	if out := l.must("db1", "pgha", "restore", "--to", first); !strings.Contains(out, "Nothing was done") || !strings.Contains(out, l.backups("db1")[0].Name) {
		t.Errorf("the plan:\n%s", out)
	}
	// restored goes back to a moment, at which there were these rows.
	restored := func(to, rows string, says ...string) {
		t.Helper()
		out := l.must("db1", "pgha", "restore", "--to", to, "--yes")
		t.Logf("%s", out)
		for _, want := range says {
			if !strings.Contains(out, want) {
				t.Errorf("a restore to %s does not say %q", to, want)
			}
		}
		l.healthy(time.Minute)
		if got := psql("SELECT string_agg(i::text, ' ' ORDER BY i) FROM moments"); got != rows {
			t.Errorf("at %s there were the rows %s, and there are %s", to, rows, got)
		}
	}
	restored(first, "1", "the last transaction in it is of ")
	if out, _ := l.exec("db1", "pgha", "doctor"); strings.Contains(out, "pgha apply waits") {
		t.Errorf("after the restore:\n%s", out)
	}
	// The second backup has what was just got rid of: it is not the newest one any more, and its plan says what it is.
	all := l.backups("db1")
	if out := l.must("db1", "pgha", "restore"); !strings.Contains(out, "restore to the end of "+all[0].Name+" in ") {
		t.Errorf("the plan without a name:\n%s", out)
	}
	if out := l.must("db1", "pgha", "restore", "--backup", all[1].Name); !strings.Contains(out, "restore to the end of "+all[1].Name+" on timeline 1, which the cluster left at ") {
		t.Errorf("the plan of a backup that was left:\n%s", out)
	}
	// That was too early. The later moment is on the timeline that the cluster has left; one after the restore is on the next
	// one, where nothing is written after it but what the restore itself writes.
	third := moment("4")
	restored(second, "1 2", "timeline 1, which the cluster left at ", "when it was restored to "+first)
	restored(third, "1 4", "timeline 2, which the cluster left at ", "when it was restored to "+second)
	// The archive goes on, on the new timeline: from it, too, the way back is open.
	psql("INSERT INTO moments VALUES (5)")
	l.must("db1", "pgha", "backup")
	l.must("db1", "pgha", "backup", "prove")
	if out := l.must("db1", "pgha", "backup", "list"); !strings.Contains(out, "3 rows; every") {
		t.Errorf("the proof on the new timeline: %s", out)
	}
	t.Run("all lost", l.repositoryLeft)
	t.Run("refused", func(t *testing.T) { l.on(t).badPages(psql) })
	t.Run("archive", l.archiveWatched)
	t.Run("sftp", l.sftpRepository)
	// A repository that is gone: one message, and PostgreSQL serves.
	l.must("db1", "systemctl", "stop", "ssh.service")
	if out, code := l.exec("db1", "pgha", "backup"); code != 1 || !strings.Contains(out, "open the repository") {
		t.Errorf("without a repository: exit code %d\n%s", code, out)
	}
	psql("INSERT INTO moments VALUES (4)")
}

// repositoryLeft loses the machine; its repository was elsewhere. A new one takes over all that was archived.
func (l *lab) repositoryLeft(t *testing.T) {
	l = l.on(t)
	const repository = "/srv/pgbackrest"
	const rows = `runuser -u postgres -- psql -XAtq -d app -c "SELECT string_agg(i::text, ' ' ORDER BY i) FROM moments"`
	before := l.sh("db1", rows)
	last := l.superuser("db1", "SELECT pg_walfile_name(pg_switch_wal())")
	l.eventually(last+" in the archive", time.Minute, func() bool {
		return l.superuser("db1", "SELECT last_archived_wal >= '"+last+"' FROM pg_stat_archiver") == "t"
	})
	survived := t.TempDir()
	l.copyTree(l.disk("db1", repository)+"/.", survived)
	l.newDisks("db1")
	dir := l.disk("db1", repository)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l.copyTree(survived+"/.", dir)
	l.powerOn("db1")
	l.healthy(2 * time.Minute)
	if out, code := l.exec("db1", "pgha", "restore"); code != 1 || !strings.Contains(out, "--another-database") {
		t.Errorf("without a word that it is another database: exit code %d\n%s", code, out)
	}
	t.Logf("%s", l.must("db1", "pgha", "restore", "--another-database", "--yes"))
	l.healthy(time.Minute)
	if got := l.sh("db1", rows); got != before {
		t.Errorf("there were the rows %s, and now %s", before, got)
	}
	l.must("db1", "pgha", "backup")
	l.nothingFound("db1")
}

// badPages: a backup of damaged pages has failed, and one of a tablespace elsewhere is not begun.
func (l *lab) badPages(psql func(string) string) {
	before := len(l.backups("db1"))
	l.must("db1", "install", "-d", "-m", "700", "-o", "postgres", "/srv/far")
	psql("CREATE TABLESPACE far LOCATION '/srv/far'")
	if out, code := l.exec("db1", "pgha", "backup"); code != 1 || !strings.Contains(out, "the database has tablespaces outside of its directory") {
		l.Errorf("a tablespace: exit code %d\n%s", code, out)
	}
	psql("DROP TABLESPACE far")
	psql("CREATE TABLE damaged AS SELECT generate_series(1, 5000) AS i")
	psql("CHECKPOINT")
	file := "/var/lib/postgresql/17/main/" + psql("SELECT pg_relation_filepath('damaged')")
	l.must("db1", "sh", "-c", "printf '\\377\\376\\375' | dd of="+file+" bs=1 seek=9000 conv=notrunc status=none")
	if out, code := l.exec("db1", "pgha", "backup"); code != 1 || !strings.Contains(out, "pages with wrong checksums") {
		l.Errorf("damaged pages: exit code %d\n%s", code, out)
	}
	if all := l.backups("db1"); len(all) != before+1 || all[before].Verified {
		l.Errorf("a backup of damaged pages counts: %+v", all)
	}
	if out := l.must("db1", "cat", "/var/lib/pgha/backup.json"); !strings.Contains(out, "pages with wrong checksums") {
		l.Errorf("the record does not say so: %s", out)
	}
	psql("DROP TABLE damaged")
	psql("CHECKPOINT")
	l.must("db1", "pgha", "backup")
	if all := l.backups("db1"); len(all) != before+2 || !all[before+1].Verified {
		l.Errorf("after it was mended: %+v", all)
	}
}

// sftpRepository moves the repository to an sftp server, which is the machine's own here, by a changed specification. An S3
// store is not to be had: that pgBackRest understands its file is all that is seen.
func (l *lab) sftpRepository(t *testing.T) {
	l = l.on(t)
	const serve = `useradd -m keeper && install -d -o keeper /srv/sftp && install -d -m 700 -o keeper ~keeper/.ssh &&
ssh-keygen -q -t ed25519 -N '' -f /root/key && install -m 600 -o keeper /root/key.pub ~keeper/.ssh/authorized_keys && systemctl start ssh.service &&
host=$(cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub) &&
sed -i "s|repository: .*|repository: {type: sftp, path: /srv/sftp, host: 10.21.0.11, user: keeper, host_key: $host}|" /etc/pgha/cluster.yaml &&
{ echo 'repository_ssh_key: |'; sed 's/^/  /' /root/key; } >>/etc/pgha/secrets.yaml && rm /root/key`
	l.must("db1", "sh", "-c", serve)
	l.must("db1", "pgha", "apply")
	l.must("db1", "pgha", "backup")
	if all := l.backups("db1"); len(all) != 1 || all[0].Role != "full" {
		t.Errorf("on the server: %+v", all)
	}
	l.must("db1", "pgha", "backup", "prove")
	l.must("db1", "test", "-d", "/srv/sftp/archive/"+l.scope)

	conf, err := os.ReadFile("../../render/testdata/golden/repository/db1/etc/pgbackrest/pgbackrest.conf")
	if err != nil {
		t.Fatal(err)
	}
	l.must("db1", "sh", "-c", "echo "+base64.StdEncoding.EncodeToString(conf)+" | base64 -d >/tmp/s3.conf")
	out, _ := l.exec("db1", "pgbackrest", "--config=/tmp/s3.conf", "--stanza=archive", "--io-timeout=1", "info")
	if !strings.Contains(out, "unable to get address for 's3.example.org'") || strings.Contains(out, "WARN") {
		t.Errorf("pgBackRest says of the file for S3:\n%s", out)
	}
}
