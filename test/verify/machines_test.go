package verify

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/render"
	"github.com/pgbake/pgbake/rootfs"
)

// site is a specification with real certificates, and passwords that would break out of anything that quotes badly.
type site struct {
	*cluster.Cluster
	secrets cluster.Secrets
	dir     string
	ca      cluster.CA
}

const nasty = `pa'ss "w\o$rd {} #: %n`

func newSite(t *testing.T, name string, spec []byte) *site {
	t.Helper()
	c, err := cluster.Parse(name, spec)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Cluster: c, dir: filepath.Join(t.TempDir(), "secrets"), secrets: cluster.Secrets{
		Replicator: "replicator " + nasty, Rewind: "rewind " + nasty, REST: "rest " + nasty, Stats: "stats " + nasty,
		VRRP: "Vrrp1234", Users: map[string]string{},
	}}
	for _, u := range c.Postgres.Users {
		s.secrets.Users[u.Name] = u.Name + " " + nasty
	}
	if s.ca, err = cluster.NewCA(c.Scope, time.Now()); err != nil {
		t.Fatal(err)
	}
	return s
}

// examples are all that the repository has.
func examples(t *testing.T) []*site {
	t.Helper()
	paths, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	var sites []*site
	for _, path := range paths {
		spec, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sites = append(sites, newSite(t, path, spec))
	}
	return sites
}

// quickstart is examples/quickstart.yaml on one of the releases, with only the first so many members: sandboxes share
// 127.0.0.1, so that no more than one member can really run.
func quickstart(t *testing.T, r release, members int) *site {
	t.Helper()
	spec, err := os.ReadFile("../../examples/quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, "quickstart.yaml", fmt.Appendf(spec, "debian: %d\n", r.debian))
	s.Nodes = s.Nodes[:members]
	return s
}

// files renders one machine.
func (s *site) files(t *testing.T, m cluster.Machine) []rootfs.File {
	t.Helper()
	id, err := cluster.EnsureIdentity(s.dir, s.ca, s.Cluster, m, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	files, err := render.Node(s.Cluster, m, render.Input{
		Secrets: cluster.Sealed{Secrets: s.secrets}.For(m.Role), Identity: id, Memory: 1 << 30, Disk: 50 << 30, Interface: "eth0",
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// of returns the machines of one role.
func (s *site) of(r cluster.Role) []cluster.Machine {
	return slices.DeleteFunc(s.Machines(), func(m cluster.Machine) bool { return m.Role != r })
}
