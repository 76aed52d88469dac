package parameter

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
)

// Conflict is what is wrong with a parameter beside others.
type Conflict struct {
	// Name is the parameter to change.
	Name string
	Fault
}

// Together says which parameters, each right by itself, cannot be at the same time: PostgreSQL would not start. values are
// those of the whole configuration; those that Judge refuses count as absent.
func (t Target) Together(values map[string]string) (all []Conflict) {
	number := func(name string, otherwise float64) float64 {
		s, found := servers()[t.Postgres].settings[name]
		if !found {
			return 0
		}
		if n, ok := s.number(values[name]); ok && s.outside(n) == "" {
			return n
		}
		return otherwise
	}
	say := func(names []string, instead, format string, args ...any) {
		// The last one that the user has set is to be changed.
		for _, name := range slices.Backward(names) {
			if _, set := values[name]; set {
				all = append(all, Conflict{name, Fault{fmt.Sprintf(format, args...), instead}})
				return
			}
		}
	}
	connections := number("max_connections", 100)
	if reserved := number("superuser_reserved_connections", 3) + number("reserved_connections", 0); reserved >= connections {
		say([]string{"max_connections", "superuser_reserved_connections", "reserved_connections"}, "",
			"of %s connections %s would be reserved, and none left", whole(connections), whole(reserved))
	}
	// MAX_BACKENDS in src/include/postmaster/postmaster.h; 2 are the launchers' own.
	const most = 1<<18 - 1
	processes := connections + number("autovacuum_max_workers", 3) + number("max_worker_processes", 8) + number("max_wal_senders", 20) + 2
	if t.Postgres >= 18 {
		processes += number("autovacuum_worker_slots", 16) - number("autovacuum_max_workers", 3)
	}
	if processes > most {
		all := []string{"max_connections", "autovacuum_max_workers", "autovacuum_worker_slots", "max_worker_processes", "max_wal_senders"}
		slices.SortFunc(all, func(a, b string) int { return cmp.Compare(number(a, 0), number(b, 0)) })
		say(all, "",
			"together with the other processes it makes %s, and PostgreSQL can have %d", whole(processes), most)
	}
	if values["ssl_max_protocol_version"] != "" {
		versions := servers()[t.Postgres].settings["ssl_min_protocol_version"].words
		least, most := values["ssl_min_protocol_version"], values["ssl_max_protocol_version"]
		if least == "" {
			least = "TLSv1.2"
		}
		if slices.Index(versions, most) >= 0 && slices.Index(versions, most) < slices.Index(versions, least) {
			say([]string{"ssl_min_protocol_version", "ssl_max_protocol_version"}, "", "%s is older than ssl_min_protocol_version, %s", most, least)
		}
	}
	if on, _ := boolean(values["logging_collector"]); on && !logs(values["log_directory"]) {
		say([]string{"log_directory"}, "a name such as log, in the data directory, or /var/log/postgresql",
			"no machine has the directory, and with logging_collector on PostgreSQL would not start")
	}
	if on, _ := boolean(values["log_statement_stats"]); on {
		for _, part := range []string{"log_parser_stats", "log_planner_stats", "log_executor_stats"} {
			if on, _ := boolean(values[part]); on {
				say([]string{part}, "one of the two", "it cannot be on while log_statement_stats is")
			}
		}
	}
	return all
}

// logs tells whether PostgreSQL can write its log there: it makes one directory, and none above that.
func logs(dir string) bool {
	dir = path.Clean(dir)
	return dir == debianLogs || path.Dir(dir) == debianLogs || path.Dir(dir) == "." && dir != ".."
}

// debianLogs comes with Debian's postgresql-common.
const debianLogs = "/var/log/postgresql"

// whole is a number without an exponent.
func whole(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
