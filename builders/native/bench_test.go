package native

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pgbake/pgbake/internal/run"
)

// The pieces of a build, each by itself.

func basePaths(b *testing.B) []string {
	b.Helper()
	s := store{run: run.System{}, dir: filepath.Join(testCache(b), "debs")}
	base, _ := testLock(b, 12).Layer("base")
	if err := s.fill(b.Context(), base.Packages, false); err != nil {
		b.Fatal(err)
	}
	var paths []string
	for _, p := range base.Packages {
		paths = append(paths, s.path(p))
	}
	return paths
}

func cpu() float64 {
	var a, c syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &a)
	_ = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &c)
	f := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return f(a.Utime) + f(a.Stime) + f(c.Utime) + f(c.Stime)
}

func BenchmarkReadDebs(b *testing.B) {
	paths := basePaths(b)
	b.ResetTimer()
	before := cpu()
	for b.Loop() {
		if _, err := readDebs(b.Context(), paths); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu()-before)/float64(b.N), "cpu-s/op")
}

func BenchmarkUnpack(b *testing.B) {
	needBuild(b)
	paths := basePaths(b)
	debs, err := readDebs(b.Context(), paths)
	if err != nil {
		b.Fatal(err)
	}
	before := cpu()
	for b.Loop() {
		if _, err := unpack(b.Context(), b.TempDir(), debs, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu()-before)/float64(b.N), "cpu-s/op")
}
