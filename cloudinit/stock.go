package cloudinit

import (
	"fmt"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
)

// The apt files of a stock Debian image. The names are the files' on the machine.
const (
	pgbakeSources = "/etc/apt/sources.list.d/pgbake.sources"
	pgbakeKey     = "/etc/apt/keyrings/pgbake.asc"
	// Named so, an image's own pgdg.sources stays as it is.
	postgresSources = "/etc/apt/sources.list.d/pgbake-postgres.sources"
	postgresKey     = "/etc/apt/keyrings/pgbake-postgres.asc"
	// pgdgKey is PGDG's key; Debian's postgresql-common brings it.
	pgdgKey = "/usr/share/postgresql-common/pgdg/apt.postgresql.org.asc"
	// pgdgURL is where PGDG's archive is.
	pgdgURL = "https://apt.postgresql.org/pub/repos/apt"
	// pgbakeSuite is the only suite of pgbake's repository: its packages are the same for every release.
	pgbakeSuite = "stable"
)

// packageOf is the package that makes a machine one of its role.
func packageOf(r cluster.Role) string {
	if r == cluster.Proxy {
		return "pgha-proxy"
	}
	return "pgha-node"
}

// aptFiles are the sources, and their keys, that can be there from the start.
func aptFiles(c *cluster.Cluster, r cluster.Role) []rootfs.File {
	file := func(path, body string) rootfs.File {
		return rootfs.File{Path: path, Mode: 0o644, Body: []byte(strings.TrimRight(body, "\n") + "\n")}
	}
	files := []rootfs.File{
		file(pgbakeKey, c.Packages.Key),
		file(pgbakeSources, source(c.Packages.URL, pgbakeSuite, pgbakeKey)),
	}
	if text, key := postgresSource(c, r); key == postgresKey {
		files = append(files, file(postgresKey, c.Postgres.Mirror.Key), file(postgresSources, text))
	}
	return files
}

// postgresSource is the apt source that PostgreSQL and Patroni come from, and the file of the key it is signed with;
// nothing on a proxy, and when it is the archive that the image has anyway.
func postgresSource(c *cluster.Cluster, r cluster.Role) (text, key string) {
	mirror, suite := c.Postgres.Mirror, c.Debian.Codename()
	pgdg := c.Postgres.Source == cluster.SourcePGDG
	if pgdg {
		suite += "-pgdg"
	}
	switch {
	case r == cluster.Proxy:
		return "", ""
	case mirror.URL != "":
		return source(mirror.URL, suite, postgresKey), postgresKey
	case pgdg:
		return source(pgdgURL, suite, pgdgKey), pgdgKey
	}
	return "", ""
}

// source is an apt source, deb822 (https://manpages.debian.org/bookworm/apt/sources.list.5).
func source(url, suite, key string) string {
	return fmt.Sprintf(`# Written by pgbake's seed. To change it: cluster.yaml.
Types: deb
URIs: %s
Suites: %s
Components: main
Signed-By: %s
`, url, suite, key)
}

// installScript installs the machine's package where it is not. It is POSIX sh, runs as root, and on a pgbake image it is one test.
//
// The package enables the agent and starts nothing: an image is made the same way. So here the agent is started, and
// not waited for: it may wait for its peers for days, and cloud-init must end.
func installScript(c *cluster.Cluster, r cluster.Role) string {
	packages := packageOf(r)
	if r == cluster.DB {
		// By its number: pgha-node would take the first one that the archives have.
		packages = fmt.Sprintf("postgresql-%d %s", c.Postgres.Version, packages)
	}
	lines := []string{
		"if ! test -x /usr/bin/pgha; then",
		"  set -eu",
		"  export DEBIAN_FRONTEND=noninteractive",
		"  # Debian's daily run may hold the lock.",
		"  apt='apt-get -qy -o DPkg::Lock::Timeout=600'",
		"  $apt update",
	}
	if text, key := postgresSource(c, r); key == pgdgKey {
		lines = append(lines,
			"  # It brings the key of PGDG.",
			"  $apt install --no-install-recommends postgresql-common",
			"  cat > "+postgresSources+" <<'EOF'",
			strings.TrimRight(text, "\n"),
			"EOF",
			"  $apt update",
		)
	}
	lines = append(lines,
		"  $apt install --no-install-recommends "+packages,
		"  systemctl start --no-block pgha-apply.service",
		"fi",
	)
	return strings.Join(lines, "\n") + "\n"
}
