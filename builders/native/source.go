package native

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/deb822"
	"github.com/pgbake/pgbake/internal/run"
)

// Where PGDG's archive is, unless the specification names a mirror, and what it is signed with, stands in two files of
// Debian's package postgresql-common: a script that sets it up, and the key.
const (
	pgdgScript = "usr/share/postgresql-common/pgdg/apt.postgresql.org.sh"
	pgdgKey    = "usr/share/postgresql-common/pgdg/apt.postgresql.org.asc"
)

// pgdgHost is how the script names the archive's host.
var pgdgHost = regexp.MustCompile(`(?m)^\s*HOST="?([a-z0-9.-]+)"?`)

// debianSources are Debian's archives of a release, with its updates and its security fixes, where this host's own
// apt gets them from: a company's mirror serves images too.
func debianSources(ctx context.Context, r run.Runner, release cluster.Release) ([]Source, error) {
	const format = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)"
	out, err := r.Output(ctx, run.Command("apt-get", "indextargets", "--format", format, "Created-By: Packages"))
	if err != nil {
		return nil, fmt.Errorf("find Debian's archives: %w", err)
	}
	sources := sourcesFrom(string(out), release.Codename())
	if sources == nil {
		return nil, errors.New("find Debian's archives: this host's apt knows none\n" +
			"      hint: add a source of Debian main and security to /etc/apt/sources.list.d")
	}
	return sources, nil
}

// sourcesFrom picks Debian's main and security archives out of apt's index targets and turns them to codename.
// Before the host's first "apt-get update" apt does not know the origin: the last part of the URI decides then.
func sourcesFrom(targets, codename string) []Source {
	var archive, security string
	for line := range strings.Lines(targets) {
		f := append(strings.Fields(line), "")
		if len(f) < 4 || f[2] != "main" || !strings.HasPrefix(f[0], "http") {
			continue
		}
		uri, suite, origin := strings.TrimSuffix(f[0], "/"), f[1], f[3]
		name := path.Base(uri)
		if origin != "Debian" && (origin != "" || name != "debian" && name != "debian-security") {
			continue
		}
		switch base, rest, _ := strings.Cut(suite, "-"); {
		case strings.HasPrefix(rest, "backports"):
		case rest == "security":
			security = uri
		case slices.Contains(debianSuites, base):
			archive = uri
		}
	}
	if archive == "" {
		return nil
	}
	sources := []Source{{URI: archive, Suite: codename}, {URI: archive, Suite: codename + "-updates"}}
	if security != "" {
		sources = append(sources, Source{URI: security, Suite: codename + "-security"})
	}
	return sources
}

var debianSuites = []string{"bookworm", "trixie", "forky", "oldstable", "stable", "testing", "sid", "unstable"}

// postgresSource is PGDG's archive, or the mirror that the specification names for it; nil when Debian's own is enough.
// Its address is empty when the specification leaves it to PGDG.
func postgresSource(c *cluster.Cluster) (*Source, error) {
	s := Source{URI: c.Postgres.Mirror.URL, Key: c.Postgres.Mirror.Key, Suite: c.PostgresSuite()}
	if c.Postgres.Source != cluster.SourcePGDG && s.URI == "" {
		return nil, nil //nolint:nilnil // no archive of that kind is an answer
	}
	if _, err := url.Parse(s.URI); err != nil {
		return nil, fmt.Errorf("parse postgres.mirror.url: %w", err)
	}
	return &s, nil
}

// sourcesFile is the machine's own list of archives; those in a directory of this host are of no use there.
// Keys lie beside it, by keyPath.
func sourcesFile(sources []Source) string {
	var b strings.Builder
	b.WriteString("# Written by pgbake into the image.\n")
	for i, s := range sources {
		if strings.HasPrefix(s.URI, "file:") {
			continue
		}
		b.WriteString("\n" + deb822.Source(s.URI, s.Suite, keyPath(sources, i)))
	}
	return b.String()
}

// debianKeyring is where Debian's package debian-archive-keyring has it, on hosts and machines.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// keyPath is where the key of sources[i] lies on a machine.
func keyPath(sources []Source, i int) string {
	if sources[i].Key == "" {
		return debianKeyring
	}
	return fmt.Sprintf("/etc/apt/keyrings/pgbake-%d.asc", i)
}
