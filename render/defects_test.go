package render

import (
	"regexp"
	"testing"
)

// The manual's mistakes that a file could bring back, by their numbers. None of the patterns may match in a file
// whose path the first pattern matches; the files of all machines of all specifications are looked at.
var defects = []struct {
	number, file, never string
}{
	// number  file                 what must not be in it
	{"D2", `.`, `/etc/etcd/etcd\.conf`},
	{"D3", `/default/etcd$`, `(?m)^ETCD_DATA_DIR="?(/var/lib/etcd/?|/var/lib/etcd/default)"?$`},
	{"D6", `/config\.yml$`, `(?m)^  users:|^    global:`},
	{"D6b", `/config\.yml$`, `(?m)^  pg_hba:\n(.*\n)*?postgresql:`},
	{"D7", `/config\.yml$`, `synchronous_standby_names`},
	{"D7b", `/config\.yml$`, `remote_apply`},
	{"D13", `/default/etcd$`, `http://`},
	{"D13", `/config\.yml$`, `protocol: http$|http://`},
	{"D14", `/config\.yml$`, `0\.0\.0\.0`},
	{"D15", `.`, `\btrust\b.*$|12345|1234\b|adminpass|globalpass|StrongPassword|\bmd5\b`},
	{"D15", `/config\.yml$`, `(?m)^  - host(ssl)? \S+ (all|postgres)\S* (all|0\.0\.0\.0/0|::/0) (?:scram|md5|trust|password)`},
	{"D15", `/config\.yml$`, `superuser:\n      username: \S+\n      password`},
	{"D18", `haproxy\.cfg$`, `timeout (client|server) +(50000|50s)`},
	{"D19", `haproxy\.cfg$`, `init-state`}, // neither 2.6 nor 3.0 knows it
	{"D23", `.`, `/master\b`},
	{"D31", `.`, `ssl-server-verify +none|verify +none`},
	{"unreleased", `/config\.yml$`, `primary_race_backoff|parameters_primary|pg_hba_primary`},
}

// What the manual lacks, and each file of that name must have.
var remedies = []struct {
	number, file, always string
}{
	{"D3", `/default/etcd$`, `(?m)^ETCD_DATA_DIR=/var/lib/etcd/\w`},
	{"D6", `/config\.yml$`, `post_bootstrap: /usr/lib/pgha/post-bootstrap|standby_cluster:`}, // a copy has its roles already,
	{"D7", `/config\.yml$`, `(?m)^    synchronous_mode: (quorum|true|false)$`},
	{"D11", `/config\.yml$`, `(?m)^watchdog:\n  mode: automatic$`},
	{"D13", `/default/etcd$`, `ETCD_CLIENT_CERT_AUTH=true\n(.*\n)*ETCD_PEER_CLIENT_CERT_AUTH=true`},
	{"D14", `/config\.yml$`, `(?m)^  authentication:\n    username: patroni\n    password: \S+\n  allowlist:$`},
	{"D15", `/config\.yml$`, `(?m)^  - host all postgres,replicator,rewind all reject$`},
	{"D17", `haproxy\.cfg$`, `on-marked-down shutdown-sessions|lua-load /usr/lib/pgha/cut-sessions.lua`},
	{"D18", `haproxy\.cfg$`, `option clitcpka\n(.*\n)*    option srvtcpka`},
	{"D19", `haproxy\.cfg$`, `server-state-file /var/lib/haproxy/server-state\n(.*\n)*    load-server-state-from-file global`},
	{"D20", `haproxy\.cfg$`, `inter \d+m?s fastinter \d+m?s downinter \d+m?s fall \d rise \d`},
	{"D21", `keepalived\.conf$`, `unicast_peer`},
	{"D22", `haproxy\.cfg$`, `uri /replica\?lag=`},
	{"D24", `/config\.yml$`, `max_slot_wal_keep_size`},
	{"D25", `/config\.yml$`, `archive_mode: "on"`},
	{"D26", `/default/etcd$`, `ETCD_AUTO_COMPACTION_RETENTION=1h\nETCD_QUOTA_BACKEND_BYTES=2147483648`},
	{"D36", `/config\.yml$`, `locale-provider: |standby_cluster:`},
	{"D36", `journald`, `SystemMaxUse=`},
	{"D36", `firewall\.nft$`, `policy drop;`},
}

func TestManualDefectsStayAway(t *testing.T) {
	comments := regexp.MustCompile(`(?m)^ *(#|--).*$`) // may name what they avoid
	met := map[string]bool{}
	for name, c := range specs(t) {
		for _, m := range c.Machines() {
			for _, f := range machine(t, c, m) {
				body := comments.ReplaceAllString(string(f.Body), "")
				for _, d := range defects {
					if found := regexp.MustCompile(d.never).FindString(body); found != "" && regexp.MustCompile(d.file).MatchString(f.Path) {
						t.Errorf("%s is back: %s %s%s has %q", d.number, name, m.Name, f.Path, found)
					}
				}
				for _, r := range remedies {
					if !regexp.MustCompile(r.file).MatchString(f.Path) {
						continue
					}
					met[r.file] = true
					if !regexp.MustCompile(r.always).MatchString(body) {
						t.Errorf("%s is back: %s %s%s lacks %s", r.number, name, m.Name, f.Path, r.always)
					}
				}
			}
		}
	}
	for _, r := range remedies {
		if !met[r.file] {
			t.Errorf("%s: no file is called %s", r.number, r.file)
		}
	}
}

// TestDefectsAreSeen proves that the patterns match what the manual says.
func TestDefectsAreSeen(t *testing.T) {
	manual := map[string]string{
		"D3":  "ETCD_DATA_DIR=\"/var/lib/etcd\"",
		"D6":  "bootstrap:\n  users:\n    admin:\n",
		"D6b": "bootstrap:\n  pg_hba:\n  - host all all 0.0.0.0/0 scram-sha-256\npostgresql:\n",
		"D13": "ETCD_LISTEN_PEER_URLS=\"http://192.168.184.151:2380\"",
		"D14": "  listen: 0.0.0.0:8008",
		"D15": "host all postgres 127.0.0.1/32 trust",
		"D18": "timeout client 50000",
		"D23": "option httpchk GET /master",
	}
	for number, text := range manual {
		seen := false
		for _, d := range defects {
			seen = seen || d.number == number && regexp.MustCompile(d.never).MatchString(text)
		}
		if !seen {
			t.Errorf("%s: no pattern sees %q", number, text)
		}
	}
}
