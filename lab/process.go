package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The lab keeps no pid files: a kill -9 leaves them wrong. Its processes are found by what they were started with.

// processes returns the ids of all processes that match tells, but never our own.
func processes(match func(pid int) bool) []int {
	entries, _ := os.ReadDir("/proc") // a machine without /proc has other worries
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() && match(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// withArgument matches processes that have an argument for which is says yes.
func withArgument(is func(arg string) bool) func(pid int) bool {
	return func(pid int) bool {
		line, err := os.ReadFile(procPath(pid, "cmdline"))
		return err == nil && slices.ContainsFunc(strings.Split(string(line), "\x00"), is)
	}
}

// inNamespace matches processes in the network namespace that the file ns stands for.
func inNamespace(ns string) func(pid int) bool {
	var want, got unix.Stat_t
	if unix.Stat(ns, &want) != nil {
		return func(int) bool { return false }
	}
	return func(pid int) bool {
		return unix.Stat(procPath(pid, "ns/net"), &got) == nil && got.Ino == want.Ino && got.Dev == want.Dev
	}
}

// firstOf matches the first process of a container whose disk is the overlay directory that is says yes for.
// It is found without its supervisor, which it outlives when that is killed.
func firstOf(is func(upper string) bool) func(pid int) bool {
	return func(pid int) bool {
		if ids := statusField(pid, "NSpid"); len(ids) < 2 || ids[len(ids)-1] != "1" {
			return false
		}
		mounts, err := os.ReadFile(procPath(pid, "mountinfo"))
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(mounts)) {
			// proc(5): the mount point is the fifth word, the file system's own options are the last.
			f := strings.Fields(line)
			if f[4] != "/" {
				continue
			}
			for option := range strings.SplitSeq(f[len(f)-1], ",") {
				if upper, ok := strings.CutPrefix(option, "upperdir="); ok {
					return is(upper)
				}
			}
		}
		return false
	}
}

// statusField returns the words of one line of /proc/PID/status.
func statusField(pid int, key string) []string {
	status, _ := os.ReadFile(procPath(pid, "status")) // the process is gone: no field
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.Fields(rest)
		}
	}
	return nil
}

func procPath(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

// killAll kills what find finds until it finds nothing.
func killAll(ctx context.Context, find func() []int) error {
	return until(ctx, "kill", func() error {
		pids := find()
		for _, pid := range pids {
			// Between finding and killing the number may have gone to another process: hold it, look again.
			p, err := os.FindProcess(pid)
			if err != nil || !slices.Contains(find(), pid) {
				continue
			}
			if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		if len(pids) > 0 {
			return fmt.Errorf("processes %v are still there", pids)
		}
		return nil
	})
}

// limit is a context that ends after a time, and says so in a person's words.
func limit(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("gave up after %s", d))
}

// tick is how often a condition is looked at that costs next to nothing.
const tick = 20 * time.Millisecond

// until asks again and again until ok has no complaint. The last complaint is the error when ctx ends first, but for
// a cancellation by somebody, who is the error then.
func until(ctx context.Context, what string, ok func() error) error {
	return every(ctx, tick, what, ok)
}

// every is until with a pause between two looks.
func every(ctx context.Context, pause time.Duration, what string, ok func() error) error {
	t := time.NewTicker(pause)
	defer t.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			switch cause := context.Cause(ctx); {
			case cause == context.Canceled: //nolint:errorlint // by nobody in particular: a step beside this one failed
				return fmt.Errorf("%s: %w", what, err)
			case errors.Is(ctx.Err(), context.Canceled):
				return cause
			default:
				return fmt.Errorf("%s: %w (%w)", what, err, cause)
			}
		case <-t.C:
		}
	}
}

// onThread runs f on a thread of its own that ends with f, so f may change what belongs to a thread:
// its namespaces. Programs that f starts inherit them.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the runtime ends the thread with the goroutine
		if unix.Gettid() == os.Getpid() {
			// The main thread cannot end and shows in /proc/self: hold it here and take another.
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

// ownMounts runs f with a mount namespace of its own: what f mounts ends with the programs it started,
// however they end, and nobody else ever sees it.
func ownMounts(f func() error) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make a mount namespace: %w", err)
		}
		// Slave, not private: what the host unmounts later must go here too.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return fmt.Errorf("detach the mounts: %w", err)
		}
		return f()
	})
}

// inNetwork runs f with the sockets that it opens in the network namespace that the file ns stands for.
func inNetwork(ns string, f func() error) error {
	return onThread(func() error {
		fd, err := unix.Open(ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open network namespace %s: %w", ns, err)
		}
		defer unix.Close(fd) //nolint:errcheck // only read
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", ns, err)
		}
		return f()
	})
}
