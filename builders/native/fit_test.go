package native

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
)

// lockFor is a lock with the names that images of a cluster want.
func lockFor(t *testing.T, c *cluster.Cluster, sources ...Source) *Lock {
	t.Helper()
	all := testImages(t, c)
	l := &Lock{Format: lockFormat, Release: c.Debian, Arch: "amd64", Sources: append([]Source{{URI: "http://debian", Suite: c.Debian.Codename()}}, sources...)}
	l.Layers = []Packages{{Name: "base", Want: baseWants(all[0])}, {Name: layerLoaders, Want: all[0].Loaders()}}
	for _, i := range all {
		l.Layers = append(l.Layers, Packages{Name: string(i.Role), Want: i.Packages()})
	}
	return l
}

func TestFits(t *testing.T) {
	c := testCluster(t, 12)
	own := Source{URI: "http://mirror", Suite: "bookworm-pgdg", Key: "key"}
	for _, test := range []struct {
		name   string
		change func(l *Lock, c *cluster.Cluster)
		want   string // in the complaint; empty: it fits
	}{
		{"the same", func(*Lock, *cluster.Cluster) {}, ""},
		{"another release", func(l *Lock, _ *cluster.Cluster) { l.Release = 13 }, "it is for Debian 13 on amd64"},
		{"another architecture", func(l *Lock, _ *cluster.Cluster) { l.Arch = "arm64" }, "on arm64"},
		{"another PostgreSQL", func(_ *Lock, c *cluster.Cluster) { c.Postgres.Version = 16 }, "postgresql-16 is wanted"},
		{"more than wanted", func(l *Lock, _ *cluster.Cluster) { l.Layers[0].Want = append(l.Layers[0].Want, "vim") }, "vim is there"},
		{"no such role", func(l *Lock, _ *cluster.Cluster) { l.Layers = l.Layers[:3] }, "no packages for proxy"},
		{"from PGDG now", func(_ *Lock, c *cluster.Cluster) { c.Postgres.Source = cluster.SourcePGDG }, "from Debian's own archive, the specification names another"},
		{"from PGDG no more", func(l *Lock, _ *cluster.Cluster) { l.Sources = append(l.Sources, own) }, "from http://mirror"},
		{"PGDG wherever it is", func(l *Lock, c *cluster.Cluster) {
			l.Sources, c.Postgres.Source = append(l.Sources, own), cluster.SourcePGDG
		}, ""},
		{"another mirror", func(l *Lock, c *cluster.Cluster) {
			l.Sources, c.Postgres.Source, c.Postgres.Mirror = append(l.Sources, own), cluster.SourcePGDG, cluster.Archive{URL: "http://other", Key: "key"}
		}, "or another key"},
	} {
		changed := *c
		l := lockFor(t, c)
		test.change(l, &changed)
		all := testImages(t, &changed)
		err := l.Fits(&changed, slices.DeleteFunc(all, func(i images.Image) bool { return i.Role == images.All }))
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// Each init has packages of its own in a lock.
func TestFitsInit(t *testing.T) {
	c := testCluster(t, 12)
	l := lockFor(t, c)
	if got := l.Inits(); !slices.Equal(got, []images.Init{images.CloudInit}) {
		t.Errorf("a lock for cloud-init is for %q", got)
	}
	i, err := testImages(t, c)[0].With(images.Ignition, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Fits(c, []images.Image{i}); err == nil || !strings.Contains(err.Error(), "no packages for base-ignition") {
		t.Errorf("an image with ignition: %v", err)
	}
	base, role := i.Layers()
	l.Layers = append(l.Layers, Packages{Name: base, Want: baseWants(i)}, Packages{Name: role, Want: i.Packages()})
	if err := l.Fits(c, []images.Image{i}); err != nil {
		t.Errorf("a lock for both: %v", err)
	}
	if got := l.Inits(); !slices.Equal(got, images.Inits) {
		t.Errorf("a lock for both is for %q", got)
	}
}

func TestDiff(t *testing.T) {
	p := func(name, version, sum string) Package { return Package{Name: name, Version: version, SHA256: sum} }
	before := &Lock{
		Sources: []Source{{"http://a", "s1", ""}, {"http://b", "s2", "key"}},
		Layers:  []Packages{{Name: "base", Packages: []Package{p("same", "1", "x"), p("newer", "1", "x"), p("gone", "1", "x"), p("anew", "1", "x")}}},
	}
	after := &Lock{
		Sources: []Source{{"http://c", "s1", ""}, {"http://b", "s2", "other"}},
		Layers:  []Packages{{Name: "base", Packages: []Package{p("same", "1", "x"), p("newer", "2", "y"), p("added", "1", "x"), p("anew", "1", "y")}}},
	}
	var lines []string
	for _, c := range Diff(before, after) {
		lines = append(lines, c.String())
	}
	want := []string{
		"base: + added 1", "base: anew 1 -> 1 (built anew)", "base: - gone 1", "base: newer 1 -> 2",
		"sources: s1 http://a -> http://c", "sources: s2 http://b -> http://b (another key)",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if same := Diff(after, after); len(same) > 0 {
		t.Errorf("a lock differs from itself: %v", same)
	}
}
