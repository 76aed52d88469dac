package adopt

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pgbake/pgbake/cluster"
)

// debians are settings that say where Debian's tools put things, and nothing of the database.
var debians = []string{
	"cluster_name", "config_file", "data_directory", "external_pid_file", "hba_file", "ident_file", "stats_temp_directory",
	"ssl_cert_file", "ssl_key_file", "unix_socket_directories",
}

// sized are settings that each machine has by its own size.
var sized = []string{"max_slot_wal_keep_size", "shared_buffers"}

// capacities only ever grow: a cluster needs its own, the database what it has had.
var capacities = []string{"max_connections", "max_replication_slots", "max_wal_senders"}

// settings decides which of them stay.
func (r *Report) settings(c *cluster.Cluster, f *Found, ours map[string]any) {
	var kept, lost []string
	lose := func(name, value, now, why string) {
		if now != "" {
			now = " → " + now
		}
		lost = append(lost, fmt.Sprintf("%s: %s%s (%s)", name, value, now, why))
	}
	for _, name := range slices.Sorted(maps.Keys(f.Settings)) {
		value := f.Settings[name].Value
		now := ""
		if v, ok := ours[name]; ok {
			now = fmt.Sprint(v)
		}
		why := c.Managed(name, value)
		wanted, asked := c.Postgres.Parameters[name]
		switch {
		case slices.Contains(debians, name):
		case now == value:
		case asked && wanted == value:
		case asked:
			lose(name, value, wanted, "cluster.yaml")
		case name == "listen_addresses":
			lose(name, value, "127.0.0.1 and the machine's own", why)
		case name == "port" && value == strconv.Itoa(c.Ports.Postgres), name == "ssl" && isOn(value):
		case name == "port":
			lose(name, value, strconv.Itoa(c.Ports.Postgres), "ports.postgres")
		case why != "":
			lose(name, value, now, why)
		case slices.Contains(sized, name):
			lose(name, value, "by each machine's size", "postgres.parameters keeps it")
		case slices.Contains(capacities, name) && !larger(value, now):
			lose(name, value, now, "the cluster's own is larger")
		default:
			r.Parameters[name] = value
			kept = append(kept, name+" = "+value)
		}
	}
	if len(kept) > 0 {
		r.add(Note, "", "settings that stay, for every member (patronictl show-config):\n      "+strings.Join(kept, "\n      "))
	}
	if len(lost) > 0 {
		r.add(Change, "", "settings that change:\n      "+strings.Join(lost, "\n      "))
	}
}

// larger tells whether a number is larger than the other, or the other is none.
func larger(a, b string) bool {
	n, err := strconv.Atoi(a)
	m, other := strconv.Atoi(b)
	return err == nil && (other != nil || n > m)
}

func isOn(value string) bool {
	return slices.Contains([]string{"on", "true", "yes", "1"}, strings.ToLower(value))
}
