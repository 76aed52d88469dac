package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const repository = "/srv/pgbackrest"

// TestArchiveRead: a replica comes back that needs WAL which the primary has no more, and an old primary that pg_rewind needs WAL
// for which it has no more itself. Both get it from the archive, and neither is copied anew. Each machine has a directory of its
// own for what members share: what lies in it is copied while a machine is off.
func TestArchiveRead(t *testing.T) {
	beside(t)
	l := up(t, `scope: reread
network: 10.22.0.0/24
nodes:
  - {name: db1, address: 10.22.0.11}
  - {name: db2, address: 10.22.0.12}
  - {name: db3, address: 10.22.0.13}
postgres:
  databases:
    - {name: app, owner: app}
  users:
    - name: app
  parameters: {max_slot_wal_keep_size: 64MB, wal_keep_size: 64MB}
backup:
  repository: {type: path, path: `+repository+`}
`)
	s := l.healthy(time.Minute)
	p := s.primary()
	l.onAll(members, "install", "-d", "-o", "postgres", "-m", "750", repository)
	l.must(p, "pgha", "apply") // makes the archive
	empty := l.sh(p, "tar -C "+repository+" -cz --exclude='0000*' archive | base64 -w 0")
	for _, m := range s.replicas() {
		l.sh(m, "echo "+empty+" | base64 -d | tar -C "+repository+" -xz")
	}
	for _, m := range members {
		l.must(m, "pgha", "apply")
	}
	for _, m := range s.replicas() {
		if got, want := l.superuser(m, "SHOW restore_command"), `/usr/bin/pgha archive-get `+l.scope+` %f "%p" || exit 1`; got != want {
			t.Errorf("restore_command of %s: %s, want %s", m, got, want)
		}
	}
	t.Run("replica", func(t *testing.T) { l.on(t).lateReplica(p, s.replicas()[0]) })
	t.Run("rewind", func(t *testing.T) { l.on(t).rewound(p) })
}

// segments writes n segments of WAL that hold next to nothing, and waits until they are archived. A commit waits for a replica,
// and so keeps one that is there at the primary's heels; what is none goes on whether or not anybody takes it.
func (l *lab) segments(p string, n int, commit bool) {
	l.Helper()
	one := fmt.Sprintf("SELECT pg_logical_emit_message(%t, 'pgha', 'x'); ", commit)
	l.sh(p, "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -o /dev/null <<'EOF'\n"+strings.Repeat(one+"SELECT pg_switch_wal();\n", n-1)+"EOF")
	last := l.superuser(p, one+"SELECT pg_walfile_name(pg_switch_wal())")
	last = last[strings.LastIndex(last, "\n")+1:]
	l.eventually(last+" in the archive", time.Minute, func() bool {
		return l.superuser(p, "SELECT last_archived_wal >= '"+last+"' FROM pg_stat_archiver") == "t"
	})
}

// bringRepository gives a machine that is off what another one has archived.
func (l *lab) bringRepository(from, to string) {
	l.Helper()
	l.copyTree(l.disk(from, repository), filepath.Dir(l.disk(to, repository)))
}

// own is what a machine's data directory is known by: a copy is made into a new one.
func (l *lab) own(machine string) string {
	l.Helper()
	return l.sh(machine, "stat -c '%i %W' "+pgData)
}

func (l *lab) lateReplica(p, late string) {
	own := l.own(late)
	l.pgbake("lab", "fault", "shutdown", late)
	l.segments(p, 40, true)
	l.superuser(p, "CHECKPOINT")
	l.eventually("the slot to be lost", time.Minute, func() bool {
		return l.superuser(p, "SELECT wal_status FROM pg_replication_slots WHERE slot_name = '"+late+"'") == "lost"
	})
	l.powerOn(late)
	l.eventually("PostgreSQL to want WAL that there is no more", time.Minute, func() bool {
		_, code := l.exec(late, "sh", "-c", "journalctl -b -u patroni | grep -q 'has already been removed'")
		return code == 0
	})
	l.Logf("without the archive:\n%s", l.sh(late, "journalctl -b -u patroni -o cat | grep -i 'walreceiver\\|could not\\|FATAL\\|archive' | tail -n 5"))
	l.pgbake("lab", "fault", "power-cut", late)
	l.bringRepository(p, late)
	l.powerOn(late)
	l.healthy(time.Minute)
	if got := l.own(late); got != own {
		l.Errorf("%s was copied anew: %s, was %s", late, got, own)
	}
	if out := l.sh(late, "journalctl -b -u patroni -o cat | grep -c 'restored log file'"); out == "0" {
		l.Errorf("%s has restored nothing", late)
	}
	if got := l.superuser(p, "SELECT wal_status FROM pg_replication_slots WHERE slot_name = '"+late+"'"); got == "lost" {
		l.Errorf("the slot of %s is still %s", late, got)
	}
}

// rewound has a primary write what no replica gets, past a checkpoint, and takes from it the WAL before that checkpoint.
func (l *lab) rewound(p string) {
	s := l.healthy(time.Minute)
	own := l.own(p)
	l.superuser(p, "CHECKPOINT")
	l.onAll(s.replicas(), "pkill", "-STOP", "-f", "postgres.*walreceiver")
	l.segments(p, 3, false)
	l.superuser(p, "CHECKPOINT")
	redo := l.superuser(p, "SELECT redo_wal_file FROM pg_control_checkpoint()")
	l.pgbake("lab", "fault", "power-cut", p)
	l.onAll(s.replicas(), "pkill", "-CONT", "-f", "postgres.*walreceiver")
	l.eventually("another primary", time.Minute, func() bool {
		s, err := l.status()
		return err == nil && s.primary() != "" && s.primary() != p
	})
	all, err := filepath.Glob(filepath.Join(l.disk(p, pgData), "pg_wal", "*"))
	if err != nil {
		l.Fatal(err)
	}
	gone := 0
	for _, path := range all {
		if name := filepath.Base(path); len(name) == 24 && name < redo && !strings.HasSuffix(name, ".history") {
			gone++
			if err := os.Remove(path); err != nil {
				l.Fatal(err)
			}
		}
	}
	if gone == 0 {
		l.Fatalf("before %s there is no WAL in %s", redo, all)
	}
	l.powerOn(p)
	l.healthy(2 * time.Minute)
	if got := l.own(p); got != own {
		l.Errorf("%s was copied anew: %s, was %s", p, got, own)
	}
	out := l.sh(p, "journalctl -b -u patroni -o cat | grep 'pg_rewind\\|from archive\\|rewinding\\|Done!'; ls "+pgData)
	if !strings.Contains(out, "pg_rewind exit code=0") {
		l.Errorf("%s was not rewound:\n%s", p, out)
	}
	l.Logf("%s", out)
}
