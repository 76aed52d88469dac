package native

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/ui"
	"github.com/pgbake/pgbake/packages"
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

// testCache keeps packages from one run to the next, and layers for as long as this program is the same.
func testCache(t testing.TB) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "pgbake", "test", "native")
	self, err := sumFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(dir, "made-by")
	if by, err := os.ReadFile(mark); err != nil || string(by) != self {
		for _, d := range []string{"layers", "initramfs"} {
			if err := os.RemoveAll(filepath.Join(dir, d)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(mark, []byte(self), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func quiet() *ui.UI { return ui.New(os.Stderr, ui.Quiet) }

func talk() *ui.UI {
	if testing.Verbose() {
		return ui.New(os.Stderr, ui.Normal)
	}
	return quiet()
}

func testCluster(t testing.TB, debian int) *cluster.Cluster {
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
`, debian))
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
func testLock(t testing.TB, debian int) *Lock {
	t.Helper()
	if l := locks[debian]; l != nil {
		return l
	}
	c := testCluster(t, debian)
	l, err := Resolve(t.Context(), ResolveOptions{Runner: run.System{}, UI: quiet(), Cache: testCache(t), Cluster: c, Images: testImages(t, c)})
	if err != nil {
		t.Fatal(err)
	}
	locks[debian] = l
	return l
}

var locks = map[int]*Lock{}
