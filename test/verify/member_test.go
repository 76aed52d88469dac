package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/render"
)

// live is a cluster of one member and a proxy, running from the rendered files.
type live struct {
	*sandbox
	site          *site
	release       release
	member, proxy cluster.Machine
	patroni       *daemon
}

// TestMemberAndProxyRun starts everything for real, in the order that is worst: the proxy first.
func TestMemberAndProxyRun(t *testing.T) {
	each(t, func(t *testing.T, r release) {
		site := quickstart(t, r, 1)
		l := &live{site: site, release: r, member: site.of(cluster.DB)[0], proxy: site.of(cluster.Proxy)[0]}
		l.sandbox = r.sandbox(t, l.member.Address.String(), l.proxy.Address.String())
		l.write(site.files(t, l.proxy))
		l.write(site.files(t, l.member))
		l.packaged("pgha-node", "/usr/lib/pgha/post-bootstrap")
		l.packaged("pgha-node", "/usr/lib/pgha/patroni")
		l.packaged("pgha-node", "/usr/lib/pgha/pgha_corrections.py")
		l.packaged("pgha-proxy", "/usr/lib/pgha/haproxy-state")
		l.packaged("pgha-proxy", "/usr/lib/pgha/cut-sessions.lua")
		for _, step := range []struct {
			name string
			test func(*live, *testing.T)
		}{
			{"haproxy takes no server for up unchecked", (*live).haproxyStarts},
			{"etcd wants certificates", (*live).etcdStarts},
			{"patroni makes the cluster", (*live).patroniStarts},
			{"the dynamic configuration is Dynamic", (*live).dynamic},
			{"postgres takes every setting", (*live).settings},
			{"roles and databases", (*live).roles},
			{"who may connect", (*live).hba},
			{"REST writes need the password", (*live).rest},
			{"the proxy leads to the primary", (*live).throughProxy},
			{"statistics need the password", (*live).stats},
			{"post_bootstrap again changes and tells nothing", (*live).again},
			{"the SQL for a primary elsewhere changes nobody's password", (*live).remote},
			{"no password in any log", (*live).silence},
		} {
			if !t.Run(step.name, func(t *testing.T) { l.t = t; step.test(l, t) }) {
				break // the steps stand on each other
			}
			l.t = t
		}
	})
}

func (l *live) haproxyStarts(t *testing.T) {
	l.run("root", "/usr/lib/pgha/haproxy-state", "down")
	l.start("root", "haproxy", "-W", "-f", "/etc/haproxy/haproxy.cfg")
	var state string
	l.await("HAProxy's socket", func() (err error) {
		state, err = l.haproxy("show servers state")
		return err
	})
	rows := 0
	for line := range strings.Lines(state) {
		// version, then: be_id be_name srv_id srv_name srv_addr srv_op_state …
		if f := strings.Fields(line); len(f) > 6 && f[0] != "#" {
			rows++
			if f[5] != "0" {
				t.Errorf("not down at the start: %s", line)
			}
		}
	}
	if rows != 2*len(l.site.Nodes) {
		t.Errorf("%d servers in\n%s", rows, state)
	}
}

func (l *live) haproxy(command string) (string, error) {
	return l.try("root", "sh", "-c", "echo "+command+" | socat - UNIX-CONNECT:/run/haproxy/admin.sock")
}

func (l *live) etcdStarts(t *testing.T) {
	// The members are the agent's to add.
	d := l.start("etcd", "sh", "-c", "set -a; . /etc/default/etcd; ETCD_INITIAL_CLUSTER="+l.site.EtcdInitialCluster()+" exec etcd")
	endpoint := fmt.Sprintf("%s:%d", l.member.Address, l.site.Ports.EtcdClient)
	l.await("etcd", func() error {
		out, err := l.etcdctl("endpoint", "health")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	for _, how := range [][]string{
		{"--endpoints=http://" + endpoint},
		{"--endpoints=https://" + endpoint, "--cacert=/etc/etcd/tls/ca.crt"},
	} {
		args := append([]string{"env", "ETCDCTL_API=3", "etcdctl", "--command-timeout=2s", "--dial-timeout=2s"}, how...)
		if out, err := l.try("root", append(args, "get", "x")...); err == nil {
			t.Errorf("etcd answers without a client certificate: %s\n%s", how, out)
		}
	}
	for line := range strings.Lines(d.log()) {
		if strings.Contains(line, "nrecognized environment") && !strings.Contains(line, "ETCD_UNSUPPORTED_ARCH") {
			t.Error(line)
		}
	}
	if _, err := os.Stat(filepath.Join(l.dir, cluster.EtcdDataDir, "member")); err != nil {
		t.Error(err)
	}
	if out := l.run("root", "ss", "-Hltn"); strings.Contains(out, "0.0.0.0:23") || strings.Contains(out, "*:23") {
		t.Errorf("etcd listens everywhere\n%s", out)
	}
}

// etcdctl speaks as Patroni does.
func (l *live) etcdctl(args ...string) (string, error) {
	return l.try("root", append([]string{
		"env", "ETCDCTL_API=3", "etcdctl", fmt.Sprintf("--endpoints=https://%s:%d", l.member.Address, l.site.Ports.EtcdClient),
		"--cacert=/etc/patroni/tls/ca.crt", "--cert=/etc/patroni/tls/etcd-client.crt", "--key=/etc/patroni/tls/etcd-client.key",
	}, args...)...)
}

func (l *live) patroniStarts(t *testing.T) {
	l.patroni = l.start("postgres", "/usr/lib/pgha/patroni", "/etc/patroni/config.yml")
	l.await("a leader", func() error {
		out, err := l.try("postgres", "patronictl", "-c", "/etc/patroni/config.yml", "list", "-f", "json")
		var members []struct{ Member, Role, State string }
		if err := json.Unmarshal([]byte(out), &members); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		if len(members) != 1 || members[0].Role != "Leader" || members[0].State != "running" {
			return errors.New(out)
		}
		return err
	})
	l.await("the end of the bootstrap", func() error {
		if !strings.Contains(l.patroni.log(), "the leader with the lock") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

func (l *live) dynamic(t *testing.T) {
	out, err := l.etcdctl("get", "--print-value-only", l.site.Namespace+l.site.Scope+"/config")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got, want any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	body, err := json.Marshal(render.Dynamic(l.site.Cluster))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &want); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("etcd does not hold what Dynamic says (-want +got):\n%s", d)
	}
}

// sql asks as the superuser, by the socket.
func (l *live) sql(query string) string {
	l.t.Helper()
	return strings.TrimSpace(l.run("postgres", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", query))
}

func (l *live) settings(t *testing.T) {
	for _, view := range []string{"pg_file_settings", "pg_hba_file_rules"} {
		if out := l.sql("SELECT * FROM " + view + " WHERE error IS NOT NULL"); out != "" {
			t.Errorf("%s: %s", view, out)
		}
	}
	provider, alter := "c", ""
	if l.release.postgres >= 17 {
		provider, alter = "b", "off"
	}
	for query, want := range map[string]string{
		"SELECT string_agg(name, ' ') FROM pg_settings WHERE pending_restart":                                                      "",
		"SELECT datlocprovider FROM pg_database WHERE datname = 'template1'":                                                       provider,
		"SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'template1'":                                        "UTF8",
		"SELECT coalesce(current_setting('allow_alter_system', true), '')":                                                         alter,
		"SELECT current_setting('data_checksums')":                                                                                 "on",
		"SELECT current_setting('shared_buffers')":                                                                                 "256MB",
		"SELECT current_setting('max_slot_wal_keep_size')":                                                                         "15GB",
		"SELECT current_setting('max_wal_size')":                                                                                   "2GB",
		"SELECT current_setting('archive_mode')":                                                                                   "on",
		"SELECT current_setting('idle_in_transaction_session_timeout')":                                                            "10min",
		"SELECT current_setting('wal_receiver_status_interval')":                                                                   "1s",
		"SELECT current_setting('tcp_user_timeout')":                                                                               "0", // by the socket there is none
		"SELECT current_setting('ssl')":                                                                                            "on",
		"SELECT current_setting('listen_addresses')":                                                                               l.member.Address.String() + ",127.0.0.1",
		"SELECT reset_val FROM pg_settings WHERE name = 'tcp_user_timeout'":                                                        "30000",
		"SELECT count(*) FROM pg_settings WHERE name = 'ssl_min_protocol_version' AND setting = 'TLSv1.2' AND source <> 'default'": "1",
	} {
		if got := l.sql(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func (l *live) roles(t *testing.T) {
	got := l.sql(`SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolreplication, left(rolpassword, 13)
		FROM pg_authid WHERE rolcanlogin ORDER BY 1`)
	want := "app|f|f|f|f|SCRAM-SHA-256\npostgres|t|t|t|t|\nreplicator|f|f|f|t|SCRAM-SHA-256\nrewind|f|f|f|f|SCRAM-SHA-256"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("roles (-want +got):\n%s", d)
	}
	got = l.sql(`SELECT datname, pg_get_userbyid(datdba), has_database_privilege('rewind', datname, 'CONNECT')
		FROM pg_database WHERE NOT datistemplate ORDER BY 1`)
	if d := cmp.Diff("app|app|f\npostgres|postgres|t", got); d != "" {
		t.Errorf("databases (-want +got):\n%s", d)
	}
}
