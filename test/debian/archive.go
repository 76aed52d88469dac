package debian

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/packages"
)

// Dependencies are what our packages need besides each other: the first of alternatives that apt can have is its choice.
func Dependencies(t *testing.T, debs []string) []string {
	t.Helper()
	var all []string
	for _, deb := range debs {
		out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--field", deb, "Depends").Output()
		if err != nil {
			t.Fatal(err)
		}
		for d := range strings.SplitSeq(strings.TrimSpace(string(out)), ", ") {
			name, _, _ := strings.Cut(d, " ")
			if d != "" && !slices.Contains(packages.Names, name) && !slices.Contains(all, d) {
				all = append(all, d)
			}
		}
	}
	slices.Sort(all)
	return all
}

// Archives are the lines of sources.list for a release, in the archives that this host's own apt uses; none when it knows
// none of Debian's, which leaves the choice to mmdebstrap.
func Archives(t testing.TB, release string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return nil
	}
	var lines []string
	for uri := range strings.FieldsSeq(string(out)) {
		uri = strings.TrimSuffix(uri, "/")
		switch path.Base(uri) {
		case "debian":
			lines = append(lines, fmt.Sprintf("deb %s %s main", uri, release), fmt.Sprintf("deb %s %s-updates main", uri, release))
		case "debian-security":
			lines = append(lines, fmt.Sprintf("deb %s %s-security main", uri, release))
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// Heads are the signed heads of archives, given as lines of sources.list: other ones when anything in an archive has changed.
func Heads(t *testing.T, sources []string) []string {
	t.Helper()
	var heads []string
	for _, line := range sources {
		f := strings.Fields(line)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f[1]+"/dists/"+f[2]+"/InRelease", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", req.URL, res.Status, err)
		}
		heads = append(heads, string(body))
	}
	return heads
}
