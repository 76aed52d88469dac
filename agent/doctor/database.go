package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/libpq"
	"github.com/pgbake/pgbake/internal/run"
)

// The checks of this machine's PostgreSQL, and of what Patroni gives all of them.

func settings(l *Look) (found []Finding) {
	for _, s := range l.Settings {
		set := s.Path + "=" + s.Want
		option := "--set"
		if name, ok := strings.CutPrefix(s.Path, "postgresql.parameters."); ok {
			set, option = name+"="+s.Want, "--pg"
		}
		found = append(found, Finding{
			What: fmt.Sprintf("Patroni's %s is %s, and should be %s", s.Path, s.Is, s.Want),
			Why:  "somebody changed it by patronictl or Patroni's API; what should stay belongs into cluster.yaml",
			Mend: []string{l.onMember("runuser -u postgres -- " + cluster.Patronictl + " edit-config --force --quiet " + option + " '" + set + "'")},
		})
	}
	return append(found, parameters(l)...)
}

// parameters looks at what PostgreSQL of this machine runs with. Those that wait for a restart are another check's.
func parameters(l *Look) (found []Finding) {
	for _, p := range l.Parameters {
		if p.Restart && l.pending() {
			continue
		}
		f := Finding{
			What: fmt.Sprintf("PostgreSQL's %s is %s, and should be %s", p.Name, p.Is, p.Want),
			Why:  "Patroni was asked for it, and PostgreSQL does not run with it",
			Mend: []string{"systemctl reload patroni"},
		}
		if p.Missing {
			f.What = fmt.Sprintf("PostgreSQL has no %s, which should be %s", p.Name, p.Want)
		}
		switch {
		case p.Wrong != "" && p.Ours:
			f.Why, f.Mend = p.Wrong, []string{"pgbake check    # where cluster.yaml is: it says what to write"}
		case p.Wrong != "":
			f.Why = p.Wrong + "; somebody set it by patronictl or Patroni's API"
			// Whoever set it has chosen the name.
			f.Mend = []string{"runuser -u postgres -- " + cluster.Patronictl + " edit-config --force --quiet " + run.Line([]string{"--pg", p.Name + "=null"})}
		case strings.HasSuffix(p.File, "/postgresql.auto.conf"):
			f.Why = "ALTER SYSTEM has set it, on this machine alone: in " + p.File
			f.Mend = []string{fmt.Sprintf("sed -i '/^%s *=/d' %s", p.Name, p.File), "systemctl reload patroni"}
		}
		found = append(found, f)
	}
	return found
}

// pending tells whether this member waits for a restart.
func (l *Look) pending() bool {
	return l.Cluster != nil && slices.ContainsFunc(l.Cluster.Members, func(m Member) bool { return m.Name == l.Name && m.Pending })
}

// slotKeeps is how much WAL a slot may keep for one that is away, before it is worth a word: a member that boots is back
// by then.
const slotKeeps = 128 << 20

func slots(l *Look) (found []Finding) {
	d := l.Database
	if d == nil || !d.Leads {
		return nil
	}
	for _, s := range d.Slots {
		lost := s.Status == "lost" || s.Status == "unreserved"
		if s.Active || s.Retained < slotKeeps && !lost {
			continue
		}
		f := Finding{
			What: fmt.Sprintf("the slot %s keeps %d MiB of WAL, and nobody reads from it", s.Name, s.Retained>>20),
			Why:  "nothing limits it: it fills the disk",
			Mend: []string{l.Ports.Psql() + " -c \"SELECT pg_catalog.pg_drop_replication_slot('" + s.Name + "')\""},
		}
		if d.Limit >= 0 {
			f.Why = fmt.Sprintf("at %d MiB (max_slot_wal_keep_size) PostgreSQL gives it up", d.Limit)
		}
		if lost {
			f.What = fmt.Sprintf("the slot %s has lost WAL that its reader needs (%s)", s.Name, s.Status)
			f.Why = "its reader was away for too long"
		}
		if s.Member != "" {
			f.Why += "; " + s.Member + " is away, and needs it when it comes back"
			f.Mend = []string{l.on(s.Member, "systemctl restart patroni")}
			if lost {
				f.Mend = []string{"pgha reinit " + s.Member}
			}
		}
		found = append(found, f)
	}
	return found
}

func access(l *Look) (found []Finding) {
	d := l.Database
	if d == nil {
		return nil
	}
	reload := l.Ports.Psql() + " -c 'SELECT pg_catalog.pg_reload_conf()'"
	for _, line := range d.Trust {
		found = append(found, Finding{
			What: fmt.Sprintf("line %d of %s lets people in without a password", line, d.HBA), Why: "it says trust, which pgha never writes",
			Mend: []string{fmt.Sprintf("sed -i '%d{/trust/d}' %s", line, d.HBA), reload},
		})
	}
	for _, e := range d.HBAErrors {
		found = append(found, Finding{What: "PostgreSQL does not understand " + d.HBA + ": line " + e, Why: "the whole file is ignored until that is mended, and at a restart PostgreSQL does not start", Mend: []string{"sed -i '" + strings.SplitN(e, ":", 2)[0] + "d' " + d.HBA, reload}})
	}
	return found
}

func corruption(l *Look) (found []Finding) {
	d := l.Database
	if d == nil {
		return nil
	}
	if len(d.Checksums) > 0 {
		f := Finding{What: "blocks with a wrong checksum in " + strings.Join(d.Checksums, ", "), Why: "the disk or the memory of this machine has changed data; another member's copy may be good", Mend: []string{"pgha reinit " + l.Name}}
		if d.Leads {
			f.Mend = append([]string{"pgha switchover"}, f.Mend...)
		}
		found = append(found, f)
	}
	if d.Leads {
		for _, name := range d.Collations {
			found = append(found, Finding{
				What: "indexes in " + name + " may be corrupt", Why: "they were sorted by another version of the collation: another Debian, or another ICU",
				Mend: []string{
					l.inDatabase(name, "REINDEX DATABASE "+libpq.Ident(name)),
					l.inDatabase(name, "ALTER DATABASE "+libpq.Ident(name)+" REFRESH COLLATION VERSION"),
				},
			})
		}
	}
	return found
}

// inDatabase is a command line that runs a statement as the superuser. Its owner has chosen the database's name.
func (l *Look) inDatabase(name, statement string) string {
	return l.Ports.Psql() + " " + run.Line([]string{"-d", libpq.Database(name), "-c", statement})
}
