package debs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// patroniStarts opens the gate by hand and runs a lone member on Debian's own etcd: here it is the unit that is on trial.
func (l *life) patroniStarts(t *testing.T) {
	l.Sh(t, fmt.Sprintf(`
		cat >/etc/patroni/config.yml <<-'EOF'
			scope: trial
			name: machine
			restapi: {listen: "127.0.0.1:8008", connect_address: "127.0.0.1:8008"}
			etcd3: {host: "127.0.0.1:2379"}
			bootstrap:
			  dcs: {ttl: 20, loop_wait: 2, retry_timeout: 5}
			  initdb: [encoding: UTF8, data-checksums]
			postgresql:
			  listen: 127.0.0.1:5432
			  connect_address: 127.0.0.1:5432
			  data_dir: /var/lib/postgresql/%[1]s/main
			  bin_dir: /usr/lib/postgresql/%[1]s/bin
			  use_unix_socket: true
			  pg_hba: [local all all peer]
			  authentication: {superuser: {username: postgres}, replication: {username: replicator, password: trial}}
			  parameters: {unix_socket_directories: /run/postgresql}
		EOF
		chown postgres: /etc/patroni/config.yml
		mkdir -p /var/lib/pgha /run/pgha
		touch /var/lib/pgha/configured
		# Without data, and before the agent has let them, neither starts.
		systemctl start etcd patroni
		if systemctl --quiet is-active etcd patroni; then echo 'started without the agent' >&2; exit 1; fi
		touch /run/pgha/etcd.env /run/pgha/patroni
		systemctl start etcd patroni`, l.postgres))
	l.primary(t)
	// When memory runs out a backend goes, not the postmaster. A container's kernel may refuse it a score below 0.
	want := []string{"-900", "0"}
	if _, err := l.Try("sh", "-c", "echo -900 >/proc/self/oom_score_adj"); err != nil {
		want[0] = "0"
	}
	got := strings.Fields(l.Sh(t, fmt.Sprintf(`cat /proc/%s/oom_score_adj
		runuser -u postgres -- psql -Atc "select pg_read_file('/proc/self/oom_score_adj')"`, l.postmaster)))
	if !slices.Equal(got, want) {
		t.Errorf("oom_score_adj of postmaster and backend: %q, want %q", got, want)
	}
	env := l.Sh(t, fmt.Sprintf(`tr '\0' '\n' </proc/%s/environ`, l.postmaster))
	for _, want := range []string{"PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj", "PG_OOM_ADJUST_VALUE=0", "MALLOC_ARENA_MAX=1"} {
		if !slices.Contains(strings.Split(env, "\n"), want) {
			t.Errorf("PostgreSQL does not get %s:\n%s", want, env)
		}
	}
}

// pid is the postmaster's.
func (l *life) pid(t *testing.T) string {
	t.Helper()
	return l.Sh(t, fmt.Sprintf("head -n 1 /var/lib/postgresql/%s/main/postmaster.pid", l.postgres))
}

// runs tells whether that postmaster is there.
func (l *life) runs(pid string) bool {
	comm, err := l.Try("cat", "/proc/"+pid+"/comm")
	return err == nil && strings.TrimSpace(comm) == "postgres"
}

// says waits until Patroni's REST API answers with what is wanted.
func (l *life) says(path, want string) {
	l.T.Helper()
	l.until("Patroni's "+path+" says "+want, func() error {
		out, err := l.Try("sh", "-euc", `printf 'GET %s HTTP/1.0\r\n\r\n' "$0" | socat -T 5 - TCP:127.0.0.1:8008`, path)
		if err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("it says %q", out)
		}
		return err
	})
}

// primary waits until PostgreSQL takes writes under Patroni, and notes its process.
func (l *life) primary(t *testing.T) {
	t.Helper()
	l.says("/primary", " 200 OK") // it holds the lock; PostgreSQL may still start
	l.until("PostgreSQL takes writes", func() error {
		out, err := l.Try("runuser", "-u", "postgres", "--", "psql", "-Atc", "select pg_is_in_recovery()")
		if err == nil && strings.TrimSpace(out) != "f" {
			err = errors.New("it recovers")
		}
		return err
	})
	l.postmaster = l.pid(t)
}

// patroniKilled: a primary without Patroni is one too many. Patroni comes back by itself, and brings it back.
func (l *life) patroniKilled(t *testing.T) {
	before := l.postmaster
	l.Sh(t, "systemctl kill --kill-whom=main --signal=KILL patroni")
	l.until("PostgreSQL ends with Patroni", func() error {
		if l.runs(before) {
			return fmt.Errorf("process %s goes on", before)
		}
		return nil
	})
	l.primary(t)
	if l.postmaster == before {
		t.Errorf("PostgreSQL has the same process %s as before", before)
	}
}

// patroniPaused: in pause PostgreSQL outlives a stop of Patroni, as for an upgrade.
func (l *life) patroniPaused(t *testing.T) {
	const ctl = "runuser -u postgres -- patronictl -c /etc/patroni/config.yml "
	l.Sh(t, ctl+"pause --wait")
	l.says("/patroni", `"pause": true`)
	l.Sh(t, "systemctl stop patroni")
	if !l.runs(l.postmaster) {
		t.Error("a stop of Patroni in pause ended PostgreSQL")
	}
	l.Sh(t, "systemctl start patroni")
	l.says("/patroni", `"pause": true`)
	l.Sh(t, ctl+"resume --wait")
	l.says("/primary", " 200 OK")
	l.sameDatabase(t)
}

// patroniHangs is defect D11: a stop that takes too long must not leave an unsupervised primary.
func (l *life) patroniHangs(t *testing.T) {
	const limit = "/run/systemd/system/patroni.service.d/99-trial.conf"
	l.Sh(t, "mkdir -p /run/systemd/system/patroni.service.d; printf '[Service]\\nTimeoutStopSec=2\\n' >"+limit+"; systemctl daemon-reload")
	before := l.postmaster
	l.Sh(t, "kill -STOP "+before+"; systemctl stop patroni")
	// systemd has killed it, and does not wait for what the kernel has still to clear away.
	l.Until("PostgreSQL to end with Patroni", time.Minute, func() error {
		if l.runs(before) {
			return fmt.Errorf("process %s goes on", before)
		}
		return nil
	})
	l.Sh(t, "rm "+limit+"; systemctl daemon-reload; systemctl start patroni")
	l.primary(t)
}
