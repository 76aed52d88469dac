package cluster

import "net/netip"

// defaults is a cluster of which only scope, network and nodes are missing. The causes stand in the manual and in
// docs; the ports, the sizes and the replication user's name are the manual's.
func defaults() *Cluster {
	return &Cluster{
		Namespace: "/service/", // Patroni's own
		Debian:    13,
		Postgres: Postgres{
			Source:          SourceDebian,
			Locale:          "C.UTF-8",
			ReplicationUser: "replicator",
		},
		Replication: Replication{Mode: Quorum},
		Failover:    Normal,
		Ports:       DefaultPorts(),
		Backup:      Backup{Wanted: true, At: "02:00", Keep: 7, Prove: Weekly},
		Alerts:      Alerts{Format: JSON, Repeat: "4h"},
		// No time servers: chrony asks Debian's pool.
	}
}

// PostgresPort is the port that PostgreSQL and its clients take when they are told none.
const PostgresPort = 5432

// DefaultPorts are those of a specification that names none.
func DefaultPorts() Ports {
	return Ports{
		Postgres:   PostgresPort,
		Patroni:    8008,
		EtcdClient: 2379,
		EtcdPeer:   2380,
		ReadWrite:  5000,
		ReadOnly:   5001,
		Stats:      7000,
		PGHA:       8009,
		Metrics:    8010,
		SSH:        22,
	}
}

// complete sets what follows from other keys and was not written.
func (c *Cluster) complete() {
	if c.Postgres.Version == 0 {
		c.Postgres.Version = newest(c.Debian, c.Postgres.Source)
	}
	c.Postgres.fold()
	if r := &c.Adopt.Remote; r.Host != "" {
		if r.Port == 0 {
			r.Port = PostgresPort
		}
		if r.SSLMode == "" {
			r.SSLMode = SSLVerifyFull // whoever says nothing else wants to know whom the cluster streams from
		}
	}
	if c.Backup.Repository.Named() && c.Backup.Repository.Full == "" {
		c.Backup.Repository.Full = FullWeekly
	}
	if c.ClientNetworks == nil && c.Network.IsValid() {
		c.ClientNetworks = []netip.Prefix{c.Network}
	}
	if c.AdminNetworks == nil && c.Network.IsValid() {
		c.AdminNetworks = []netip.Prefix{c.Network}
	}
}

// newest is the major version of PostgreSQL when none is asked for: the release's own, and the manual's from PGDG.
func newest(r Release, s Source) int {
	if s == SourceDebian && r == 12 {
		return 15
	}
	return 17
}

// versions are the major versions of PostgreSQL that an archive has for a release.
func versions(r Release, s Source) []int {
	if s == SourceDebian {
		return []int{newest(r, s)}
	}
	return []int{15, 16, 17, 18}
}
