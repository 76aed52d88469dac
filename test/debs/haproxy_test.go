package debs

import (
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

// crowd connects to the read-write port for a while, as often as it can, during a command; it prints how often
// it reached whom.
func (l *life) crowd(t *testing.T, during string) map[string]bool {
	t.Helper()
	out := l.Sh(t, `
		timeout 5 sh -c 'while :; do socat -T 2 - TCP:127.0.0.1:5000 </dev/null 2>/dev/null || echo nobody; done' >/run/reached &
		`+during+`
		wait || :
		sort /run/reached | uniq`)
	reached := map[string]bool{}
	for who := range strings.FieldsSeq(out) {
		reached[who] = true
	}
	return reached
}

// haproxyStarts is defect D19: no session reaches a server before its first check has passed.
func (l *life) haproxyStarts(t *testing.T) {
	l.Sh(t, members)
	got := l.crowd(t, "systemctl start haproxy")
	if !got["primary"] || got["replica"] {
		t.Errorf("sessions reached %v, want the primary and never the replica", got)
	}
	// The trial's own trial: without what the package does, sessions do reach the replica.
	got = l.crowd(t, `systemctl stop haproxy
		mkdir -p /run/systemd/system/haproxy.service.d
		printf '[Service]\nExecStartPre=\n' >/run/systemd/system/haproxy.service.d/99-trial.conf
		rm /var/lib/haproxy/server-state
		systemctl daemon-reload
		systemctl start haproxy`)
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
	got := l.crowd(t, "systemctl reload haproxy")
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
