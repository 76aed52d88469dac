package adopt

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pgbake/pgbake/cluster"
)

// leastRoom is what a primary needs beside its data: wal_keep_size, and the segments of one checkpoint.
const leastRoom = 2 << 30

// state is what PostgreSQL's own control file tells.
func (r *Report) state(c *cluster.Cluster, f *Found) {
	state, timeline := f.Control["Database cluster state"], f.Control["Latest checkpoint's TimeLineID"]
	r.add(Note, "", fmt.Sprintf("PostgreSQL %s, system %s, timeline %s, in %s: %s", f.Major, f.Control["Database system identifier"], timeline, f.Data, state))
	if f.Major != strconv.Itoa(c.Postgres.Version) {
		r.add(Refuse, "pg_upgradecluster it first, or change postgres.version", fmt.Sprintf("it is PostgreSQL %s, and the cluster is PostgreSQL %d", f.Major, c.Postgres.Version))
	}
	if f.Release != strconv.Itoa(int(c.Debian)) {
		r.add(Refuse, fmt.Sprintf("debian: %s", f.Release), fmt.Sprintf(
			"this machine is Debian %s, and cluster.yaml makes the others Debian %d: they would sort texts in another order, and indexes would be corrupt there", f.Release, c.Debian))
	}
	if len(f.Recovery) > 0 || strings.Contains(state, "recovery") || f.Inside != nil && f.Inside.Recovery {
		because := state
		if len(f.Recovery) > 0 {
			because = strings.Join(f.Recovery, ", ") + " in its directory"
		}
		r.add(Refuse, "adopt its primary; or, when it is to be the primary: pg_ctlcluster … promote", "it is no primary, but a standby or a copy that was not recovered: "+because)
	} else if f.Unit == "" && state != "shut down" {
		hint := "nothing need be done"
		if f.Place != "" {
			hint = "to have everything looked at before: pg_ctlcluster " + strings.Replace(f.Place, "/", " ", 1) + " start"
		}
		r.add(Change, hint, "it was not shut down ("+state+"): Patroni recovers it first")
	}
	if f.Control["wal_level setting"] == "minimal" {
		r.add(Refuse, "wal_level = replica in its postgresql.conf, and restart it once", "its log is of wal_level minimal, which no standby can begin from")
	}
	if next, err := strconv.Atoi(timeline); err == nil {
		r.add(Note, "", fmt.Sprintf("timeline %d becomes %d: Patroni promotes it", next, next+1))
	}
	if f.Control["Data page checksum version"] == "0" {
		r.add(Note, "", "data checksums are off and stay off; pg_checksums turns them on, with the cluster stopped")
	}
}

// storage is what lies in the data directory.
func (r *Report) storage(f *Found) {
	if f.Owner != "" {
		r.add(Refuse, "chown -R postgres:postgres "+f.Data+" && chmod 700 "+f.Data, "its directory is "+f.Owner+", not postgres's alone")
	}
	if f.LostWAL != "" {
		r.add(Refuse, "bring pg_wal back, whole: pg_resetwal would lose what it holds", "its log is not there: PostgreSQL would begin to read at "+f.LostWAL)
	}
	if len(f.Tablespaces) > 0 {
		r.add(Refuse, "move what is in them: ALTER DATABASE … SET TABLESPACE pg_default, ALTER TABLE ALL IN TABLESPACE …; then DROP TABLESPACE",
			"tablespaces outside of its directory, which the other machines cannot clone: "+strings.Join(f.Tablespaces, ", "))
	}
	if f.Free < leastRoom {
		r.add(Refuse, "make room, or move it to a larger disk", fmt.Sprintf("its disk has room for %d MB more, and a primary needs %d MB for its log", f.Free>>20, leastRoom>>20))
	}
	if f.Prepared > 0 {
		r.add(Change, "COMMIT PREPARED or ROLLBACK PREPARED: pg_prepared_xacts", fmt.Sprintf("%d prepared transactions stay prepared, and hold their locks", f.Prepared))
	}
	if len(f.Slots) > 0 {
		r.Slots = f.Slots
		r.add(Change, "patronictl edit-config: slots makes one follow the primary", "the replication slots stay on this machine alone, where a failover leaves them: "+strings.Join(f.Slots, ", "))
	}
}

// Unit is the systemd unit of a cluster of Debian's tools.
func Unit(place string) string {
	return "postgresql@" + strings.Replace(place, "/", "-", 1) + ".service"
}

// place is where it runs, and what runs it.
func (r *Report) place(c *cluster.Cluster, f *Found) {
	if data := f.Settings.Get("data_directory", f.Data); f.Place != "" && data != c.DataDir() {
		version, name, _ := strings.Cut(f.Place, "/")
		r.add(Refuse, fmt.Sprintf("pg_renamecluster %s %s main, or stop it, move %s there and change its data_directory", version, name, data),
			fmt.Sprintf("its data lies in %s, and every member's in %s", data, c.DataDir()))
	}
	switch own := Unit(f.Place); {
	case f.Unit == "":
	case f.Place == "":
		r.add(Refuse, "stop it", "PostgreSQL runs in its directory, in "+f.Unit)
	case f.Unit != own:
		r.add(Refuse, "stop it, and start it with pg_ctlcluster", "PostgreSQL runs in its directory, in "+f.Unit+" and not in Debian's "+own)
	default:
		r.add(Note, "", "it is stopped (fast) and started by Patroni: a pause of some seconds, and every session ends")
	}
}

// access says who no longer gets in.
func (r *Report) access(c *cluster.Cluster, f *Found) {
	if len(f.Access) == 0 {
		return
	}
	var from []string
	for _, n := range c.Proxies {
		from = append(from, n.Address.String())
	}
	for _, n := range c.ClientNetworks {
		from = append(from, n.String())
	}
	if len(from) == 0 {
		from = []string{"nowhere"}
	}
	r.add(Change, "client_networks in cluster.yaml says from where", fmt.Sprintf(
		"pg_hba.conf is the cluster's own: postgres by the socket, everybody else with TLS and a SCRAM password, from %s; it has no more:\n      %s",
		strings.Join(from, ", "), strings.Join(f.Access, "\n      ")))
}

// inside is what the running database says.
func (r *Report) inside(c *cluster.Cluster, f *Found) {
	if len(f.Libraries) > 0 {
		r.add(Change, "install them on every machine, or the replicas do not start", "libraries that are loaded at the start and are not of PostgreSQL's own package: "+strings.Join(f.Libraries, ", "))
	}
	in := f.Inside
	if in == nil {
		r.add(Change, "", "it does not run: its extensions, collations and passwords were not looked at")
		return
	}
	if !in.Superuser {
		r.add(Refuse, "CREATE ROLE postgres SUPERUSER LOGIN", "it has no superuser postgres, as whom Patroni works")
	}
	if len(in.Weak) > 0 {
		r.add(Change, "give them their password again (\\password) before or after", "roles with an MD5 password cannot log in any more: "+strings.Join(in.Weak, ", "))
	}
	if len(in.Open) > 0 {
		r.add(Change, "", "roles without a password cannot log in any more, but by what uses the socket as postgres: "+strings.Join(in.Open, ", "))
	}
	for _, own := range []string{c.Postgres.ReplicationUser, "rewind"} {
		if slices.Contains(in.Roles, own) {
			r.add(Change, "postgres.replication_user names another one for replication", "the role "+own+" is there, and gets the password of the cluster's secrets")
		}
	}
	if len(in.Standbys) > 0 {
		r.add(Change, "make them anew from the cluster, or let them be members of it", "whoever streams from it now loses it: "+strings.Join(in.Standbys, ", "))
	}
	locales := map[string]bool{}
	for _, name := range []string{"lc_messages", "lc_monetary", "lc_numeric", "lc_time"} {
		locales[f.Settings.Get(name, "C")] = true
	}
	for _, d := range in.Databases {
		if d.Provider == "c" {
			locales[d.Collate] = true
		}
		locales[d.Type] = true
		if len(d.Strange) > 0 {
			r.add(Change, "install them on every machine, before it is to clone", fmt.Sprintf("database %s: extensions that are not of PostgreSQL's own package: %s", d.Name, strings.Join(d.Strange, ", ")))
		}
	}
	r.Findings = append(r.Findings, in.Collations()...)
	var foreign []string
	for name := range locales {
		if !everywhere(name) {
			foreign = append(foreign, name)
		}
	}
	if slices.Sort(foreign); len(foreign) > 0 {
		r.add(Change, "on every machine: apt install locales, and locale-gen", "locales that every machine must have, or nobody connects after a failover: "+strings.Join(foreign, ", "))
	}
}

// Collations are the findings about databases whose texts are sorted in another way here than where they were made.
func (in *Inside) Collations() (found []Finding) {
	for _, d := range in.Databases {
		stale := slices.Clone(d.Stale)
		if d.Recorded != d.Actual {
			stale = slices.Insert(stale, 0, "its own")
		}
		if len(stale) > 0 {
			found = append(found, Finding{
				Change, fmt.Sprintf("database %s: indexes on texts were made with another version of its collations (%s) and may be corrupt", d.Name, strings.Join(stale, ", ")),
				fmt.Sprintf("REINDEX DATABASE %q, then ALTER DATABASE %[1]q REFRESH COLLATION VERSION", d.Name),
			})
		}
	}
	return found
}

// everywhere tells whether each Debian has the locale, with the same order of texts.
func everywhere(locale string) bool {
	return slices.Contains([]string{"", "C", "POSIX", "C.UTF-8", "C.utf8"}, locale)
}
