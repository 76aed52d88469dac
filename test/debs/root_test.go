package debs

import (
	"strings"
	"testing"

	"github.com/pgbake/pgbake/test/debian"
)

// libraries are of our dependencies, take long to install, and start nothing.
var libraries = []string{
	"locales", "openssl", "perl", "python3-click", "python3-dateutil", "python3-dnspython", "python3-prettytable",
	"python3-psutil", "python3-psycopg2", "python3-urllib3", "python3-yaml", "ssl-cert", "tzdata", "ucf",
}

// root returns the directory of a clean Debian with the packages ours depend on downloaded and not installed: machines
// have no network. It is made once, and again when a dependency changes.
func root(t *testing.T, release string, debs []string) string {
	t.Helper()
	depends := append(debian.Dependencies(t, debs), upgraders...)
	return debian.Root{
		Name: "debs", Release: release, Packages: libraries,
		After: `apt-get -qq --no-install-recommends --download-only -o APT::Sandbox::User=root satisfy "` + strings.Join(depends, ", ") + `"
systemd-machine-id-setup`,
	}.Made(t)
}
