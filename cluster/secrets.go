package cluster

// Secrets are what one machine must know and nobody else may. They lie apart from the specification:
// all of them in the operator's secrets/, one machine's share in its seed.
// It prints as nothing: String and GoString hide the values.
type Secrets struct {
	// Replicator is the password of the replication user.
	Replicator string `yaml:"replicator,omitempty"`
	// Rewind is the password of the role that pg_rewind connects as.
	Rewind string `yaml:"rewind,omitempty"`
	// REST is the password of Patroni's REST API, for writes.
	REST string `yaml:"rest,omitempty"`
	// Users are the applications' passwords by name.
	Users map[string]string `yaml:"users,omitempty"`
	// Stats is the password of HAProxy's statistics page.
	Stats string `yaml:"stats,omitempty"`
	// VRRP is keepalived's shared word, eight characters, all that VRRPv2 carries.
	VRRP string `yaml:"vrrp,omitempty"`
}

// String hides the secrets from every format verb.
func (Secrets) String() string { return "(secrets)" }

// GoString hides the secrets from %#v.
func (Secrets) GoString() string { return "(secrets)" }

// For returns the share that a machine of the role needs.
func (s Secrets) For(r Role) Secrets {
	if r == Proxy {
		return Secrets{Stats: s.Stats, VRRP: s.VRRP}
	}
	return Secrets{Replicator: s.Replicator, Rewind: s.Rewind, REST: s.REST, Users: s.Users}
}

// Identity is what a machine proves itself with: certificates and keys, PEM, by file name below /etc/pgha/tls/.
// A database machine has ca.crt, etcd.crt/.key, etcd-client.crt/.key, rest.crt/.key, postgres.crt/.key;
// a proxy has ca.crt, proxy.crt/.key.
type Identity map[string][]byte

// String hides the keys from every format verb.
func (Identity) String() string { return "(identity)" }
