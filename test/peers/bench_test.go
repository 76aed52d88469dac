// Package peers measures `pgbake image` against mkosi, debos, vmdb2 and a script of mmdebstrap and mke2fs: the same
// packages, sources, files and units, in turn, in one run. It needs root, loop devices and test/setup.sh peers.
package peers

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// results are what a builder's steps took, round after round, and its disk.
type results struct {
	builder
	about  string
	took   map[string][]figures
	disk   found
	more   []string // packages that pgbake's image does not have
	qcow2  int64    // bytes, compressed
	failed error    // why it is not measured on this machine
}

// BenchmarkImage prints its figures as benchmarks, medians of PEER_ROUNDS rounds, and then as a table. PEERS names those
// to measure, all when empty; PEER_DIR is where there is room for 20 GB, PEER_TOOLBOX where the peers are, and with
// PEER_KEEP the disks and logs stay.
func BenchmarkImage(b *testing.B) {
	needPeers(b)
	rounds := 3
	if n, err := strconv.Atoi(os.Getenv("PEER_ROUNDS")); err == nil {
		rounds = max(n, 1)
	}
	w := newWork(b)
	var all []*results
	for _, p := range builders {
		if only := strings.Fields(os.Getenv("PEERS")); len(only) > 0 && !slices.Contains(only, p.name) {
			continue
		}
		about, err := w.about(p)
		all = append(all, &results{builder: p, about: about, took: map[string][]figures{}, failed: err})
	}
	for round := range rounds {
		for _, r := range all {
			if r.failed == nil {
				r.failed = w.round(b, r)
			}
			if r.failed != nil && round == 0 {
				b.Logf("%s: %v", r.name, r.failed)
			}
		}
	}
	// qemu-img compresses on one core, and what it takes is nobody's figure.
	var compressing sync.WaitGroup
	for _, r := range all {
		if r.failed == nil && r.inside {
			compressing.Go(func() { r.qcow2, r.failed = w.compress(r.name) })
		}
	}
	compressing.Wait()
	for _, r := range all {
		if r.failed != nil && r.name == "pgbake" {
			b.Fatal(r.failed)
		}
		report(b, r)
	}
	fmt.Print("\n", table(all, rounds), "\n", bars(all))
}

func needPeers(b *testing.B) {
	b.Helper()
	err := os.ErrPermission
	if os.Geteuid() == 0 {
		_, err = os.Stat(toolbox() + "/etc/pgbake-peers")
	}
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		b.Fatalf("needs root and the peers: %v\n      hint: test/setup.sh peers", err)
	}
	b.Skipf("needs root and the peers: %v; test/setup.sh peers makes them", err)
}

// round makes all steps of one builder.
func (w *work) round(b *testing.B, r *results) error {
	version := 0
	for _, s := range r.steps {
		if s.clear {
			version = 0
		}
		if s.change {
			version++
		}
		f, err := w.run(b.Context(), r.builder, s, version)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		b.Logf("%-7s %-20s %6.2f s  cpu %6.2f s  %4.0f MB", r.name, s.name, f.wall, f.cpu, f.peak)
		r.took[s.name] = append(r.took[s.name], f)
		image, err := w.image(r.builder, s)
		if err != nil {
			return err
		}
		if s.format == "qcow2" {
			info, err := os.Stat(image)
			if err != nil {
				return err
			}
			r.qcow2 = info.Size()
			continue
		}
		disk, err := look(image)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		lacks, more := disk.differ(w.packages[s.role])
		if len(lacks) > 0 {
			return fmt.Errorf("%s: the disk lacks %s", s.name, strings.Join(lacks, ", "))
		}
		if s.name == cold {
			r.disk, r.more = disk, more
			if r.inside {
				if err := os.Rename(image, w.path(r.name+".raw")); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// compress is the size of a peer's disk as the qcow2 that everybody can read.
func (w *work) compress(name string) (int64, error) {
	to := w.path(name + ".qcow2")
	out, err := exec.Command("qemu-img", "convert", "-c", "-O", "qcow2", w.path(name+".raw"), to).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("qemu-img: %w\n%s", err, out)
	}
	info, err := os.Stat(to)
	if err != nil {
		return 0, err
	}
	return info.Size(), os.Remove(to)
}

func wall(f figures) float64 { return f.wall }
func cpu(f figures) float64  { return f.cpu }

// peak is the largest of all steps and rounds.
func (r *results) peak() float64 {
	var most float64
	for _, all := range r.took {
		for _, f := range all {
			most = max(most, f.peak)
		}
	}
	return most
}

func report(b *testing.B, r *results) {
	for _, s := range r.steps {
		all := r.took[s.name]
		if len(all) == 0 {
			continue
		}
		b.Run(r.name+"/"+strings.ReplaceAll(s.name, " ", "-"), func(b *testing.B) {
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(all, wall), "s-wall")
			b.ReportMetric(median(all, cpu), "s-cpu")
			b.ReportMetric(median(all, func(f figures) float64 { return f.peak }), "MB-peak")
		})
	}
}
