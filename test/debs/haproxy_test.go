package debs

import (
	"fmt"
	"strings"
	"testing"
)

// Two members: each answers on 5432 with what it is, and on 8008 as Patroni's REST API does. The replica is the second
// server, which HAProxy checks later: it is the one that traffic reaches when servers are up before their first check.
const members = `
	member() {
		printf 'HTTP/1.0 %s x\r\nContent-Length: 0\r\n\r\n' "$3" >"/run/answer.$2"
		systemd-run --quiet --collect --unit="$2-sql" socat "TCP-LISTEN:5432,bind=$1,fork,reuseaddr" "SYSTEM:echo $2"
		systemd-run --quiet --collect --unit="$2-rest" socat "TCP-LISTEN:8008,bind=$1,fork,reuseaddr" "SYSTEM:cat /run/answer.$2"
	}
	member 127.0.0.2 primary 200
	member 127.0.0.3 replica 503
	cat >/etc/haproxy/haproxy.cfg <<-'EOF'
		global
		    chroot /var/lib/haproxy
		    user haproxy
		    group haproxy
		    stats socket /run/haproxy/admin.sock mode 660 level admin expose-fd listeners
		    server-state-file /var/lib/haproxy/server-state
		defaults
		    mode tcp
		    load-server-state-from-file global
		    timeout connect 4s
		    timeout check 3s
		    timeout client 1m
		    timeout server 1m
		    option httpchk
		    default-server port 8008 inter 2s fastinter 500ms downinter 1s fall 3 rise 2
		frontend read_write
		    bind 127.0.0.1:5000
		    default_backend postgres_rw
		backend postgres_rw
		    http-check send meth OPTIONS uri /primary
		    http-check expect status 200
		    server node1 127.0.0.2:5432 check
		    server node2 127.0.0.3:5432 check
	EOF
	mkdir -p /var/lib/pgha
	touch /var/lib/pgha/configured
`

// crowd connects to the read-write port as often as it can, during a command and for five seconds at least, and goes on for
// two minutes at most until it has reached whom it wants to. It returns whom it reached.
func (l *life) crowd(t *testing.T, want, during string) map[string]bool {
	t.Helper()
	out := l.Sh(t, fmt.Sprintf(`
		cat >/run/crowd <<-'EOF'
			begin=$(date +%%s)
			while now=$(($(date +%%s) - begin)); [ $now -lt 5 ] || { [ $now -lt 120 ] && ! grep -q %s /run/reached; }; do
				socat -T 2 - TCP:127.0.0.1:5000 </dev/null 2>/dev/null || echo nobody
			done >>/run/reached
		EOF
		: >/run/reached
		sh /run/crowd &
		%s
		wait
		sort /run/reached | uniq`, want, during))
	reached := map[string]bool{}
	for who := range strings.FieldsSeq(out) {
		reached[who] = true
	}
	return reached
}

// haproxyStarts is defect D19: no session reaches a server before its first check has passed.
func (l *life) haproxyStarts(t *testing.T) {
	l.Sh(t, members)
	got := l.crowd(t, "primary", "systemctl start haproxy")
	if !got["primary"] || got["replica"] {
		t.Errorf("sessions reached %v, want the primary and never the replica", got)
	}
	// The trial's own trial: without what the package does, sessions do reach the replica. HAProxy's first check ends that, on a
	// busy machine before a session comes: then it is started again.
	got = l.crowd(t, "replica", `systemctl stop haproxy
		mkdir -p /run/systemd/system/haproxy.service.d
		printf '[Service]\nExecStartPre=\n' >/run/systemd/system/haproxy.service.d/99-trial.conf
		systemctl daemon-reload
		begin=$(date +%s)
		until grep -q replica /run/reached || [ $(($(date +%s) - begin)) -gt 110 ]; do
			systemctl stop haproxy
			rm -f /var/lib/haproxy/server-state
			systemctl reset-failed haproxy 2>/dev/null || :
			systemctl start haproxy
			looks=0
			until grep -q replica /run/reached || [ $looks -ge 30 ]; do sleep 0.1; looks=$((looks + 1)); done
		done`)
	if !got["replica"] {
		t.Errorf("without the state file sessions reached %v: this test proves nothing", got)
	}
	l.Sh(t, `systemctl stop haproxy; rm /run/systemd/system/haproxy.service.d/99-trial.conf; systemctl daemon-reload; systemctl start haproxy`)
}

// haproxyReloads: a reload neither lets a replica in nor the primary out, not for a moment.
func (l *life) haproxyReloads(t *testing.T) {
	l.until("the primary is up", func() error {
		_, err := l.Try("sh", "-euc", `echo "show stat" | socat - /run/haproxy/admin.sock | grep -q '^postgres_rw,node1,.*,UP,'`)
		return err
	})
	before := l.Sh(t, "cat /var/lib/haproxy/server-state")
	got := l.crowd(t, "primary", "systemctl reload haproxy")
	if len(got) != 1 || !got["primary"] {
		t.Errorf("sessions reached %v, want only the primary", got)
	}
	if after := l.Sh(t, "cat /var/lib/haproxy/server-state"); after == before {
		t.Error("the reload did not save what the servers are")
	}
	// Half an answer must not become the state: then the old process goes on, and says so.
	l.Sh(t, "mv /run/haproxy/admin.sock /run/haproxy/away.sock; if systemctl reload haproxy; then exit 1; fi; mv /run/haproxy/away.sock /run/haproxy/admin.sock; systemctl is-active haproxy")
	l.Sh(t, "systemctl stop primary-sql primary-rest replica-sql replica-rest")
}
