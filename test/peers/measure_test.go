package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// figures are what one run took.
type figures struct {
	wall, cpu float64 // seconds; cpu is user and system, of every process that was waited for
	peak      float64 // MB of memory that is no cache of files, of all processes together; 0 where it cannot be had
}

// measure runs a program to its end. What earlier runs left to be written to disk is written before it.
func measure(ctx context.Context, dir string, env []string, args ...string) (figures, error) {
	g, err := newGroup()
	if err != nil {
		return figures{}, err
	}
	defer g.remove()
	unix.Sync()
	// The shell joins the group before it becomes the program: nothing of it is missed.
	args = append([]string{"-c", `[ -z "$0" ] || echo $$ >"$0"; exec "$@"`, g.join()}, args...)
	cmd := exec.CommandContext(ctx, "/bin/sh", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return figures{}, err
	}
	defer log.Close() //nolint:errcheck // for people
	cmd.Stdout, cmd.Stderr = log, log
	stop := g.sample()
	begin := time.Now()
	err = cmd.Run()
	f := figures{wall: time.Since(begin).Seconds(), peak: float64(stop()) / 1e6}
	if err != nil {
		return f, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[4:], " "), err, tail(log.Name(), 40))
	}
	f.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return f, nil
}

func tail(name string, lines int) string {
	body, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(body)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// group is a control group for one run; without a name where this machine gives us none for memory. Its own peak
// would count the files that the kernel keeps in spare memory: the two figures without them are sampled instead.
type group struct {
	dir   string
	stats []string
}

func newGroup() (group, error) {
	g := group{stats: []string{"anon ", "shmem "}} // https://docs.kernel.org/admin-guide/cgroup-v2.html
	parent := "/sys/fs/cgroup"
	if _, err := os.Stat(parent + "/memory/memory.stat"); err == nil {
		parent, g.stats = parent+"/memory", []string{"total_rss ", "total_shmem "} // cgroup-v1/memory.html
	}
	dir, err := os.MkdirTemp(parent, "pgbake-peers-")
	if err != nil {
		return group{}, nil //nolint:nilerr // no such figure, then
	}
	g.dir = dir
	if _, err := g.now(); err != nil {
		return group{}, os.Remove(dir) // no controller of memory
	}
	return g, nil
}

func (g group) join() string {
	if g.dir == "" {
		return ""
	}
	return filepath.Join(g.dir, "cgroup.procs")
}

func (g group) remove() {
	if g.dir != "" {
		_ = os.Remove(g.dir) // one that is not empty shows a builder that left processes; the log says which
	}
}

// now is the memory in bytes.
func (g group) now() (int64, error) {
	body, err := os.ReadFile(filepath.Join(g.dir, "memory.stat"))
	if err != nil {
		return 0, err
	}
	var sum int64
	for line := range strings.Lines(string(body)) {
		for _, name := range g.stats {
			if value, ok := strings.CutPrefix(line, name); ok {
				n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				if err != nil {
					return 0, err
				}
				sum += n
			}
		}
	}
	return sum, nil
}

// sample looks fifty times a second; the function that it returns ends that, and returns the largest.
func (g group) sample() (stop func() int64) {
	if g.dir == "" {
		return func() int64 { return 0 }
	}
	end, peak := make(chan struct{}), make(chan int64)
	go func() {
		var most int64
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if n, err := g.now(); err == nil {
					most = max(most, n)
				}
			case <-end:
				peak <- most
				return
			}
		}
	}()
	return func() int64 { close(end); return <-peak }
}

func median(all []figures, of func(figures) float64) float64 {
	var v []float64
	for _, f := range all {
		v = append(v, of(f))
	}
	slices.Sort(v)
	return v[len(v)/2]
}
