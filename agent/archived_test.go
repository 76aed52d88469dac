package agent

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/agent/archive"
)

// What pgBackRest answers of a repository with two backups, of which only the first one leads to the database of now; of the
// WAL behind it some is missing.
func TestReadRepository(t *testing.T) {
	info, err := os.ReadFile("testdata/pgbackrest-info.json")
	if err != nil {
		t.Fatal(err)
	}
	const sum = "-da39a3ee5e6b4b0d3255bfef95601890afd80709"
	segment := func(name string) string { return `"` + name + sum + `.zst":{"type":"file","size":7,"time":1795696000}` }
	whole := `{".":{"type":"path"},` + segment("000000010000000000000004") + `,` + segment("000000010000000000000005") + `,` + segment("000000010000000000000006") + `}`
	facts := archive.Facts{SegmentBytes: 16 << 20, Current: "000000010000000000000007"}
	for name, c := range map[string]struct {
		facts  archive.Facts
		listed string
		err    error
		want   *archive.Repository
	}{
		"whole": {facts, whole, nil, &archive.Repository{Backup: "20261126-122622F"}},
		"a segment was given up": {facts, strings.Replace(whole, segment("000000010000000000000005"), `"x":{"type":"file"}`, 1), nil, &archive.Repository{
			Backup: "20261126-122622F", Hole: &archive.Hole{First: "000000010000000000000005", Last: "000000010000000000000005", Segments: 1, Names: []string{"000000010000000000000005"}, Reach: time.Unix(1795696000, 0).UTC()},
		}},
		"a directory is gone": {facts, `{".":{"type":"path"}}`, nil, &archive.Repository{
			Backup: "20261126-122622F", Hole: &archive.Hole{First: "000000010000000000000004", Last: "000000010000000000000006", Segments: 3, Names: []string{"000000010000000000000004", "000000010000000000000005", "000000010000000000000006"}},
		}},
		"the database of another history": {archive.Facts{SegmentBytes: 16 << 20, Current: "000000090000000000000007"}, whole, nil, &archive.Repository{}},
		"no answer":                       {facts, whole, errors.New("exit status 47"), &archive.Repository{Error: "the repository does not answer: exit status 47"}},
		"no JSON":                         {facts, "WARN", nil, &archive.Repository{Error: "read what pgBackRest says of the archive: invalid character 'W' looking for beginning of value"}},
	} {
		var asked []string
		got := readRepository(t.Context(), func(_ context.Context, args ...string) ([]byte, error) {
			asked = append(asked, strings.Join(args, " "))
			if args[0] == "info" {
				return info, nil
			}
			return []byte(c.listed), c.err
		}, "moment", c.facts)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if last := asked[len(asked)-1]; got.Backup != "" && last != "repo-ls --output=json archive/moment/17-1/0000000100000000" {
			t.Errorf("%s: asked %s", name, last)
		}
	}
}
