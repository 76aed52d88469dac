package cloudinit

import (
	"fmt"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/deb822"
	"github.com/pgbake/pgbake/rootfs"
)

// The apt files of a stock Debian image. The names are the files' on the machine.
const (
	pgbakeSources = "/etc/apt/sources.list.d/pgbake.sources"
	pgbakeKey     = "/etc/apt/keyrings/pgbake.asc"
	// Named so, an image's own pgdg.sources stays as it is.
	postgresSources = "/etc/apt/sources.list.d/pgbake-postgres.sources"
	postgresKey     = "/etc/apt/keyrings/pgbake-postgres.asc"
	// pgdgScript adds PGDG's archive to the sources: Debian's postgresql-common brings it, with the key, and knows
	// where the archive is.
	pgdgScript = "/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh"
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
	if c.Postgres.Mirror.URL != "" && r == cluster.DB {
		files = append(files,
			file(postgresKey, c.Postgres.Mirror.Key),
			file(postgresSources, source(c.Postgres.Mirror.URL, c.PostgresSuite(), postgresKey)))
	}
	return files
}

func source(url, suite, key string) string {
	return "# Written by pgbake's seed. To change it: cluster.yaml.\n" + deb822.Source(url, suite, key)
}

// cloudInitScript is where cloud-init keeps the script that it runs.
const cloudInitScript = "/var/lib/cloud/instance/scripts/runcmd"

// installScript installs the machine's package where it is not. It is POSIX sh, runs as root, and on a pgbake image it is one test.
//
// The package enables the agent and starts nothing: an image is made the same way. So here the agent is started, and
// not waited for: it may wait for its peers for days, and cloud-init must end.
func installScript(c *cluster.Cluster, r cluster.Role) string {
	packages := packageOf(r)
	if r == cluster.DB {
		// By its number: pgha-node would take the first one that the archives have.
		packages = fmt.Sprintf("postgresql-%d %s", c.Postgres.Version, packages)
		if c.Backup.Repository.Named() {
			packages = "pgbackrest " + packages
		}
	}
	install := "    $apt install " + packages
	if r == cluster.DB && c.Postgres.Source == cluster.SourcePGDG && c.Postgres.Mirror.URL == "" {
		install = strings.Join([]string{
			"    $apt install postgresql-common &&",
			"      " + pgdgScript + " -y &&",
			"      $apt install " + packages,
		}, "\n")
	}
	return `if ! test -x /usr/bin/pgha; then
  set -eu
  export DEBIAN_FRONTEND=noninteractive
  # Debian's daily run may hold the lock.
  apt='apt-get -qy -o DPkg::Lock::Timeout=600 --no-install-recommends'
  install() {
    # An archive that nothing is needed from may be out of reach.
    $apt update || :
` + install + `
  }
  # The archives, or the way to them, may come up after this machine: ten minutes and more.
  tries=60
  until install; do
    tries=$((tries - 1))
    if test "$tries" = 0; then
      echo "` + packageOf(r) + ` cannot be installed. To try again: sh ` + cloudInitScript + `" >&2
      exit 1
    fi
    sleep 10
  done
  systemctl start --no-block pgha-apply.service
fi
`
}
