package native

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/ui"
	"github.com/pgbake/pgbake/packages"
	"github.com/pgbake/pgbake/test/debian"
)

// Tests that make roots run, as a build does, in namespaces of their own; all of this program does then.
func TestMain(m *testing.M) {
	flag.Parse()
	if helper, ok := helpers[os.Getenv("NATIVE_TEST_HELPER")]; ok {
		os.Exit(code(helper()))
	}
	if !testing.Short() && os.Geteuid() == 0 {
		inside, status, err := Enter()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			if os.Getenv("CI") == "true" {
				os.Exit(1)
			}
		} else if !inside {
			os.Exit(status)
		}
	}
	os.Exit(m.Run())
}

func code(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// helpers are what this program does when it is started again, to be killed.
var helpers = map[string]func() error{}

// needBuild skips where no root can be made.
func needBuild(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("makes roots: not with -short")
	}
	if !Inside() {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
}

// testCache keeps packages from one run to the next, and layers for as long as this program is the same: another one that runs
// beside this has a cache of its own. In a run of all tests test/image has made layers already, by the same code.
func testCache(t testing.TB) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	base = filepath.Join(base, "pgbake", "test", "native")
	self, err := sumFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, debs := filepath.Join(base, "by-"+self[:12]), filepath.Join(base, "debs")
	if err := errors.Join(os.MkdirAll(debs, 0o755), debian.RemoveUnused(filepath.Join(base, "by-*"), dir)); err != nil {
		t.Fatal(err)
	}
	lend := func(cache string) {
		if err := os.Symlink(debs, filepath.Join(cache, "debs")); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	if run := os.Getenv("PGBAKE_TEST_RUN"); run != "" {
		lend(run)
		return run
	}
	return debian.Made(t, dir, lend)
}

func quiet() *ui.UI { return ui.New(os.Stderr, ui.Quiet) }

func talk() *ui.UI {
	if testing.Verbose() {
		return ui.New(os.Stderr, ui.Normal)
	}
	return quiet()
}

func testCluster(t testing.TB, release int) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Parse("cluster.yaml", fmt.Appendf(nil, `scope: test
network: 10.20.0.0/24
debian: %d
nodes:
  - {name: db1, address: 10.20.0.11}
  - {name: db2, address: 10.20.0.12}
  - {name: db3, address: 10.20.0.13}
proxies:
  - {name: proxy1, address: 10.20.0.21}
`, release))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testImages(t testing.TB, c *cluster.Cluster) []images.Image {
	t.Helper()
	var all []images.Image
	for _, r := range images.Roles {
		i, err := images.New(c, r, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, i)
	}
	return all
}

func testDebs(t testing.TB, version string) []string {
	t.Helper()
	debs, err := packages.Build(t.Context(), packages.Options{
		Version: version, Arch: "amd64", Agent: []byte("\x7fELF no agent"), Out: t.TempDir(), Time: time.Unix(1_700_000_000, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	return debs
}

// testLock is a lock of today's archives, resolved once in a run of the tests.
func testLock(t testing.TB, release int) *Lock {
	t.Helper()
	if l := locks[release]; l != nil {
		return l
	}
	c := testCluster(t, release)
	l, err := Resolve(t.Context(), ResolveOptions{Runner: run.System{}, UI: quiet(), Cache: testCache(t), Cluster: c, Images: testImages(t, c)})
	if err != nil {
		t.Fatal(err)
	}
	locks[release] = l
	return l
}

var locks = map[int]*Lock{}
