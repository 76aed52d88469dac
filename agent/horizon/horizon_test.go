package horizon

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
)

var update = flag.Bool("update", false, "write the golden file anew")

// sound is a primary in which all is well.
func sound() Facts {
	return Facts{
		TransactionIDs: Oldest{Database: "app", Age: 210_000_000, FreezeMax: 200_000_000},
		Multixacts:     Oldest{Database: "app", Age: 1_000, FreezeMax: 400_000_000},
	}
}

func held(h Holder) func(*Facts) { return func(f *Facts) { f.Holder = &h } }

func prepared(n int, p Prepared) func(*Facts) {
	return func(f *Facts) { f.Prepared, f.First = n, &p }
}

// nasty is a text that ends quotes and lines, of the shell, of SQL and of the alert.
const nasty = "x'); DROP TABLE t; --\"$(reboot)`reboot`\\\nhint: pgha\u202e!"

// cases spoil a sound primary: those on both sides of every limit.
var cases = []struct {
	name  string
	spoil func(*Facts)
}{
	{"all is well", func(*Facts) {}},
	{"nothing was asked", func(f *Facts) { *f = Facts{} }},
	{"just below the warning", func(f *Facts) { f.TransactionIDs.Age = 549_999_999 }},
	{"the warning", func(f *Facts) { f.TransactionIDs.Age = 550_000_000 }},
	{"just below critical", func(f *Facts) { f.TransactionIDs.Age = 1_599_999_999 }},
	{"critical", func(f *Facts) { f.TransactionIDs.Age = 1_600_000_000 }},
	{"PostgreSQL has stopped", func(f *Facts) { f.TransactionIDs.Age = wrap - stopBefore + 1 }},
	{"template0, which takes no connections", func(f *Facts) {
		f.TransactionIDs = Oldest{Database: "template0", Age: 700_000_000, FreezeMax: 200_000_000, Closed: true}
	}},
	{"a database with a strange name", func(f *Facts) { f.TransactionIDs.Database, f.TransactionIDs.Age = nasty, 700_000_000 }},
	{"old ids that a session holds", func(f *Facts) {
		f.TransactionIDs.Age = 700_000_000
		held(Holder{Kind: Session, Age: 690_000_000, Seconds: 86_400 * 5, PID: 4711, User: "app", Database: "app", State: "idle in transaction"})(f)
	}},
	{"multixacts just below the warning", func(f *Facts) { f.Multixacts.Age = 699_999_999 }},
	{"multixacts, the warning", func(f *Facts) { f.Multixacts.Age = 700_000_000 }},
	{"multixacts, critical", func(f *Facts) { f.Multixacts.Age = 1_700_000_000 }},
	{"a session that is young", held(Holder{Kind: Session, Age: 500_000_000, Seconds: 3600, PID: 1, User: "app"})},
	{"a session that holds little", held(Holder{Kind: Session, Age: HeldAge, Seconds: 86_400, PID: 1, User: "app"})},
	{"a session", held(Holder{Kind: Session, Age: HeldAge + 1, Seconds: 3601, PID: 4711, User: "app", Application: "report", Database: "app", State: "active"})},
	{"a session with a strange name", held(Holder{Kind: Session, Age: 20_000_000, Seconds: 3601, PID: 4711, User: nasty, Application: nasty, Database: nasty, State: "active"})},
	{"a process of PostgreSQL", held(Holder{Kind: Session, Age: 20_000_000, Seconds: 7300, PID: 4711, Database: "app"})},
	{"a standby that is a member", held(Holder{Kind: Standby, Age: 20_000_000, Seconds: -1, PID: 12, User: "replicator", Application: "db-2"})},
	{"a standby that is none", held(Holder{Kind: Standby, Age: 20_000_000, Seconds: -1, PID: 12, User: "replicator", Application: nasty})},
	{"the slot of a member that streams", held(Holder{Kind: Slot, Age: 20_000_000, Seconds: -1, Name: "db_2", Active: true})},
	{"the slot of a member that is away", held(Holder{Kind: Slot, Age: 20_000_000, Seconds: -1, Name: "db_2"})},
	{"a slot that is read", held(Holder{Kind: Slot, Age: 20_000_000, Seconds: -1, Name: "debezium", Database: "app", Active: true})},
	{"a slot that nobody reads", held(Holder{Kind: Slot, Age: 20_000_000, Seconds: -1, Name: "debezium", Database: "app"})},
	{"a slot that holds little", held(Holder{Kind: Slot, Age: HeldAge, Seconds: -1, Name: "debezium"})},
	{"a prepared transaction holds", held(Holder{Kind: Transaction, Age: 20_000_000, Seconds: 7300, User: "app", Database: "app", Name: "order-17"})},
	{"a transaction was just prepared", prepared(1, Prepared{GID: "order-17", Owner: "app", Database: "app", Seconds: 300})},
	{"a transaction stays prepared", prepared(1, Prepared{GID: "order-17", Owner: "app", Database: "app", Seconds: 301})},
	{"many stay prepared", prepared(7, Prepared{GID: "order-17", Owner: "app", Database: "app", Seconds: 90_000})},
	{"one with a strange name", prepared(1, Prepared{GID: nasty, Owner: nasty, Database: nasty, Seconds: 301})},
}

// TestJudge: testdata/judge.golden has every word that is said of each case.
func TestJudge(t *testing.T) {
	in := Place{Ports: cluster.DefaultPorts(), Members: []string{"db-1", "db-2"}}
	var got strings.Builder
	for _, c := range cases {
		f := sound()
		c.spoil(&f)
		fmt.Fprintf(&got, "== %s\n", c.name)
		for _, d := range Judge(f, in) {
			fmt.Fprintf(&got, "%s critical=%t timed=%t\n   %s\n   %s\n", d.Topic, d.Critical, d.Timed, d.What, d.Why)
			for _, m := range d.Mend {
				fmt.Fprintf(&got, "   [%s] %s  # %s\n", m.On, m.Line, m.When)
				if strings.ContainsAny(d.What+d.Why+m.Line+m.When, "\n\u202e") {
					t.Errorf("%s: a line is broken: %q", c.name, m)
				}
			}
		}
	}
	const golden = "testdata/judge.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("run with -update and read the difference (-want +got):\n%s", d)
	}
}

// TestLimits: wherever autovacuum_freeze_max_age is set to, it comes before the warning, and both before PostgreSQL stops.
func TestLimits(t *testing.T) {
	for _, most := range []int64{100_000, 200_000_000, 1_000_000_000, 1_600_000_000, 2_000_000_000} { // 2 billion is the most that PostgreSQL takes
		o := Oldest{FreezeMax: most}
		if most >= o.Warning() || o.Warning() >= o.Critical() || o.Critical() > wrap-warnsBefore || o.Critical() < min(failsafe, wrap) {
			t.Errorf("%d: warning at %d, critical at %d", most, o.Warning(), o.Critical())
		}
	}
}

// TestLiteral: the shell hands PostgreSQL what was meant.
func TestLiteral(t *testing.T) {
	for text, want := range map[string]string{
		"order-17": "'order-17'", "": "''", "it's": `E'it\x27s'`, "a\\b": `E'a\x5cb'`, "$(x)`y`!": `E'\x24(x)\x60y\x60\x21'`, "a\nb": `E'a\x0ab'`, "é": `E'\xc3\xa9'`,
	} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", `printf %s "`+literal(text)+`"`).Output()
		if err != nil || string(out) != want {
			t.Errorf("%q: %s, want %s: %v", text, out, want, err)
		}
	}
}
