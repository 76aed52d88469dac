package verify

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Patroni's own client of a real etcd, with the corrections that patroni.service starts it with.
func TestCorrectedPatroni(t *testing.T) {
	each(t, func(t *testing.T, r release) {
		t.Parallel()
		s := r.sandbox(t)
		s.packaged("pgha-node", "/usr/lib/pgha/pgha_corrections.py")
		s.copyIn("testdata")

		// pgha doctor asks for the version, and what of it is not known.
		if out := s.run("root", "python3", "-I", "-B", "/usr/lib/pgha/pgha_corrections.py"); len(strings.Fields(out)) != 1 {
			t.Errorf("what is not known of it: %s", out)
		}

		// pg_rewind finds the archive also where no replica ever was.
		out := s.run("postgres", "python3", "-B", "/rewind.py", fmt.Sprintf("/usr/lib/postgresql/%d/bin", r.postgres))
		const command = `/usr/bin/pgha archive-get shop %f "%p" || exit 1`
		if !strings.Contains(out, "before: []\n") || !strings.Contains(out, "after: ["+command+"]\n") || !strings.Contains(out, "127.0.0.1") {
			t.Errorf("restore_command for pg_rewind:\n%s", out)
		}

		// Readers are kept from what no other member has.
		out = s.run("root", "python3", "-B", "/left.py")
		if diff := cmp.Diff(`ahead of where the cluster left its timeline: /replica 503
the same, by another name: /read-only 503
the same, whether it runs: /health 200
the same, of a later one: /replica 503
just there, and about to follow: /replica 200
behind: /replica 200
on the cluster's timeline: /replica 200
a cluster that never had another primary: /replica 200
the primary: /read-only 200
no answer of PostgreSQL: /replica 503
`, out); diff != "" {
			t.Error(diff)
		}

		// A member that has another database than the cluster does not take the lead, whatever its timeline's number.
		out = s.run("root", "python3", "-B", "/history.py")
		if diff := cmp.Diff(`on the cluster's timeline: True
promoted before the history was written: True
a first timeline: True
the database of before, on a higher timeline: False
the same, promoted since: False
a copy of the restored one: True
a copy of it that was promoted: True
restored, and the history is that of before: False
restored twice: False
it has no history file: True
`, out); diff != "" {
			t.Error(diff)
		}

		// It holds the lead while the members of etcd end and come back.
		out = s.run("root", "python3", "/lead.py")
		for _, want := range []string{"lead kept in ", "a lease that there is not is not found", "without a quorum nobody says that the lead is lost"} {
			if !strings.Contains(out, want) {
				t.Errorf("not a word of %q", want)
			}
		}
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "failed: ") {
				t.Error(line)
			}
		}
		// It was asked to correct twice, and what there was the second time it did not know.
		if n := strings.Count(out, "and leaves it as it is"); n != 10 {
			t.Errorf("%d times left as it is, want 10", n)
		}
		if t.Failed() {
			t.Log(out)
		}

		// A lease ran out, and another may have led since.
		s.run("root", "rm", "-r", "/run/e1", "/run/e2", "/run/e3")
		if out := s.run("root", "python3", "/woken.py"); out != "end\n" {
			t.Errorf("who leads:\n%s", out)
		}
	})
}
