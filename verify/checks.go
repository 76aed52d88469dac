package verify

import "context"

// check is one thing that must hold.
type check struct {
	name, title string
	// hint is what to do when it does not, on which machine.
	hint string
	run  func(context.Context, *Verifier, *finding)
}

// THE TABLE. The manual's chapter "Проверка работы кластера", and what it promises elsewhere.
var checks = []check{
	// name          title                                                      hint                                                       run
	{"roles", "one member is the primary, every other one replicates", "pgha status, on any member", roles},
	{"read-write", "where applications write, the primary answers", "pgha status, on the proxy", readWrite},
	{"read-only", "where applications read, replicas answer", "pgha status, on the proxy", readOnly},
	{"tls", "every door shows a certificate of the cluster's authority, for its own name", "pgha status, on the machine, shows its certificates; pgbake seed renews them", certificates},
	{"plain-text", "no door lets anybody in without TLS", "pgha diff, on the member: pg_hba.conf is not as the specification says", plainText},
	{"users", "every user logs in, and may do what the specification says and no more", "pgha apply, on the primary, sets passwords and rights anew", users},
	{"wrong-password", "no user gets in with a wrong password", "pgha diff, on the member: pg_hba.conf is not as the specification says", wrongPassword},
	{"superuser", "nobody logs in over the network as the superuser, nor as a role of the machines", "pgha diff, on the member: pg_hba.conf is not as the specification says", superuser},
	{"closed-databases", "only the users of the specification enter its databases", "as the database's owner: REVOKE CONNECT ON DATABASE … FROM PUBLIC", closedDatabases},
	{"replication", "a row that is written through the proxy is on every replica soon", "pgha status, on any member; journalctl -u patroni, on the replica", replication},
	{"durability", "an acknowledged write waits for as many replicas as the specification says", "patronictl show-config, on a member: synchronous_mode", durability},
	{"settings", "every member runs the PostgreSQL of the specification, with checksums", "pgha diff, on the member", settings},
	{"clocks", "the members' clocks agree", "chronyc tracking, on the machine", clocks},
	{"etcd", "etcd is closed to clients", "pgha diff, on the member; nft list table inet pgha", etcdClosed},
	{"patroni", "Patroni's API is closed to clients; to others it says who leads, and takes no order without a password", "pgha diff, on the member; nft list table inet pgha", patroniAPI},
	{"statistics", "the statistics page asks for a password", "pgha diff, on the proxy", statistics},
	{"leftovers", "no earlier verification has left its schema behind", "when no other one runs, as the user who owns it: DROP SCHEMA … CASCADE", leftovers},
}
