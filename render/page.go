package render

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/cluster"
)

// Names and places that more than one file must agree on.
const (
	// RewindUser is the role that pg_rewind connects as; beside reading files it may begin a checkpoint and see the statistics.
	RewindUser = "rewind"
	// RESTUser is the name that writes to Patroni's REST API are made under.
	RESTUser = "patroni"
	// StatsUser is the name that HAProxy's statistics page asks for.
	StatsUser = "admin"
)

// page is what the templates see: the specification, and answers that would need more than if, range and with.
type page struct {
	*cluster.Cluster
	Self cluster.Machine
	All  []cluster.Machine
	// What the machine is.
	DB, HasVIP bool
	// Syncfs tells that PostgreSQL's tools know --sync-method: from 17 on.
	Syncfs bool
	// CutByLua tells that HAProxy is 3.0, whose own way of cutting sessions leaves clients hanging.
	CutByLua bool

	EtcdDataDir, EtcdState string

	RESTUser, ReplicationUser, RewindUser, StatsUser text
	REST, Replicator, Rewind, Stats, VRRP            text
	RepositoryKey, RepositoryKeySecret               text
	RepositoryCipher, RepositorySSHKey               text
	// QueueLimit is how much WAL waits for a repository that does not answer.
	QueueLimit string
	// BackupProcesses and RestoreProcesses are how many of pgBackRest's work at a time.
	BackupProcesses, RestoreProcesses int

	Initdb                     []setting
	Bootstrap, LocalParameters string
	// RemoteTrust is whom the replicas trust while they may stream from a primary elsewhere.
	RemoteTrust string
	HBA         []text
	Roles       []role
	Databases   []database

	Interface          string
	DataUUID           string
	RouterID, Priority int
	OtherProxies       []cluster.Node
}

// setting is one option of initdb.
type setting struct{ Name, Value string }

// role is one user of the database that post_bootstrap makes.
type role struct {
	Name, Password text
	Options        string
}

// database is one database and its owner.
type database struct{ Name, Owner text }

func newPage(c *cluster.Cluster, m cluster.Machine, in Input) (*page, error) {
	p := &page{
		Cluster: c, Self: m, All: c.Machines(), DB: m.Role == cluster.DB, HasVIP: virtualAddress(c, m),
		EtcdDataDir: cluster.EtcdDataDir, EtcdState: in.EtcdState,
		RESTUser: RESTUser, ReplicationUser: text(c.Postgres.ReplicationUser), RewindUser: RewindUser, StatsUser: StatsUser,
		REST: text(in.Secrets.REST), Replicator: text(in.Secrets.Replicator), Rewind: text(in.Secrets.Rewind),
		Stats: text(in.Secrets.Stats), VRRP: text(in.Secrets.VRRP),
		RepositoryKey: text(in.Secrets.RepositoryKey), RepositoryKeySecret: text(in.Secrets.RepositoryKeySecret),
		RepositoryCipher: text(in.Secrets.RepositoryCipher), QueueLimit: slotLimit(in),
		RepositorySSHKey: text(strings.TrimSpace(in.Secrets.RepositorySSHKey)),
		Syncfs:           c.Postgres.Version >= 17,
		CutByLua:         c.Debian >= 13,
		Initdb:           initdb(c),
		Bootstrap:        yamlMap(Bootstrap(c), 4),
		RemoteTrust:      string(in.Identity["ca.crt"]) + c.Adopt.Remote.CA,
		LocalParameters:  yamlMap(localParameters(c, in), 4),
		HBA:              hba(c),
		Interface:        in.Interface,
		DataUUID:         in.DataUUID,
	}
	p.BackupProcesses, p.RestoreProcesses = processes(in.Processors)
	if p.EtcdState == "" {
		p.EtcdState = "new"
	}
	for i, n := range c.Proxies {
		if n.Name == m.Name {
			p.Priority = 100 - i
		} else {
			p.OtherProxies = append(p.OtherProxies, n)
		}
	}
	if c.VirtualAddress.IsValid() {
		// Virtual routers of one network segment need different numbers; addresses already are different.
		p.RouterID = max(1, int(c.VirtualAddress.AsSlice()[c.VirtualAddress.BitLen()/8-1]))
	}
	if p.DB {
		p.roles(in.Secrets)
	}
	return p, p.checkSecrets()
}

func (p *page) roles(s cluster.Secrets) {
	for _, u := range p.Postgres.Users {
		options := "LOGIN"
		if u.CreateDB {
			options += " CREATEDB"
		}
		if u.CreateRole {
			options += " CREATEROLE"
		}
		p.Roles = append(p.Roles, role{text(u.Name), text(s.Users[u.Name]), options})
	}
	for _, d := range p.Postgres.Databases {
		p.Databases = append(p.Databases, database{text(d.Name), text(d.Owner)})
	}
}

// checkSecrets refuses an absent secret, which would be an empty password, and one that would break out of its line. pgbake judges
// secrets, and more of them, where the operator's file is read (cluster.LoadSecrets); a machine's own file comes another way: from a
// seed of an older pgbake, or by hand.
func (p *page) checkSecrets() error {
	type secret struct {
		name  string
		value text
	}
	var need []secret
	switch {
	case p.DB:
		need = []secret{{"replicator", p.Replicator}, {"rewind", p.Rewind}, {"rest", p.REST}}
		if p.Backup.Repository.Type == cluster.RepositoryS3 {
			need = append(need, secret{"repository_key", p.RepositoryKey}, secret{"repository_key_secret", p.RepositoryKeySecret})
		}
		for _, r := range p.Roles {
			need = append(need, secret{"users." + string(r.Name), r.Password})
		}
	default:
		need = []secret{{"stats", p.Stats}}
		if p.HasVIP {
			need = append(need, secret{"vrrp", p.VRRP})
		}
	}
	if p.DB && p.Backup.Repository.Type == cluster.RepositorySFTP && !strings.HasPrefix(string(p.RepositorySSHKey), "-----BEGIN ") {
		return fmt.Errorf("the machine's secrets have no repository_ssh_key, or it is no private key")
	}
	if p.DB && p.RepositoryCipher != "" {
		need = append(need, secret{"repository_cipher", p.RepositoryCipher})
	}
	for _, s := range need {
		if s.value == "" {
			return fmt.Errorf("the machine's secrets have no %s", s.name)
		}
		if slices.ContainsFunc([]byte(s.value), func(b byte) bool { return b < ' ' || b == 0x7f }) {
			return fmt.Errorf("the secret %s has a control character in it", s.name)
		}
	}
	if p.HasVIP && (len(p.VRRP) > 8 || !plainWord(p.VRRP)) {
		return fmt.Errorf("the secret vrrp must be up to eight letters and digits")
	}
	return nil
}

// initdb are the options of a new cluster's template.
func initdb(c *cluster.Cluster) []setting {
	options := []setting{{"encoding", "UTF8"}, {"locale", "C.UTF-8"}}
	icu, isICU := cutICU(c.Postgres.Locale)
	switch {
	case isICU:
		options = append(options, setting{"locale-provider", "icu"}, setting{"icu-locale", icu})
	case c.Postgres.Version >= 17:
		// PostgreSQL's own tables: glibc differs between Debian 12 and 13, and an index sorted by the one is corrupt under the other.
		options = append(options, setting{"locale-provider", "builtin"}, setting{"builtin-locale", "C.UTF-8"})
	default:
		options = append(options, setting{"locale-provider", "libc"})
	}
	if c.Postgres.Version >= 17 {
		// One syncfs for a thousand fsyncs.
		options = append(options, setting{"sync-method", "syncfs"})
	}
	return options
}

// hba are the lines of pg_hba.conf: the first that matches decides, no match refuses.
func hba(c *cluster.Cluster) []text {
	var lines []text
	add := func(words ...string) { lines = append(lines, text(strings.Join(words, " "))) }
	replicator := text(c.Postgres.ReplicationUser).HBA()

	add("local all postgres peer")
	// pg_basebackup by pgha, and Patroni's own look at the timeline.
	add("local replication postgres peer")
	add("local replication", replicator, "scram-sha-256")
	// Without 127.0.0.1 the cluster looks healthy and never fails over: Patroni's own checks may come from there.
	members := []string{"127.0.0.1/32"}
	for _, n := range c.Nodes {
		members = append(members, host(n.Address))
	}
	for _, m := range members {
		add("hostssl replication", replicator, m, "scram-sha-256")
	}
	for _, m := range members {
		add("hostssl postgres", RewindUser, m, "scram-sha-256")
	}
	add("host all", "postgres,"+replicator+","+RewindUser, "all reject")
	// HAProxy passes the clients' TLS through, but the TCP connection is its own.
	for _, n := range c.Proxies {
		add("hostssl all all", host(n.Address), "scram-sha-256")
	}
	for _, n := range c.ClientNetworks {
		add("hostssl all all", n.Masked().String(), "scram-sha-256")
	}
	return lines
}

func host(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }
