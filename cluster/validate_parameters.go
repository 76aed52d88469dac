package cluster

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// managed are the parameters that Patroni or pgbake sets, and what to do instead.
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
	"listen_addresses":          {"pgbake sets it", "see nodes and client_networks"},
	"password_encryption":       {"it is always scram-sha-256", ""},
	"port":                      {"pgbake sets it", "ports.postgres"},
	"primary_conninfo":          {"Patroni sets it", ""},
	"primary_slot_name":         {"Patroni sets it", ""},
	"promote_trigger_file":      {"Patroni promotes", ""},
	"recovery_end_command":      {"Patroni sets it", ""},
	"recovery_min_apply_delay":  {"a replica that lags on purpose cannot take over", ""},
	"restart_after_crash":       {"Patroni decides who restarts", ""},
	"restore_command":           {"pgbake sets it", "see backup"},
	"ssl":                       {"TLS is always on", ""},
	"ssl_ca_file":               {"pgbake issues the certificates", ""},
	"ssl_cert_file":             {"pgbake issues the certificates", ""},
	"ssl_key_file":              {"pgbake issues the certificates", ""},
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

func parameters(k *checker) {
	for _, name := range slices.Sorted(maps.Keys(k.Postgres.Parameters)) {
		value := k.Postgres.Parameters[name]
		path := join("postgres.parameters", name)
		floor, counted := least[name]
		switch m, a := managed[name], allowed[name]; {
		case !parameterName.MatchString(name):
			hint := ""
			if lower := strings.ToLower(name); parameterName.MatchString(lower) {
				hint = "write " + lower
			}
			k.say(path, hint, "no name of a parameter")
		case m.why != "":
			k.say(path, m.instead, "not to be set here: %s", m.why)
		case strings.HasPrefix(name, "recovery_target"):
			k.say(path, "pgha restore goes back in time", "not to be set here: Patroni sets it")
		case a.values != nil && !slices.Contains(a.values, value):
			k.say(path, a.instead, "%s cannot be: %s", brief(value), a.why)
		case strings.ContainsFunc(value, unicode.IsControl):
			k.say(path, "", "a value of several lines")
		case counted:
			if n, err := strconv.Atoi(value); err != nil || n < floor {
				k.say(path, "", "%s is less than %d, which Patroni takes for a mistake and ignores", brief(value), floor)
			}
		}
	}
}
