package render

import (
	"io/fs"

	"github.com/pgbake/pgbake/cluster"
)

// row is one file: where it lies, on which machines, whose it is, and who must hear of a change.
type row struct {
	path   string
	on     func(*cluster.Cluster, cluster.Machine) bool
	mode   fs.FileMode
	owner  string
	unit   string
	change change
	// from names files of the machine's identity that make up the body; the template at the same path when empty.
	from []string
}

// change is what a unit needs to see its changed file.
type change bool

const (
	reload  change = false
	restart change = true
)

// The units. Those that Debian's packages bring and those of the pgha packages look the same from here.
const (
	etcd       = "etcd.service"
	patroni    = "patroni.service"
	haproxy    = "haproxy.service"
	keepalived = "keepalived.service"
	chrony     = "chrony.service"
	firewall   = "pgha-firewall.service"
	journald   = "systemd-journald.service"
	sysctl     = "systemd-sysctl.service"
	// units is systemd itself, which reads unit files anew: what is changed for it is started in a step of its own.
	units = "pgha-backup.timer"
	none  = ""
)

// THE TABLE: every file that is written, on every machine. A path appears once; its template lies at root/<path>.
//
// etcd reads its certificate and key anew at each handshake, but its CA only at the start. Patroni is never restarted
// for a file: that would stop PostgreSQL. The SQL is read once, by the program that makes the cluster's roles.
var table = []row{
	// path                              machines  mode   owner           unit        change   from
	{"/etc/hosts", everywhere, 0o644, "", none, reload, nil},
	{"/etc/sysctl.d/60-pgha.conf", everywhere, 0o644, "", sysctl, restart, nil},
	{"/etc/systemd/journald.conf.d/50-pgha.conf", everywhere, 0o644, "", journald, restart, nil},
	{"/etc/chrony/conf.d/pgha.conf", everywhere, 0o644, "", chrony, restart, nil},
	{"/etc/chrony/sources.d/pgha.sources", timeServers, 0o644, "", chrony, restart, nil},
	{"/etc/pgha/firewall.nft", everywhere, 0o644, "", firewall, reload, nil},

	{"/etc/systemd/system/var-lib-postgresql.mount", dataDisk, 0o644, "", none, reload, nil},

	{"/etc/etcd/tls/ca.crt", member, 0o644, "etcd", etcd, restart, []string{"ca.crt"}},
	{"/etc/etcd/tls/etcd.crt", member, 0o644, "etcd", none, reload, []string{"etcd.crt"}},
	{"/etc/etcd/tls/etcd.key", member, 0o600, "etcd", none, reload, []string{"etcd.key"}},
	{"/etc/default/etcd", member, 0o644, "", etcd, restart, nil},

	{"/etc/patroni/tls/ca.crt", member, 0o644, "postgres", patroni, reload, []string{"ca.crt"}},
	{"/etc/patroni/tls/remote-ca.crt", remoteCA, 0o644, "postgres", patroni, reload, nil},
	{"/etc/patroni/tls/etcd-client.crt", member, 0o644, "postgres", patroni, reload, []string{"etcd-client.crt"}},
	{"/etc/patroni/tls/etcd-client.key", member, 0o600, "postgres", patroni, reload, []string{"etcd-client.key"}},
	{"/etc/patroni/tls/rest.crt", member, 0o644, "postgres", patroni, reload, []string{"rest.crt"}},
	{"/etc/patroni/tls/rest.key", member, 0o600, "postgres", patroni, reload, []string{"rest.key"}},
	{"/etc/patroni/tls/postgres.crt", member, 0o644, "postgres", patroni, reload, []string{"postgres.crt"}},
	{"/etc/patroni/tls/postgres.key", member, 0o600, "postgres", patroni, reload, []string{"postgres.key"}},
	{"/etc/patroni/post_bootstrap.sql", member, 0o600, "postgres", none, reload, nil},
	{"/etc/patroni/config.yml", member, 0o600, "postgres", patroni, reload, nil},

	{"/etc/systemd/system/pgha-backup.service.d/10-directory.conf", backups, 0o644, "", units, reload, nil},
	{"/etc/systemd/system/pgha-backup.timer", backups, 0o644, "", units, reload, nil},
	{"/etc/systemd/system/pgha-proof.service.d/10-directory.conf", proofs, 0o644, "", units, reload, nil},
	{"/etc/systemd/system/pgha-proof.timer", proofs, 0o644, "", units, reload, nil},

	{"/etc/pgbackrest/known_hosts", sftp, 0o644, "", none, reload, nil},
	{"/etc/pgbackrest/ssh_key", sftp, 0o600, "postgres", none, reload, nil},
	{"/etc/pgbackrest/pgbackrest.conf", repository, 0o640, "root:postgres", none, reload, nil},

	{"/etc/haproxy/tls/ca.crt", proxy, 0o644, "", haproxy, reload, []string{"ca.crt"}},
	{"/etc/haproxy/tls/proxy.pem", proxy, 0o600, "", haproxy, reload, []string{"proxy.crt", "proxy.key"}},
	{"/etc/haproxy/haproxy.cfg", proxy, 0o640, "root:haproxy", haproxy, reload, nil},
	{"/etc/keepalived/keepalived.conf", virtualAddress, 0o600, "", keepalived, reload, nil},
}

func everywhere(*cluster.Cluster, cluster.Machine) bool { return true }

func member(_ *cluster.Cluster, m cluster.Machine) bool { return m.Role == cluster.DB }

func proxy(_ *cluster.Cluster, m cluster.Machine) bool { return m.Role == cluster.Proxy }

func dataDisk(c *cluster.Cluster, m cluster.Machine) bool {
	return member(c, m) && c.Storage.DataDisk != ""
}

func remoteCA(c *cluster.Cluster, m cluster.Machine) bool {
	return member(c, m) && c.Adopt.Remote.SSLMode.Verifies()
}

func backups(c *cluster.Cluster, m cluster.Machine) bool { return member(c, m) && c.Backup.Taken() }

func proofs(c *cluster.Cluster, m cluster.Machine) bool { return member(c, m) && c.Backup.Proven() }

func repository(c *cluster.Cluster, m cluster.Machine) bool {
	return member(c, m) && c.Backup.Repository.Named()
}

func sftp(c *cluster.Cluster, m cluster.Machine) bool {
	return member(c, m) && c.Backup.Repository.Type == cluster.RepositorySFTP
}

func timeServers(c *cluster.Cluster, _ cluster.Machine) bool { return len(c.TimeServers) > 0 }

func virtualAddress(c *cluster.Cluster, m cluster.Machine) bool {
	return proxy(c, m) && c.VirtualAddress.IsValid()
}
