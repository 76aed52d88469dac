package cluster

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/pgbake/pgbake/cluster/parameter"
)

// ofOneMachine: PostgreSQL takes the name of any file at a reload, and does not start where the file is not.
const ofOneMachine = "it names a file of one machine, which pgbake does not bring to the others"

// managed are the parameters that Patroni or pgbake sets, or that no cluster can have, and what to do instead.
var managed = map[string]struct{ why, instead string }{
	"archive_cleanup_command":   {"Patroni sets it", ""},
	"archive_command":           {"pgbake sets it", "see backup"},
	"archive_library":           {"pgbake sets archive_command", "see backup"},
	"archive_mode":              {"it is always on: turning it on later needs a restart", "see backup"},
	"cluster_name":              {"Patroni sets it", "scope: …"},
	"config_file":               {"Patroni keeps the files in the data directory", ""},
	"data_directory":            {"it is where Debian's tools expect it", "storage.data_disk puts it on a disk of its own"},
	"external_pid_file":         {"Patroni watches the pid file itself", ""},
	"fsync":                     {"without it a power cut destroys the database", ""},
	"full_page_writes":          {"without it a power cut destroys the database", ""},
	"hba_file":                  {"Patroni keeps the files in the data directory", ""},
	"hot_standby":               {"it is always on: a replica must answer", ""},
	"ident_file":                {"Patroni keeps the files in the data directory", ""},
	"krb_server_keyfile":        {ofOneMachine, ""},
	"listen_addresses":          {"pgbake sets it", "see nodes and client_networks"},
	"password_encryption":       {"it is always scram-sha-256", ""},
	"port":                      {"pgbake sets it", "ports.postgres"},
	"primary_conninfo":          {"Patroni sets it", ""},
	"primary_slot_name":         {"Patroni sets it", ""},
	"promote_trigger_file":      {"Patroni promotes", ""},
	"recovery_end_command":      {"Patroni sets it", ""},
	"recovery_min_apply_delay":  {"a replica that lags on purpose cannot take over", ""},
	"restart_after_crash":       {"Patroni decides who restarts", ""},
	"restore_command":           {"pgbake sets it where there is a repository", "backup.repository"},
	"ssl":                       {"TLS is always on", ""},
	"ssl_ca_file":               {"pgbake issues the certificates", ""},
	"ssl_cert_file":             {"pgbake issues the certificates", ""},
	"ssl_crl_dir":               {ofOneMachine, ""},
	"ssl_crl_file":              {ofOneMachine, ""},
	"ssl_dh_params_file":        {ofOneMachine, "without it PostgreSQL uses its own"},
	"ssl_key_file":              {"pgbake issues the certificates", ""},
	"ssl_passphrase_command":    {"pgbake issues the certificates", ""},
	"synchronous_standby_names": {"Patroni keeps it in step with who is there; a fixed list hangs every write or loses some", "replication.mode"},
	"trigger_file":              {"Patroni promotes", ""},
	"unix_socket_directories":   {"Debian's tools expect the socket in /var/run/postgresql", ""},
	"wal_keep_segments":         {"PostgreSQL 13 replaced it", "wal_keep_size"},
	"wal_log_hints":             {"it is always on: pg_rewind needs it", ""},
}

// words that a parameter may be, where another value would undo what the cluster promises.
var allowed = map[string]struct {
	values       []string
	why, instead string
}{
	"synchronous_commit": {[]string{"on", "remote_write"},
		"remote_apply lets one long query on a replica stall every commit, off and local lose acknowledged writes", "on; or replication.mode: async"},
	"wal_level": {[]string{"replica", "logical"}, "replicas need at least replica", "replica or logical"},
}

// least are Patroni's own floors: it takes its default instead of a lower value, and only its log says so
// (CMDLINE_OPTIONS in patroni/postgresql/config.py).
var least = map[string]int{
	"max_connections": 25, "max_wal_senders": 3, "max_replication_slots": 4,
	"max_locks_per_transaction": 32, "max_worker_processes": 2, "max_prepared_transactions": 0,
}

var parameterName = regexp.MustCompile(`^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*$`)

// fold gives parameters that are written as PostgreSQL itself writes them, such as TimeZone, their names in small letters.
func (p *Postgres) fold() {
	for _, name := range slices.Sorted(maps.Keys(p.Parameters)) {
		own := parameter.Own(name)
		if _, twice := p.Parameters[own]; own != name && !twice {
			p.Parameters[own] = p.Parameters[name]
			delete(p.Parameters, name)
		}
	}
}

// parameterPath is where the file has a parameter, in whatever letters it is written there.
func (k *checker) parameterPath(name string) string {
	path := join("postgres.parameters", name)
	if k.given(path) {
		return path
	}
	for written := range k.src.places {
		if strings.EqualFold(written, path) {
			return written
		}
	}
	return path
}

// Forbidden says why a parameter is not to be set at all, or not to this value; empty for one that may be.
func Forbidden(name, value string) (why string) {
	m, a := managed[name], allowed[name]
	floor, counted := least[name]
	switch {
	case m.why != "":
		return m.why
	case strings.HasPrefix(name, "recovery_target"):
		return "Patroni sets it"
	case a.values != nil && !slices.Contains(a.values, value):
		return a.why
	case counted:
		if n, err := strconv.Atoi(value); err != nil || n < floor {
			return fmt.Sprintf("Patroni takes less than %d for a mistake and ignores it", floor)
		}
	}
	return ""
}

// refused is the complaint about a parameter that is not to be set, or not so, and what to do instead.
func refused(name, value string) (wrong, instead string) {
	switch why := Forbidden(name, value); {
	case why != "" && strings.HasPrefix(name, "recovery_target"):
		return "not to be set here: " + why, "pgha restore goes back in time"
	case managed[name].why != "":
		return "not to be set here: " + why, managed[name].instead
	case why != "":
		return fmt.Sprintf("%s cannot be: %s", brief(value), why), allowed[name].instead
	case strings.ContainsFunc(value, unicode.IsControl):
		return "a value of several lines", ""
	}
	return "", ""
}

func parameters(k *checker) {
	for _, name := range slices.Sorted(maps.Keys(k.Postgres.Parameters)) {
		path := k.parameterPath(name)
		if !parameterName.MatchString(name) {
			lower, hint := strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(name)), ""
			switch _, twice := k.Postgres.Parameters[lower]; {
			case twice && lower != name:
				k.say(path, "take one of them out", "%s is there, too, and is the same to PostgreSQL", lower)
				continue
			case parameterName.MatchString(lower):
				hint = "write " + lower
			}
			k.say(path, hint, "no name of a parameter")
			continue
		}
		if why, instead := refused(name, k.Postgres.Parameters[name]); why != "" {
			k.say(path, instead, "%s", why)
		}
	}
}

// ParameterTarget is the PostgreSQL and the Patroni that the parameters are for.
func (c *Cluster) ParameterTarget() parameter.Target {
	t := parameter.Target{Postgres: c.Postgres.Version, Debian: int(c.Debian), Patroni: "3.0.2"}
	if c.Patroni4() {
		t.Patroni = "4.0.7"
	}
	return t
}

// parameterValues asks what the real PostgreSQL and Patroni would make of each: the first may not start with it, the second
// leaves it out without a word to the user.
func parameterValues(k *checker) {
	if !slices.Contains(versions(k.Debian, k.Postgres.Source), k.Postgres.Version) || !k.sound("debian", "postgres.source", "postgres.version") {
		return
	}
	t, sound := k.ParameterTarget(), map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(k.Postgres.Parameters)) {
		value := k.Postgres.Parameters[name]
		if why, _ := refused(name, value); why != "" || !parameterName.MatchString(name) || k.brings(name) ||
			broughtAlong(name) && !k.sound("adopt.node", "adopt.remote.host") {
			continue
		}
		if f := t.Judge(name, value); f != nil {
			k.say(k.parameterPath(name), f.Instead, "%s", f.Wrong)
			continue
		}
		sound[name] = value
	}
	if k.refusedBelow("postgres.parameters") {
		return
	}
	for _, c := range t.Together(sound) {
		k.say(k.parameterPath(c.Name), c.Instead, "%s", c.Wrong)
	}
}

// brings tells whether the parameter names what only the machines of an adopted database can have: its owner was told to
// install that on every machine (pgha adopt --check).
func (c *Cluster) brings(name string) bool { return c.IsAdopted() && broughtAlong(name) }

func broughtAlong(name string) bool {
	return strings.HasSuffix(name, "_preload_libraries") || strings.HasPrefix(name, "lc_")
}
