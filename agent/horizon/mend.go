package horizon

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/libpq"
	"github.com/pgbake/pgbake/internal/run"
)

// called is a holder in a sentence.
func (in Place) called(h Holder) string {
	member := in.memberOf(h)
	switch h.Kind {
	case Session:
		text := fmt.Sprintf("the session %d of %s", h.PID, shown(h.User))
		if h.User == "" {
			text = fmt.Sprintf("the process %d", h.PID)
		}
		if h.Application != "" {
			text += ", application " + shown(h.Application)
		}
		if h.Database != "" {
			text += ", database " + shown(h.Database)
		}
		if h.State != "" {
			text += ", " + h.State
		}
		return text + ", in a transaction for " + span(h.Seconds) + ","
	case Standby:
		if member != "" {
			return "a query on " + member + " (hot_standby_feedback)"
		}
		return "a query on the standby " + shown(h.Application) + ", which streams as " + shown(h.User) + " (hot_standby_feedback),"
	case Slot:
		switch {
		case member != "" && h.Active:
			return "a query on " + member + " (hot_standby_feedback, by its slot " + h.Name + ")"
		case member != "":
			return "the slot " + h.Name + " of " + member + ", which is away,"
		case h.Active:
			return "the slot " + h.Name + ", from which somebody reads,"
		}
		return "the slot " + h.Name + ", from which nobody reads,"
	}
	return "the prepared transaction " + shown(h.Name) + " of " + shown(h.User) + " in the database " + shown(h.Database)
}

// memberOf is the member that a slot or a standby is; empty when it is none.
func (in Place) memberOf(h Holder) string {
	for _, m := range in.Members {
		if h.Kind == Slot && h.Name == cluster.SlotOf(m) || h.Kind == Standby && h.Application == m {
			return m
		}
	}
	return ""
}

// end are the commands that end what a holder holds.
func (in Place) end(h Holder) []Command {
	psql, member := in.Ports.Psql(), in.memberOf(h)
	oldest := psql + ` -c "SELECT pid, usename, application_name, xact_start, state FROM pg_catalog.pg_stat_activity WHERE backend_xmin IS NOT NULL ORDER BY pg_catalog.age(backend_xmin) DESC LIMIT 5"`
	terminate := psql + ` -c "SELECT pg_catalog.pg_terminate_backend(PID)"`
	switch {
	case h.Kind == Session:
		return []Command{{Line: strings.Replace(terminate, "PID", strconv.Itoa(h.PID), 1), When: "when nobody needs what it does"}}
	case h.Kind == Transaction:
		return in.settle(h.Name, h.Database)
	case member != "" && (h.Kind == Standby || h.Active):
		return []Command{{On: member, Line: oldest, When: "the first of them is it"}, {On: member, Line: terminate, When: "when nobody needs what it does"}}
	case member != "":
		return []Command{{On: member, Line: "systemctl restart patroni", When: "it is away, and needs the slot when it comes back; one that does not: pgha member remove " + member}}
	case h.Kind == Standby:
		return []Command{{Line: fmt.Sprintf(`%s -c "SELECT pid, application_name, client_addr, backend_xmin FROM pg_catalog.pg_stat_replication WHERE pid = %d"`, psql, h.PID), When: "where it runs; there: " + oldest}}
	}
	// Whose a slot is PostgreSQL does not know: who reads from it, and of which database, is what there is.
	ask := Command{Line: psql + ` -c "SELECT slot_name, plugin, database, active_pid, xmin, catalog_xmin FROM pg_catalog.pg_replication_slots WHERE slot_name = '` + h.Name + `'"`, When: "no member's: whose is it? Its reader must go on"}
	if h.Active {
		ask.When = "no member's: its reader does not confirm what it has read"
		return []Command{ask}
	}
	return []Command{ask, {Line: psql + ` -c "SELECT pg_catalog.pg_drop_replication_slot('` + h.Name + `')"`, When: "only when the owner of " + h.Name + " is gone for good: one that comes back must copy everything anew"}}
}

// settle ends a prepared transaction, in its own database: elsewhere PostgreSQL refuses it.
func (in Place) settle(gid, database string) []Command {
	finish := func(statement, when string) Command {
		// No character of a literal means anything between double quotes: its backslashes are before an x.
		return Command{Line: in.Ports.Psql() + " -d " + dbname(database) + ` -c "` + statement + " PREPARED " + literal(gid) + `"`, When: when}
	}
	return []Command{
		finish("ROLLBACK", "when its coordinator has rolled back, or does not know it"),
		finish("COMMIT", "instead, when its coordinator has committed"),
	}
}

// freeze freezes a database. One that takes no connections takes some for that long.
func (in Place) freeze(o Oldest) []Command {
	line := Command{Line: in.Ports.Vacuumdb() + " --freeze -d " + dbname(o.Database)}
	if !o.Closed {
		return []Command{line}
	}
	name := libpq.Ident(o.Database)
	if !typed(o.Database) {
		name = placeholder
	}
	allow := func(yes bool) Command {
		return Command{Line: in.Ports.Psql() + " " + run.Line([]string{"-c", fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS %t", name, yes)})}
	}
	return []Command{allow(true), line, allow(false)}
}

// placeholder stands for a name that cannot be typed: a person writes it.
const placeholder = "DATABASE"

// dbname is a database as a client program takes it, in the shell.
func dbname(name string) string {
	if !typed(name) {
		return placeholder
	}
	return run.Line([]string{libpq.Database(name)})
}

// typed tells whether a text is one line of what can be seen.
func typed(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// shown is a text that somebody else has chosen, on one line and between quotes.
func shown(s string) string { return strconv.Quote(s) }

// literal is a string in SQL, whatever standard_conforming_strings is, on one line.
// https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-STRINGS-ESCAPE
func literal(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || strings.IndexByte("'\"\\$`!", c) >= 0 {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	if strings.Contains(b.String(), `\`) {
		return "E'" + b.String() + "'"
	}
	return "'" + b.String() + "'"
}
