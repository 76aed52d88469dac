package cluster

// Where things lie on the machines, for all packages that name them. Templates, which look like the files they make, and rows
// of tables that say where those files lie repeat a path.
const (
	// SeedDir is what a machine was told.
	SeedDir = "/etc/pgha"
	// PatroniConfig is what Patroni and patronictl read, PatroniTLS has the certificates of a member, that for etcd's clients too.
	PatroniConfig = "/etc/patroni/config.yml"
	PatroniTLS    = "/etc/patroni/tls"
	// EtcdDataDir is this cluster's etcd. Debian's unit, started before its time, would use /var/lib/etcd/default.
	EtcdDataDir = "/var/lib/etcd/pgha"
	// DatabaseHome is where Debian's PostgreSQL has its data, of every version; a data disk is mounted there.
	DatabaseHome = "/var/lib/postgresql"
	// SocketDir is where Debian's PostgreSQL has its sockets, and their files only while it runs.
	SocketDir = "/var/run/postgresql"
	// HAProxySocket takes commands.
	HAProxySocket = "/run/haproxy/admin.sock"
	// StatusFile is what the agent is at.
	StatusFile = "/run/pgha/status.json"
)
