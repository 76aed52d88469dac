package e2e

import (
	"strings"
	"testing"
	"time"
)

// archiveWatched takes the right to write from the repository of a lone member, lets pgBackRest give up what waits, and takes a
// segment away: each is an alert, and each is over when it is mended.
func (l *lab) archiveWatched(t *testing.T) {
	l = l.on(t)
	db := []string{"db1"}
	l.must("db1", "sh", "-c", "mkdir -p /run/systemd/system/pgha-monitor.service.d && "+
		"printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/pgha watch --every 5s\\n' >/run/systemd/system/pgha-monitor.service.d/test.conf && "+
		"systemctl daemon-reload && systemctl restart pgha-monitor")
	psql := func(query string) string {
		t.Helper()
		return strings.TrimSpace(l.must("db1", "runuser", "-u", "postgres", "--", "psql", "-XAtq", "-d", "app", "-c", query))
	}
	// written fills a segment, and begins another one.
	written := func() string {
		t.Helper()
		return psql("INSERT INTO moments VALUES (9); SELECT pg_walfile_name(pg_switch_wal())")
	}
	archived := "/srv/pgbackrest/archive/" + l.scope

	l.must("db1", "chmod", "-R", "a-w", archived)
	first := written()
	l.hears(db, "command", "fired archive")
	if out, code := l.exec("db1", "pgha", "doctor"); code != 3 || !strings.Contains(out, "WAL is not archived: "+first) {
		t.Errorf("doctor with a repository that nobody may write to: exit code %d\n%s", code, out)
	}
	// More waits than may: what is given up is a success to PostgreSQL.
	written()
	l.must("db1", "sed", "-i", "s/^archive-push-queue-max=.*/archive-push-queue-max=20MB/", "/etc/pgbackrest/pgbackrest.conf")
	written()
	l.eventually("WAL to be given up", time.Minute, func() bool {
		return psql("SELECT last_archived_wal >= '"+first+"' FROM pg_stat_archiver") == "t"
	})
	l.must("db1", "chmod", "-R", "u+w", archived)
	l.must("db1", "pgha", "apply") // the limit of before
	written()
	l.hears(db, "command", "resolved archive")
	l.hears(db, "command", "fired archive-hole")
	if out, code := l.exec("db1", "pgha", "doctor"); code != 3 || !strings.Contains(out, "the archive has a hole: ") || !strings.Contains(out, "the first one "+first) {
		t.Errorf("doctor with a hole: exit code %d\n%s", code, out)
	}
	if out, code := l.exec("db1", "pgha", "restore", "--to", psql("SELECT clock_timestamp()")); code != 1 || !strings.Contains(out, "lies behind a hole in the archive") {
		t.Errorf("a moment behind the hole: exit code %d\n%s", code, out)
	}
	// What the archive lacks lies in pg_wal, as on a member that took over from a primary that had not archived all.
	l.must("db1", "systemctl", "start", "pgha-archive.service")
	l.hears(db, "command", "resolved archive-hole")
	if out := l.sh("db1", "ls "+archived+"/*/*; journalctl -u pgha-archive -o cat"); !strings.Contains(out, first+"-") || !strings.Contains(out, "the archive has all WAL behind") {
		t.Errorf("the hole is closed, and:\n%s", out)
	}

	// A segment that somebody removes, after it was there.
	gone := written()
	l.eventually(gone+" in the repository", time.Minute, func() bool {
		_, code := l.exec("db1", "sh", "-c", "ls "+archived+"/*/*/"+gone+"-*")
		return code == 0
	})
	if out, code := l.exec("db1", "pgha", "doctor"); strings.Contains(out, "WAL") && strings.Contains(out, "archive") {
		t.Errorf("doctor of a whole archive: exit code %d\n%s", code, out)
	}
	l.must("db1", "sh", "-c", "rm "+archived+"/*/*/"+gone+"-*")
	if out, code := l.exec("db1", "pgha", "doctor"); code != 3 || !strings.Contains(out, "the archive has a hole: 1 segments") || !strings.Contains(out, gone) {
		t.Errorf("doctor without a segment: exit code %d\n%s", code, out)
	}
	l.must("db1", "pgha", "backup")
}
