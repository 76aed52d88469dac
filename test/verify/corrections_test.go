package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCorrectedPatroni lets Patroni's own client hold the lead while the members of a real etcd end and come back, with
// the corrections that patroni.service starts it with.
func TestCorrectedPatroni(t *testing.T) {
	each(t, func(t *testing.T, r release) {
		t.Parallel()
		s := r.sandbox(t)
		s.packaged("pgha-node", "/usr/lib/pgha/pgha_corrections.py")
		body, err := os.ReadFile("testdata/lead.py")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, "lead.py"), body, 0o600); err != nil {
			t.Fatal(err)
		}
		out := s.run("root", "python3", "/lead.py")
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
		if n := strings.Count(out, "and leaves it as it is"); n != 2 {
			t.Errorf("%d times left as it is, want 2", n)
		}
		if t.Failed() {
			t.Log(out)
		}
	})
}
