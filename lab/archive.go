package lab

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// Where Debian comes from: the archive that this host's own apt uses, whatever release the host is, so a
// company's mirror serves the lab too.

// debianSources returns the sources.list lines of a release; none when this host's apt knows no Debian
// archive (it is another distribution's), which leaves the choice to mmdebstrap.
func debianSources(ctx context.Context, r run.Runner, release cluster.Release) []string {
	const format = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)"
	out, err := r.Output(ctx, run.Command("apt-get", "indextargets", "--format", format, "Created-By: Packages"))
	if err != nil {
		return nil
	}
	return sourcesFrom(string(out), release.Codename())
}

// sourcesFrom picks Debian's main and security archives out of apt's index targets and turns them to codename.
// Before the host's first "apt-get update" apt does not know the origin: the last part of the URI decides then.
func sourcesFrom(targets, codename string) []string {
	var archive, security string
	for line := range strings.Lines(targets) {
		f := append(strings.Fields(line), "")
		if len(f) < 4 || f[2] != "main" || !strings.HasPrefix(f[0], "http") {
			continue
		}
		uri, suite, origin := f[0], f[1], f[3]
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
	lines := []string{
		fmt.Sprintf("deb %s %s main", archive, codename),
		fmt.Sprintf("deb %s %s-updates main", archive, codename),
	}
	if security != "" {
		lines = append(lines, fmt.Sprintf("deb %s %s-security main", security, codename))
	}
	return lines
}

var debianSuites = []string{"bookworm", "trixie", "forky", "oldstable", "stable", "testing", "sid", "unstable"}
