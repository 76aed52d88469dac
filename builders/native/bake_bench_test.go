package native

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbake/pgbake/images"
)

// What a person waits for, from the packages at hand: the figures of the README. Seconds are wall time; CPU's are
// beside them, for a machine that does other work too.

func bakeOptions(b *testing.B, cache string, role images.Role, version string, formats ...string) BakeOptions {
	b.Helper()
	o := BakeOptions{Options: testOptions(b, cache, 12, role, version), Out: b.TempDir(), Version: version}
	for _, name := range formats {
		f, ok := images.FormatNamed(name)
		if !ok {
			b.Fatalf("no format %s", name)
		}
		o.Formats = append(o.Formats, f)
	}
	return o
}

func bake(b *testing.B, o BakeOptions) {
	b.Helper()
	if _, err := Bake(b.Context(), o); err != nil {
		b.Fatal(err)
	}
}

// fetched has every package that the benchmarks want in the store: the network is another's figure.
func fetched(b *testing.B) {
	b.Helper()
	needBuild(b)
	o := testOptions(b, testCache(b), 12, images.All, "1.0.0")
	for _, l := range o.Lock.Layers {
		if err := (store{run: o.Runner, dir: filepath.Join(o.Cache, "debs")}).fill(b.Context(), l.Packages, false); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCold(b *testing.B) {
	fetched(b)
	for b.Loop() {
		b.StopTimer()
		o := bakeOptions(b, freshCache(b), images.DB, "1.0.0", "raw")
		before := cpu()
		b.StartTimer()
		bake(b, o)
		b.StopTimer()
		b.ReportMetric(cpu()-before, "cpu-s")
		own, most := peaks(b)
		b.ReportMetric(own, "own-MB")
		b.ReportMetric(most, "largest-program-MB")
		removeAll(b, o)
		b.StartTimer()
	}
}

func BenchmarkSecondRole(b *testing.B) {
	fetched(b)
	for b.Loop() {
		b.StopTimer()
		cache := freshCache(b)
		bake(b, bakeOptions(b, cache, images.DB, "1.0.0", "raw"))
		o := bakeOptions(b, cache, images.Proxy, "1.0.0", "raw")
		b.StartTimer()
		bake(b, o)
		b.StopTimer()
		removeAll(b, o)
		b.StartTimer()
	}
}

// Only pgbake's own packages are new.
func BenchmarkNewPgha(b *testing.B) {
	fetched(b)
	for _, format := range []string{"raw", "qcow2"} {
		b.Run(format, func(b *testing.B) {
			cache := testCache(b)
			bake(b, bakeOptions(b, cache, images.DB, "1.0.0", format))
			n := 0
			for b.Loop() {
				b.StopTimer()
				n++
				o := bakeOptions(b, cache, images.DB, fmt.Sprintf("1.0.%d", n), format)
				before := cpu()
				b.StartTimer()
				bake(b, o)
				b.ReportMetric(cpu()-before, "cpu-s")
			}
		})
	}
}

func BenchmarkNothingChanged(b *testing.B) {
	fetched(b)
	o := bakeOptions(b, testCache(b), images.DB, "1.0.0", "qcow2")
	bake(b, o)
	for b.Loop() {
		if _, ok, err := Current(o); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

// The compressed image beside what qemu-img makes of the same disk. MB are millions.
func BenchmarkQcow2(b *testing.B) {
	fetched(b)
	o := bakeOptions(b, testCache(b), images.DB, "1.0.0", "raw", "qcow2")
	for b.Loop() {
		b.StopTimer()
		packed, _ := filepath.Glob(filepath.Join(o.Cache, "layers", "*", "packed"))
		for _, dir := range packed {
			if err := os.RemoveAll(dir); err != nil {
				b.Fatal(err)
			}
		}
		o.Force = true
		b.StartTimer()
		bake(b, o)
	}
	ours := filepath.Join(o.dir(), o.Image.Name())
	theirs := filepath.Join(b.TempDir(), "qemu-img.qcow2")
	begin := time.Now()
	if out, err := exec.CommandContext(b.Context(), "qemu-img", "convert", "-c", "-O", "qcow2", ours+".raw", theirs).CombinedOutput(); err != nil {
		b.Skipf("no qemu-img to compare with: %v %s", err, out)
	}
	b.ReportMetric(time.Since(begin).Seconds(), "qemu-img-s")
	for unit, name := range map[string]string{"MB": ours + ".qcow2", "qemu-img-MB": theirs} {
		info, err := os.Stat(name)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/1e6, unit)
	}
}

// peaks are the most memory this program had, and the largest of those it started, in MB.
func peaks(b *testing.B) (own, most float64) {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Fatal(err)
	}
	var children syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children); err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1000, float64(children.Maxrss) / 1000
}

// removeAll makes room for the next one.
func removeAll(b *testing.B, o BakeOptions) {
	b.Helper()
	for _, dir := range []string{filepath.Join(o.Cache, "layers"), o.Out} {
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
	}
}
