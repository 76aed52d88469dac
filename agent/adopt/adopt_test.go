package adopt

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
)

func specification(t *testing.T, more string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Parse("cluster.yaml", []byte("scope: t\nnetwork: 10.0.0.0/24\nnodes: [{name: db1, address: 10.0.0.1}]\ndebian: 13\nadopt: {node: db1, cluster: 17/main}\n"+more))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ours are some of the parameters that a cluster begins with.
var ours = map[string]any{"wal_level": "replica", "max_connections": 100, "max_wal_senders": 20, "hot_standby_feedback": "on", "archive_command": "/bin/true", "synchronous_commit": "on"}

// fresh is a database that Debian's tools have just made, and that runs.
func fresh() *Found {
	const data = "/var/lib/postgresql/17/main"
	return &Found{
		Place: "17/main", Conf: "/etc/postgresql/17/main", Data: data, Major: "17", Release: "13", Unit: "postgresql@17-main.service", Free: 100 << 30,
		Control: map[string]string{
			"Database cluster state": "in production", "Database system identifier": "7", "Latest checkpoint's TimeLineID": "1",
			"wal_level setting": "replica", "Data page checksum version": "0",
		},
		Settings: Settings{
			"data_directory": {Value: data}, "hba_file": {Value: "/etc/postgresql/17/main/pg_hba.conf"}, "port": {Value: "5432"},
			"unix_socket_directories": {Value: "/var/run/postgresql"}, "ssl": {Value: "on"}, "ssl_cert_file": {Value: "/etc/ssl/certs/ssl-cert-snakeoil.pem"},
			"max_connections": {Value: "100"}, "cluster_name": {Value: "17/main"}, "datestyle": {Value: "iso, mdy"}, "lc_messages": {Value: "C.UTF-8"},
		},
		Inside: &Inside{
			Superuser: true, Roles: []string{"postgres"},
			Databases: []Database{{Name: "postgres", Provider: "c", Collate: "C.UTF-8", Type: "C.UTF-8"}},
		},
	}
}

func texts(r *Report, k Kind) string {
	var all []string
	for _, f := range r.Of(k) {
		all = append(all, f.Text)
	}
	return strings.Join(all, "\n")
}

func TestAFreshDatabaseIsFine(t *testing.T) {
	r := Judge(specification(t, ""), fresh(), ours)
	if got := texts(r, Refuse) + texts(r, Change); got != "" {
		t.Errorf("said of it: %s", got)
	}
	if diff := cmp.Diff(map[string]string{"datestyle": "iso, mdy", "lc_messages": "C.UTF-8"}, r.Parameters); diff != "" {
		t.Error(diff)
	}
}

// What is wrong with a database, one by one: what is said, and that it is said once.
func TestFindings(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*Found)
		kind  Kind
		want  string
	}{
		"another major version": {func(f *Found) { f.Major = "15" }, Refuse, "it is PostgreSQL 15, and the cluster is PostgreSQL 17"},
		"another Debian":        {func(f *Found) { f.Release = "12" }, Refuse, "this machine is Debian 12"},
		"a standby":             {func(f *Found) { f.Inside.Recovery = true }, Refuse, "it is no primary"},
		"a standby that is off": {func(f *Found) {
			f.Unit, f.Inside = "", nil
			f.Control["Database cluster state"] = "shut down in recovery"
		}, Refuse, "shut down in recovery"},
		"a copy never started":       {func(f *Found) { f.Recovery = []string{"backup_label"} }, Refuse, "backup_label in its directory"},
		"wal_level minimal":          {func(f *Found) { f.Control["wal_level setting"] = "minimal" }, Refuse, "wal_level minimal"},
		"root's":                     {func(f *Found) { f.Owner = "of user 0 with mode 0755" }, Refuse, "of user 0"},
		"no log":                     {func(f *Found) { f.LostWAL = "000000010000000000000001" }, Refuse, "read at 000000010000000000000001"},
		"tablespaces":                {func(f *Found) { f.Tablespaces = []string{"/srv/a", "/srv/b"} }, Refuse, "cannot clone: /srv/a, /srv/b"},
		"a full disk":                {func(f *Found) { f.Free = 1 << 30 }, Refuse, "room for 1024 MB more"},
		"data elsewhere":             {func(f *Found) { f.Settings["data_directory"] = Setting{Value: "/srv/pg"} }, Refuse, "its data lies in /srv/pg"},
		"another's postmaster":       {func(f *Found) { f.Unit = "session-1.scope" }, Refuse, "in session-1.scope and not in Debian's postgresql@17-main.service"},
		"no superuser postgres":      {func(f *Found) { f.Inside.Superuser = false }, Refuse, "no superuser postgres"},
		"a crash":                    {func(f *Found) { f.Unit = "" }, Change, "was not shut down (in production)"},
		"off":                        {func(f *Found) { f.Inside = nil }, Change, "were not looked at"},
		"prepared transactions":      {func(f *Found) { f.Prepared = 2 }, Change, "2 prepared transactions"},
		"slots":                      {func(f *Found) { f.Slots = []string{"old"} }, Change, "where a failover leaves them: old"},
		"access":                     {func(f *Found) { f.Access = []string{"host all all all trust"} }, Change, "host all all all trust"},
		"md5":                        {func(f *Found) { f.Inside.Weak = []string{"app"} }, Change, "MD5 password cannot log in any more: app"},
		"no password":                {func(f *Found) { f.Inside.Open = []string{"app"} }, Change, "without a password cannot log in any more"},
		"our roles":                  {func(f *Found) { f.Inside.Roles = append(f.Inside.Roles, "replicator") }, Change, "the role replicator is there"},
		"standbys of its own":        {func(f *Found) { f.Inside.Standbys = []string{"10.0.0.9 as repl"} }, Change, "loses it: 10.0.0.9 as repl"},
		"a collation that moved":     {func(f *Found) { f.Inside.Databases[0].Recorded, f.Inside.Databases[0].Actual = "2.36", "2.41" }, Change, "(its own) and may be corrupt"},
		"a stale collation":          {func(f *Found) { f.Inside.Databases[0].Stale = []string{"de_DE"} }, Change, "(de_DE)"},
		"a locale of its own":        {func(f *Found) { f.Inside.Databases[0].Collate = "ru_RU.UTF-8" }, Change, "after a failover: ru_RU.UTF-8"},
		"foreign extensions":         {func(f *Found) { f.Inside.Databases[0].Strange = []string{"postgis (postgresql-17-postgis-3)"} }, Change, "postgis (postgresql-17-postgis-3)"},
		"foreign preloaded library":  {func(f *Found) { f.Libraries = []string{"timescaledb (of no package)"} }, Change, "timescaledb (of no package)"},
		"an archive command":         {func(f *Found) { f.Settings["archive_command"] = Setting{Value: "wal-g %p"} }, Change, "archive_command: wal-g %p → /bin/true (pgbake sets it)"},
		"another port":               {func(f *Found) { f.Settings["port"] = Setting{Value: "5433"} }, Change, "port: 5433 → 5432 (ports.postgres)"},
		"the manual's mistake":       {func(f *Found) { f.Settings["synchronous_commit"] = Setting{Value: "remote_apply"} }, Change, "synchronous_commit: remote_apply → on"},
		"a size":                     {func(f *Found) { f.Settings["shared_buffers"] = Setting{Value: "128MB"} }, Change, "shared_buffers: 128MB → by each machine's size"},
		"a file of this machine":     {func(f *Found) { f.Settings["ssl_crl_file"] = Setting{Value: "/etc/crl"} }, Change, "ssl_crl_file: /etc/crl (it names a file of one machine"},
		"fewer senders than needed":  {func(f *Found) { f.Settings["max_wal_senders"] = Setting{Value: "10"} }, Change, "max_wal_senders: 10 → 20"},
		"what the specification has": {func(f *Found) { f.Settings["work_mem"] = Setting{Value: "1MB"} }, Change, "work_mem: 1MB → 9MB (cluster.yaml)"},
	} {
		f := fresh()
		tt.spoil(f)
		r := Judge(specification(t, "postgres: {parameters: {work_mem: 9MB}}\n"), f, ours)
		if got := texts(r, tt.kind); strings.Count(got, tt.want) != 1 {
			t.Errorf("%s: want %q once in\n%s", name, tt.want, got)
		}
		for _, x := range r.Of(Refuse) {
			if x.Hint == "" {
				t.Errorf("%s: refused without a hint: %s", name, x.Text)
			}
		}
	}
}

func TestWhatStays(t *testing.T) {
	f := fresh()
	for name, value := range map[string]string{
		"work_mem": "7MB", "max_connections": "300", "hot_standby_feedback": "off", "wal_level": "logical", "pg_stat_statements.max": "9000", "fsync": "off",
	} {
		f.Settings[name] = Setting{Value: value}
	}
	f.Slots = []string{"one", "two"}
	r := Judge(specification(t, ""), f, ours)
	want := map[string]string{
		"work_mem": "7MB", "max_connections": "300", "hot_standby_feedback": "off", "wal_level": "logical", "pg_stat_statements.max": "9000",
		"datestyle": "iso, mdy", "lc_messages": "C.UTF-8",
	}
	if diff := cmp.Diff(want, r.Parameters); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(r.Slots, f.Slots) {
		t.Errorf("slots %v", r.Slots)
	}
}

// distant is a primary elsewhere that nothing is wrong with.
func distant() *Remote {
	f := fresh()
	return &Remote{
		Major: "17", Control: f.Control, Bytes: 1 << 30, Free: 100 << 30, Inside: f.Inside,
		Parameters: map[string]string{"work_mem": "7MB", "data_directory": "/srv/pg", "listen_addresses": "*"},
	}
}

func TestAPrimaryElsewhere(t *testing.T) {
	c := specification(t, "")
	r := JudgeRemote(c, distant(), ours)
	if got := texts(r, Refuse); got != "" {
		t.Errorf("refused: %s", got)
	}
	if diff := cmp.Diff(map[string]string{"work_mem": "7MB"}, r.Parameters); diff != "" {
		t.Error(diff)
	}
	for name, tt := range map[string]struct {
		spoil func(*Remote)
		kind  Kind
		want  string
	}{
		"another major version": {func(f *Remote) { f.Major = "16" }, Refuse, "it is PostgreSQL 16, and the cluster is PostgreSQL 17"},
		"a standby":             {func(f *Remote) { f.Inside.Recovery = true }, Refuse, "it is no primary"},
		"wal_level minimal":     {func(f *Remote) { f.Control["wal_level setting"] = "minimal" }, Refuse, "wal_level minimal"},
		"tablespaces":           {func(f *Remote) { f.Tablespaces = []string{"/srv/a"} }, Refuse, "cannot clone: /srv/a"},
		"a small disk":          {func(f *Remote) { f.Free = 2 << 30 }, Refuse, "room for 2048 MB, and the copy needs 1024 MB and 2048 MB"},
		"no superuser postgres": {func(f *Remote) { f.Inside.Superuser = false }, Refuse, "no superuser postgres"},
		"slots":                 {func(f *Remote) { f.Slots = []string{"old"} }, Change, "not taken along: old"},
		"prepared transactions": {func(f *Remote) { f.Prepared = 1 }, Change, "1 prepared transactions"},
		"another libc":          {func(f *Remote) { f.Inside.Databases[0].Recorded, f.Inside.Databases[0].Actual = "2.36", "2.41" }, Change, "may be corrupt"},
	} {
		f := distant()
		tt.spoil(f)
		r := JudgeRemote(c, f, ours)
		if got := texts(r, tt.kind); strings.Count(got, tt.want) != 1 {
			t.Errorf("%s: want %q once in\n%s", name, tt.want, got)
		}
		if len(r.Slots) > 0 {
			t.Errorf("%s: the cluster is to have the slots %v", name, r.Slots)
		}
	}
}

func TestACopy(t *testing.T) {
	in := fresh().Inside
	in.Recovery, in.Weak = true, []string{"app"}
	in.Databases[0].Unlogged = []string{"scratch"}
	r := JudgeCopy(specification(t, ""), in)
	if got := texts(r, Refuse); got != "" {
		t.Errorf("refused: %s", got)
	}
	for _, want := range []string{"unlogged tables are empty in the copy: scratch", "MD5 password cannot log in any more: app"} {
		if got := texts(r, Change); strings.Count(got, want) != 1 {
			t.Errorf("want %q once in\n%s", want, got)
		}
	}
}
