// Package cluster holds the specification of a highly available PostgreSQL cluster.
//
// In comes one cluster.yaml; out comes a *Cluster that is complete and valid, or every complaint about it
// with its place. The package only computes: it runs no program, opens no connection and reads no clock.
// After Load nobody writes to a Cluster.
package cluster

import "net/netip"

// Cluster is what the user wants. Only Load makes one, so in hand it is always complete and valid.
type Cluster struct {
	// Scope names the cluster: Patroni's scope, etcd's token, the certificates' organisation.
	Scope string `yaml:"scope"`
	// Namespace is the path in etcd below which Patroni keeps the cluster, with a slash at both ends.
	Namespace string `yaml:"namespace"`
	// Debian is the release of every machine: 12 (bookworm) or 13 (trixie).
	Debian Release `yaml:"debian"`
	// Network is the one that all machines of the cluster stand in.
	Network netip.Prefix `yaml:"network"`
	// Gateway is the default route of the machines; none when absent.
	Gateway netip.Addr `yaml:"gateway"`
	// NameServers are the machines' resolvers, IPv4; when absent, no host outside is found by its name.
	NameServers []netip.Addr `yaml:"name_servers"`
	// ClientNetworks may reach the proxies' ports and, with TLS and a password, PostgreSQL itself.
	ClientNetworks []netip.Prefix `yaml:"client_networks"`
	// AdminNetworks may reach ssh, and the statistics page of the proxies.
	AdminNetworks []netip.Prefix `yaml:"admin_networks"`
	// Nodes are the database machines, each with an etcd member: one, three or five.
	Nodes []Node `yaml:"nodes"`
	// Proxies are the HAProxy machines: none, one or two.
	Proxies []Node `yaml:"proxies"`
	// VirtualAddress moves between two proxies by keepalived; it needs two of them.
	VirtualAddress netip.Addr `yaml:"virtual_address"`
	// Postgres is the database itself.
	Postgres Postgres `yaml:"postgres"`
	// Adopt names a database that is older than the cluster, which begins with an empty one when absent.
	Adopt Adopt `yaml:"adopt,omitempty"`
	// Replication says what an acknowledged write is worth.
	Replication Replication `yaml:"replication"`
	// Failover drives Patroni's, HAProxy's and the TCP timers together: fast, normal or safe.
	Failover Failover `yaml:"failover"`
	// Ports are the manual's unless changed.
	Ports Ports `yaml:"ports"`
	// Storage is where the data lies.
	Storage Storage `yaml:"storage"`
	// Backup is when base backups are taken and how many are kept.
	Backup Backup `yaml:"backup"`
	// Alerts are the places that hear of trouble.
	Alerts Alerts `yaml:"alerts"`
	// SSHKeys are public keys that may log in as the user "debian".
	SSHKeys []string `yaml:"ssh_keys"`
	// TimeServers are asked for the time by chrony: names, or IPv4 addresses.
	TimeServers []string `yaml:"time_servers"`
	// Packages is the apt repository of the pgha packages, for machines that are not booted from a pgbake image.
	Packages Archive `yaml:"packages"`
}

// Node is one machine: a database member or a proxy, which Role tells.
type Node struct {
	// Name is the machine's host name, Patroni's member name and etcd's.
	Name string `yaml:"name"`
	// Address is the machine's only address in the cluster's network.
	Address netip.Addr `yaml:"address"`
	// MAC is the hardware address of the card that gets the address. A machine with one Ethernet card needs none; one
	// with several is refused without it.
	MAC string `yaml:"mac"`
}

// Postgres is the database server, its databases and its users.
type Postgres struct {
	// Version is the major version: 15 to 18, as the source has it.
	Version int `yaml:"version"`
	// Source is the archive that PostgreSQL and Patroni come from: Debian's own, or PGDG.
	Source Source `yaml:"source"`
	// Mirror is your own copy of that archive; the archive itself when absent.
	Mirror Archive `yaml:"mirror"`
	// Locale is "C.UTF-8" (PostgreSQL's own from version 17 on, else libc's), or "icu:TAG" such as "icu:ru-RU".
	Locale string `yaml:"locale"`
	// Parameters go into Patroni's dynamic configuration as they are.
	Parameters map[string]string `yaml:"parameters"`
	// Databases are made once, when the cluster is made.
	Databases []Database `yaml:"databases"`
	// Users are the applications' roles, made once; their passwords lie in secrets/.
	Users []User `yaml:"users"`
	// ReplicationUser is the role the replicas stream as.
	ReplicationUser string `yaml:"replication_user"`
}

// Database is one database and its owner.
type Database struct {
	// Name is what applications connect to: small letters, digits, "_" and "-".
	Name string `yaml:"name"`
	// Owner is one of the users.
	Owner string `yaml:"owner"`
}

// User is one role that may log in over the network, with TLS and a password.
type User struct {
	// Name is the role's name: small letters, digits, "_" and "-".
	Name string `yaml:"name"`
	// CreateDB lets the role make databases.
	CreateDB bool `yaml:"create_db"`
	// CreateRole lets the role make other roles.
	CreateRole bool `yaml:"create_role"`
}

// Adopt is a database that is older than the cluster: it becomes the first primary's, and the other machines wait for it.
// As long as it stands here no machine makes an empty database, and users and databases that exist are left as they are.
type Adopt struct {
	// Node is the machine that has the database.
	Node string `yaml:"node"`
	// Cluster is a cluster of Debian's own tools there, with its configuration in /etc/postgresql: VERSION/NAME, such as 17/main.
	Cluster string `yaml:"cluster"`
	// Data tells that the database lies in the cluster's data directory already, as on a data disk from elsewhere.
	Data bool `yaml:"data,omitempty"`
	// Remote is a primary elsewhere. The cluster streams from it, all members with it, until `pgha cutover`.
	Remote Remote `yaml:"remote,omitempty"`
}

// Remote is a primary that is none of the cluster's machines.
type Remote struct {
	// Host is its address or name.
	Host string `yaml:"host"`
	// Port is its TCP port.
	Port int `yaml:"port"`
	// SSLMode is libpq's word for how far its certificate is trusted: verify-full, verify-ca, require, prefer or disable.
	SSLMode SSLMode `yaml:"sslmode"`
	// CA is the certificate that has signed its certificate, PEM, the text itself; for verify-full and verify-ca.
	CA string `yaml:"ca"`
}

// Archive is an apt archive and the key it is signed with.
type Archive struct {
	// URL is what stands behind "deb" in an apt source: http, https or file.
	URL string `yaml:"url"`
	// Key is the armored OpenPGP public key, the text itself: the specification stays one file.
	Key string `yaml:"key"`
}

// Replication says what an acknowledged write is worth.
type Replication struct {
	// Mode is quorum (any one replica has it), sync (a named one has it) or async (maybe only the primary has it).
	// With five members it is two replicas.
	Mode Mode `yaml:"mode"`
	// Strict refuses writes when no replica is there to confirm them.
	Strict bool `yaml:"strict"`
}

// Ports are TCP ports, 1 to 65535, no two the same on one machine.
type Ports struct {
	// Postgres is PostgreSQL itself, on the database machines.
	Postgres int `yaml:"postgres"`
	// Patroni is its REST API, on the database machines.
	Patroni int `yaml:"patroni"`
	// EtcdClient is where Patroni talks to etcd, on the database machines.
	EtcdClient int `yaml:"etcd_client"`
	// EtcdPeer is where etcd's members talk to each other, and members without data to the proxies.
	EtcdPeer int `yaml:"etcd_peer"`
	// ReadWrite leads to the primary, on the proxies.
	ReadWrite int `yaml:"read_write"`
	// ReadOnly leads to the replicas, on the proxies.
	ReadOnly int `yaml:"read_only"`
	// Stats is HAProxy's statistics page and its /metrics, on the proxies.
	Stats int `yaml:"stats"`
	// PGHA is where the agents tell each other of newer specifications, on every machine.
	PGHA int `yaml:"pgha"`
	// Metrics is where Prometheus finds what the monitor sees, on every machine.
	Metrics int `yaml:"metrics"`
	// SSH is the door for people, on every machine.
	SSH int `yaml:"ssh"`
}

// Storage is where the data lies.
type Storage struct {
	// DataDisk is a disk of its own for PostgreSQL: auto, the machine's one blank disk, or a block device such as
	// /dev/disk/by-id/…; the root disk when empty. It is formatted only when it is blank. Made larger, it becomes room at the next boot or `pgha apply`.
	DataDisk string `yaml:"data_disk"`
}

// AnyDisk is the word for the one blank disk of a machine, in place of a device's name: what /dev/vdb is depends on the order in
// which disks and the seed are attached.
const AnyDisk = "auto"

// Backup is when base backups are taken, where to and how many are kept.
type Backup struct {
	// Wanted is false where there are to be no backups, or others take them: then nobody warns that there are none.
	Wanted bool `yaml:"wanted"`
	// Directory holds the backups on the database machines; no backups when neither it nor a repository is named.
	Directory string `yaml:"directory"`
	// Repository is pgBackRest's, in the place of Directory: with it the WAL is archived, and any moment can be restored.
	Repository Repository `yaml:"repository,omitempty"`
	// At is the time of day, "HH:MM".
	At string `yaml:"at"`
	// Keep is how many good backups stay at least; of a repository, how many full ones.
	Keep int `yaml:"keep"`
	// KeepDays is how many days old a backup becomes at least; 0 leaves it to Keep alone. In a repository it replaces Keep.
	KeepDays int `yaml:"keep_days"`
	// Dump names the databases that are also dumped.
	Dump []string `yaml:"dump"`
	// Prove is how often the newest backup is restored on trial: daily, weekly (on Sundays) or never.
	Prove Prove `yaml:"prove"`
}

// Repository is where pgBackRest keeps backups and WAL. The keys of an S3 store lie in secrets/secrets.yaml.
type Repository struct {
	// Type is path (a directory that all members share, such as a mount of NFS), s3 or sftp.
	Type RepositoryType `yaml:"type"`
	// Path is the directory, on the sftp host or in the bucket where there is one.
	Path string `yaml:"path"`
	// Bucket is the S3 store's.
	Bucket string `yaml:"bucket,omitempty"`
	// Endpoint is the S3 store's host name.
	Endpoint string `yaml:"endpoint,omitempty"`
	// Region is the S3 store's.
	Region string `yaml:"region,omitempty"`
	// Host is the sftp server's name or address.
	Host string `yaml:"host,omitempty"`
	// User logs in there, by the key repository_ssh_key in secrets/secrets.yaml.
	User string `yaml:"user,omitempty"`
	// HostKey is the server's public key, as ssh-keyscan shows it: its type and its text.
	HostKey string `yaml:"host_key,omitempty"`
	// Full is how often a backup is a full one: weekly (on Sundays, the others are differential) or daily.
	Full Full `yaml:"full"`
}

// Alerts are the places that hear of trouble.
type Alerts struct {
	// Webhook is an http or https address that hears of each alert. One that holds a token is a password: it stands in
	// secrets/secrets.yaml as "webhook", and here the word "secret".
	Webhook string `yaml:"webhook"`
	// Format is what the webhook gets: json (an object for each alert), slack or telegram.
	Format AlertFormat `yaml:"format"`
	// Chat is the chat that Telegram's bot writes to.
	Chat string `yaml:"chat,omitempty"`
	// Email addresses get a letter for each alert.
	Email []string `yaml:"email"`
	// Relay is the mail server that takes the letters: HOST:PORT; 465 is TLS from the start, any other takes it where offered.
	Relay string `yaml:"relay,omitempty"`
	// RelayUser logs in there, with the password "relay" in secrets/secrets.yaml; nobody does when absent.
	RelayUser string `yaml:"relay_user,omitempty"`
	// From is the letters' sender; the first of email when absent.
	From string `yaml:"from,omitempty"`
	// Command runs for each alert, with the JSON object as its input: the program's path and its arguments.
	Command []string `yaml:"command,omitempty"`
	// Repeat is after how long an alert that lasts is told again, in minutes, hours or days: 30m, 4h, 1d; 0 is never.
	Repeat string `yaml:"repeat"`
}

// SecretWebhook is the word for a webhook whose address stands with the secrets.
const SecretWebhook = "secret"

// Release is a Debian release by its number.
type Release int

// Source is the archive that PostgreSQL comes from.
type Source string

// The archives that pgbake knows.
const (
	SourceDebian Source = "debian"
	SourcePGDG   Source = "pgdg"
)

// SSLMode is libpq's sslmode.
type SSLMode string

// How far a certificate is trusted.
const (
	SSLDisable    SSLMode = "disable"
	SSLPrefer     SSLMode = "prefer"
	SSLRequire    SSLMode = "require"
	SSLVerifyCA   SSLMode = "verify-ca"
	SSLVerifyFull SSLMode = "verify-full"
)

// Mode is the kind of replication.
type Mode string

// The kinds of replication.
const (
	Quorum Mode = "quorum"
	Sync   Mode = "sync"
	Async  Mode = "async"
)

// Failover is how eagerly the cluster leaves a primary that does not answer.
type Failover string

// The three speeds of failover.
const (
	Fast   Failover = "fast"
	Normal Failover = "normal"
	Safe   Failover = "safe"
)

// AlertFormat is the shape of what a webhook gets.
type AlertFormat string

// The shapes that webhooks know.
const (
	JSON     AlertFormat = "json"
	Slack    AlertFormat = "slack"
	Telegram AlertFormat = "telegram"
)

// RepositoryType is where a repository lies; empty when there is none.
type RepositoryType string

// The kinds of repositories.
const (
	RepositoryPath RepositoryType = "path"
	RepositoryS3   RepositoryType = "s3"
	RepositorySFTP RepositoryType = "sftp"
)

// Full is how often a backup in a repository is a full one.
type Full string

// How often.
const (
	FullWeekly Full = "weekly"
	FullDaily  Full = "daily"
)

// Prove is how often the newest backup is restored on trial.
type Prove string

// How often.
const (
	Daily  Prove = "daily"
	Weekly Prove = "weekly"
	Never  Prove = "never"
)

// Role is what a machine is for.
type Role string

// The roles of machines.
const (
	DB    Role = "db"
	Proxy Role = "proxy"
)
