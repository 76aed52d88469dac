package e2e

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

var bootFigures = regexp.MustCompile(`first write through the proxy after ([0-9.]+) s, healthy after ([0-9.]+) s`)

// BenchmarkFirstBoot boots whole clusters, roots and packages cached, all machines at once, and reports medians:
// until the first write through the proxy, until the cluster is healthy, and of an apply that changes nothing.
func BenchmarkFirstBoot(b *testing.B) {
	for _, spec := range []struct{ name, text string }{
		{"debian12", "debian: 12\n"},
		{"debian13", ""},
	} {
		b.Run(spec.name, func(b *testing.B) {
			needMachines(b)
			body, err := os.ReadFile("../../examples/quickstart.yaml")
			if err != nil {
				b.Fatal(err)
			}
			file := filepath.Join(b.TempDir(), "cluster.yaml")
			if err := os.WriteFile(file, append(body, spec.text...), 0o600); err != nil {
				b.Fatal(err)
			}
			var wrote, healthy, apply []float64
			for b.Loop() {
				_, talk, err := pgbake(b.Context(), file, "lab", "up")
				if err != nil {
					b.Fatal(err, talk)
				}
				m := bootFigures.FindStringSubmatch(talk)
				if m == nil {
					b.Fatalf("no figures in %s", talk)
				}
				wrote, healthy = append(wrote, seconds(b, m[1])), append(healthy, seconds(b, m[2]))
				out, talk, err := pgbake(b.Context(), file, "lab", "exec", "db1", "--", "bash", "-c", "pgha apply 2>/dev/null; TIMEFORMAT=%R; time pgha apply 2>/dev/null")
				if err != nil {
					b.Fatal(err, out, talk)
				}
				apply = append(apply, seconds(b, regexp.MustCompile(`[0-9.]+`).FindString(talk)))
				if _, talk, err := pgbake(context.Background(), file, "lab", "down"); err != nil {
					b.Fatal(err, talk)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(wrote), "s-first-write")
			b.ReportMetric(median(healthy), "s-healthy")
			b.ReportMetric(1000*median(apply), "ms-apply-nothing")
			b.Logf("first write %v, healthy %v, apply %v", wrote, healthy, apply)
		})
	}
}

func seconds(b *testing.B, s string) float64 {
	b.Helper()
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		b.Fatal(err)
	}
	return f
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
