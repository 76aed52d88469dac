package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Secrets are what one machine must know and nobody else may. They lie apart from the specification:
// all of them in the operator's secrets/, one machine's share in its seed.
// It prints as nothing: every format verb, JSON and slog get the same word. Keep it out of unexported fields of what
// is printed: there fmt cannot ask.
type Secrets struct {
	// Replicator is the password of the replication user.
	Replicator string `yaml:"replicator,omitempty"`
	// Rewind is the password of the role that pg_rewind connects as.
	Rewind string `yaml:"rewind,omitempty"`
	// REST is the password of Patroni's REST API, for writes.
	REST string `yaml:"rest,omitempty"`
	// Users are the applications' passwords by name; on a machine, what PostgreSQL keeps of them.
	Users map[string]string `yaml:"users,omitempty"`
	// RepositoryKey and RepositoryKeySecret open the S3 store of the backups. Whoever runs it makes them, not pgbake.
	RepositoryKey       string `yaml:"repository_key,omitempty"`
	RepositoryKeySecret string `yaml:"repository_key_secret,omitempty"`
	// RepositorySSHKey is the private key, the text itself, that opens an sftp repository.
	RepositorySSHKey string `yaml:"repository_ssh_key,omitempty"`
	// RepositoryCipher encrypts what the repository holds; not encrypted when empty. Without it nothing can be restored.
	RepositoryCipher string `yaml:"repository_cipher,omitempty"`
	// Stats is the password of HAProxy's statistics page.
	Stats string `yaml:"stats,omitempty"`
	// VRRP is keepalived's shared word, eight characters, all that VRRPv2 carries.
	VRRP string `yaml:"vrrp,omitempty"`
	// Webhook is the address that hears of alerts, where it holds a token. A person writes it: nobody can make it up.
	Webhook string `yaml:"webhook,omitempty"`
	// Relay is the password of alerts.relay_user, a person's to write, too.
	Relay string `yaml:"relay,omitempty"`
}

const hiddenSecrets, hiddenIdentity, hiddenCA = "(secrets)", "(identity)", "(certificate authority)"

// String hides the secrets.
func (Secrets) String() string { return hiddenSecrets }

// Format hides the secrets from every format verb: %d would print the fields otherwise.
func (Secrets) Format(f fmt.State, _ rune) { hide(f, hiddenSecrets) }

// MarshalJSON hides the secrets. There is no MarshalText on purpose: YAML would use it, and YAML is how they travel.
func (Secrets) MarshalJSON() ([]byte, error) { return json.Marshal(hiddenSecrets) }

func hide(f fmt.State, word string) { _, _ = io.WriteString(f, word) }

// Sealed are the secrets as they travel: of an application's password, what PostgreSQL keeps of it, with which nobody logs in.
type Sealed struct{ Secrets }

// For returns the share that a machine of the role needs.
func (s Sealed) For(r Role) Secrets {
	if r == Proxy {
		return Secrets{Stats: s.Stats, VRRP: s.VRRP, Webhook: s.Webhook, Relay: s.Relay}
	}
	return Secrets{
		Replicator: s.Replicator, Rewind: s.Rewind, REST: s.REST, Users: s.Users, Webhook: s.Webhook, Relay: s.Relay,
		RepositoryKey: s.RepositoryKey, RepositoryKeySecret: s.RepositoryKeySecret, RepositoryCipher: s.RepositoryCipher,
		RepositorySSHKey: s.RepositorySSHKey,
	}
}

// Encode returns the secrets as the YAML of secrets.yaml, here and on a machine.
func (s Secrets) Encode() []byte {
	b, err := yaml.Marshal(s)
	if err != nil {
		panic(err) // a struct of strings
	}
	return b
}

// absent is a secret that is needed and not there. made tells that pgbake init makes it.
type absent struct {
	path, what, hint string
	made             bool
}

const initHint = "pgbake init adds what is missing and changes nothing else"

// missing lists what machines of these roles do not find.
func (s Secrets) missing(c *Cluster, roles ...Role) (all []absent) {
	for _, slot := range s.slots() {
		if *slot.value == "" && slices.ContainsFunc(roles, func(r Role) bool { return slices.Contains(slot.roles, r) }) {
			all = append(all, absent{slot.key, slot.what, initHint, true})
		}
	}
	db := slices.Contains(roles, DB)
	for _, u := range c.Postgres.Users {
		if db && s.Users[u.Name] == "" {
			all = append(all, absent{join("users", u.Name), "the password of user " + strconv.Quote(u.Name), initHint, true})
		}
	}
	// The rest only those can give who run what it opens.
	repository := c.Backup.Repository.Type
	for _, one := range []struct {
		needed           bool
		value            string
		path, what, hint string
	}{
		{c.Alerts.Webhook == SecretWebhook, s.Webhook, "webhook", "the address of alerts.webhook", "write it into secrets.yaml, as webhook: https://…"},
		{c.Alerts.RelayUser != "", s.Relay, "relay", "the password of alerts.relay_user", "write it into secrets.yaml, as relay: …"},
		{db && repository == RepositoryS3, s.RepositoryKey, "repository_key", "the key of the backups' S3 store",
			"write it into secrets.yaml, as who runs the store says"},
		{db && repository == RepositoryS3, s.RepositoryKeySecret, "repository_key_secret", "the secret of the key of the backups' S3 store",
			"write it into secrets.yaml, as who runs the store says"},
		{db && repository == RepositorySFTP, s.RepositorySSHKey, "repository_ssh_key", "the key of the backups' sftp server",
			"write the text of the private key into secrets.yaml"},
	} {
		if one.needed && one.value == "" {
			all = append(all, absent{one.path, one.what, one.hint, false})
		}
	}
	return all
}

// Check tells whether the machines of these roles (all when none is named) find every secret that the
// specification asks for.
func (s Secrets) Check(c *Cluster, roles ...Role) error {
	if len(roles) == 0 {
		roles = []Role{DB, Proxy}
	}
	all := s.missing(c, roles...)
	if len(all) == 0 {
		return nil
	}
	var what, hints []string
	for _, m := range all {
		what = append(what, m.what)
		if !slices.Contains(hints, m.hint) {
			hints = append(hints, m.hint)
		}
	}
	return fmt.Errorf("check secrets: %s missing (%s)", strings.Join(what, ", "), strings.Join(hints, "; "))
}

// slot is one secret besides the users': where it goes, who needs it and how long it is.
type slot struct {
	value  *string
	key    string
	what   string
	roles  []Role
	length int
}

// slots lists the secrets besides the users'. All of them are made at once, so that a proxy or a virtual address
// that comes later finds its own.
func (s *Secrets) slots() []slot {
	return []slot{
		{&s.Replicator, "replicator", "the replication user's password", []Role{DB}, passwordLength},
		{&s.Rewind, "rewind", "the password of role rewind", []Role{DB}, passwordLength},
		{&s.REST, "rest", "the password of Patroni's REST API", []Role{DB}, passwordLength},
		{&s.Stats, "stats", "the password of the statistics page", []Role{Proxy}, passwordLength},
		{&s.VRRP, "vrrp", "keepalived's shared word", []Role{Proxy}, 8},
	}
}
