// Package provision turns a running Debian machine, whoever booted it, into the image of a role: by one POSIX sh script
// that runs there as root, beside pgbake's own packages.
//
// In come a specification, an image and where pgbake's packages are from; out come the script's text and the files that
// go with it. It runs nothing and asks no network: Packer's provisioner, or templates for a Packer without it, do.
// What a clean image is, and what lies in it, says package images.
package provision

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/run"
)

// ScriptName is the script's, in the directory that also holds the packages.
const ScriptName = "pgbake-provision.sh"

// Options are what a machine is to become.
type Options struct {
	Cluster *cluster.Cluster
	// Image is of the same cluster: images.New.
	Image images.Image
	// Repository is the http address of the apt repository that has pgbake's own packages, and Key its public key,
	// armored. Without them the packages lie beside the script: see Debs.
	Repository, Key string
	// Unclean leaves the machine as it is after the installation: for one that goes on being itself.
	Unclean bool
}

// Check tells what of the options no machine could be made of.
func (o Options) Check() error {
	if strings.HasPrefix(o.Cluster.Postgres.Mirror.URL, "file:") && o.Image.Role != images.Proxy {
		return errors.New("postgres.mirror.url is a directory of this host, which the machine does not see\n      hint: serve it by http")
	}
	if o.Repository == "" {
		return nil
	}
	u, err := url.Parse(o.Repository)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.ContainsAny(o.Repository, " \t\n") {
		return fmt.Errorf("repository %q is no http address", o.Repository)
	}
	if !strings.Contains(o.Key, "-----BEGIN PGP PUBLIC KEY BLOCK-----") {
		return errors.New("the repository's key is no armored public key\n      hint: the file pgbake.asc at the top of the repository")
	}
	return nil
}

// Debs are the files of pgbake's own packages for an image, in a directory where `pgbake package` wrote them.
func Debs(dir string, i images.Image) ([]string, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("find pgbake's packages: %w\n      hint: pgbake package -o %s", err, dir)
	}
	var debs []string
	for _, name := range i.PGHA() {
		var found []string
		for _, arch := range []string{i.Arch, "all"} {
			more, err := filepath.Glob(filepath.Join(dir, name+"_*_"+arch+".deb"))
			if err != nil {
				return nil, err
			}
			found = append(found, more...)
		}
		switch len(found) {
		case 0:
			return nil, fmt.Errorf("find pgbake's packages: %s has no %s for %s\n      hint: pgbake package -o %s", dir, name, i.Arch, dir)
		case 1:
			debs = append(debs, found[0])
		default:
			slices.Sort(found)
			return nil, fmt.Errorf("find pgbake's packages: which one?\n      %s\n      hint: remove the older", strings.Join(found, "\n      "))
		}
	}
	return debs, nil
}

// Command runs the script in dir, a directory on the machine, as whoever logs in there.
func Command(dir string) string {
	script := run.Line([]string{dir + "/" + ScriptName})
	return `if [ "$(id -u)" = 0 ]; then sh ` + script + `; else sudo -n sh ` + script + `; fi`
}
