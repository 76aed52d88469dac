package lint

import (
	"path/filepath"
	"regexp"
)

// Kind is what a file is.
type Kind string

// The kinds of files. Versions are what is installed: dpkg --list, patroni --version, etcd --version.
const (
	Patroni    Kind = "patroni"
	HAProxy    Kind = "haproxy"
	Etcd       Kind = "etcd"
	EtcdYAML   Kind = "etcd-yaml"
	Unit       Kind = "unit"
	Keepalived Kind = "keepalived"
	HBA        Kind = "hba"
	PostgreSQL Kind = "postgresql"
	Script     Kind = "script"
	Versions   Kind = "versions"
)

// marks tell a kind by its content or else by its name; the first that matches decides, content before names. A script
// may hold every other kind, so it is asked for first.
var marks = []struct {
	kind    Kind
	content *regexp.Regexp
	name    *regexp.Regexp
}{
	// kind, content, name
	{Script, regexp.MustCompile(`\A#! ?/\S*(sh|bash|dash|env (ba)?sh)\b`), regexp.MustCompile(`\.(sh|bash)$`)},
	{Versions, regexp.MustCompile(`(?m)^(ii|hi)\s+\S+\s+\S*\d|\Apatroni \d|\Aetcd Version: `), regexp.MustCompile(`^versions\.txt$`)},
	{Patroni, regexp.MustCompile(`(?m)^(restapi|bootstrap|etcd3?|postgresql)\s*:`), regexp.MustCompile(`patroni.*\.ya?ml$`)},
	{EtcdYAML, regexp.MustCompile(`(?m)^(listen-client-urls|listen-peer-urls|initial-cluster|advertise-client-urls)\s*:`), regexp.MustCompile(`etcd.*\.ya?ml$`)},
	{Etcd, regexp.MustCompile(`(?m)^\s*(export\s+)?ETCD_[A-Z_]+=`), regexp.MustCompile(`/default/etcd$|^etcd\.(conf|env)$`)},
	{Unit, regexp.MustCompile(`(?m)^\[(Unit|Service|Install|Mount|Socket|Timer)\]\s*$`), regexp.MustCompile(`\.(service|mount|timer|socket)$`)},
	{Keepalived, regexp.MustCompile(`(?m)^\s*(vrrp_instance|vrrp_script|global_defs)\b`), regexp.MustCompile(`^keepalived.*\.conf$`)},
	{HAProxy, regexp.MustCompile(`(?m)^\s*(frontend|backend|listen)\s+[\w.:-]+\s*(#.*)?$|^\s*(bind|server)\s+\S+(:\d+|\s+\S+:\d+)`), regexp.MustCompile(`haproxy.*\.cfg$`)},
	{HBA, regexp.MustCompile(`(?m)^\s*(local|host|hostssl|hostnossl|hostgssenc|hostnogssenc)\s+\S+\s+\S+\s+\S+`), regexp.MustCompile(`^pg_hba.*\.conf$`)},
	{PostgreSQL, regexp.MustCompile(`(?m)^\s*#?\s*(wal_level|shared_buffers|max_connections|listen_addresses|synchronous_commit|synchronous_standby_names|max_wal_senders|hot_standby)\s*=`), regexp.MustCompile(`^postgresql.*\.conf$`)},
	{Script, regexp.MustCompile(`(?m)^\s*(sudo\s+)?(systemctl|apt|apt-get|patronictl|etcdctl|pg_basebackup|pg_dump|psql)\s`), regexp.MustCompile(`\.sql$`)},
}

// Recognize tells what a file is by its content and name; empty when it cannot be told.
func Recognize(name string, body []byte) Kind {
	for _, m := range marks {
		if m.content.Match(body) || m.kind == Script && m.name.MatchString(name) {
			return m.kind
		}
	}
	for _, m := range marks {
		if m.name.MatchString(name) || m.name.MatchString(filepath.Base(name)) {
			return m.kind
		}
	}
	return ""
}

// Kinds are the names of all kinds.
func Kinds() []string {
	return []string{
		string(Patroni), string(HAProxy), string(Etcd), string(EtcdYAML), string(Unit),
		string(Keepalived), string(HBA), string(PostgreSQL), string(Script), string(Versions),
	}
}
