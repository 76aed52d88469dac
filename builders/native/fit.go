package native

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
)

// Fits tells what keeps a lock from being one of the images of a cluster; nil when nothing does. Debian's own archives
// are not looked at: they are where the host that made the lock found them.
func (l *Lock) Fits(c *cluster.Cluster, all []images.Image) error {
	for _, i := range all {
		if l.Release != i.Release || l.Arch != i.Arch {
			return fmt.Errorf("it is for Debian %d on %s, the image is Debian %d on %s", l.Release, l.Arch, i.Release, i.Arch)
		}
		base, role := i.Layers()
		for _, want := range []Packages{
			{Name: base, Want: baseWants(i)}, {Name: layerLoaders, Want: i.Loaders()}, {Name: role, Want: i.Packages()},
		} {
			has, ok := l.Layer(want.Name)
			if !ok {
				return fmt.Errorf("it has no packages for %s", want.Name)
			}
			if err := sameNames(has.Want, want.Want); err != nil {
				return fmt.Errorf("%s: %w", want.Name, err)
			}
		}
	}
	return l.fitsSource(c)
}

func sameNames(has, wants []string) error {
	for _, w := range wants {
		if !slices.Contains(has, w) {
			return fmt.Errorf("%s is wanted, and it is not there", w)
		}
	}
	for _, h := range has {
		if !slices.Contains(wants, h) {
			return fmt.Errorf("%s is there, and nobody wants it", h)
		}
	}
	return nil
}

// fitsSource compares the archive that PostgreSQL comes from.
func (l *Lock) fitsSource(c *cluster.Cluster) error {
	want, err := postgresSource(c)
	if err != nil {
		return err
	}
	// The first of that suite is Debian itself.
	i := len(l.Sources) - 1
	for i > 0 && l.Sources[i].Suite != l.Release.Codename() && !strings.HasSuffix(l.Sources[i].Suite, "-pgdg") {
		i--
	}
	switch {
	case want == nil && i <= 0:
		return nil
	case want == nil:
		return fmt.Errorf("it has PostgreSQL from %s, postgres.source is now Debian's own archive", l.Sources[i].URI)
	case i <= 0:
		return errors.New("it has PostgreSQL from Debian's own archive, the specification names another")
	case l.Sources[i].Suite != want.Suite || want.URI != "" && (l.Sources[i].URI != want.URI || l.Sources[i].Key != want.Key):
		return fmt.Errorf("it has PostgreSQL from %s %s, the specification names %s %s, or another key",
			l.Sources[i].URI, l.Sources[i].Suite, want.URI, want.Suite)
	}
	return nil
}
