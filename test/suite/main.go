// Command suite is what `make test` runs after the set-up: all lines of the tests, some beside each other, each to its end
// whatever the others say. It prints what fails and what takes long as it happens, and at the end the failures once more, the
// longest tests, and how many passed and failed. Its exit code is 1 when anything failed.
//
// Everything that the lines print is kept in dist/test, a file for each line; the tests on machines keep there what the
// machines said.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/pgbake/pgbake/test/debian"
)

func main() {
	all := flag.Bool("all", false, "also what is tested only before a release")
	rounds := flag.Int("soak", 0, "nothing but what hangs and goes on, this many times each")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed := false
	lanes, err := choose(ctx, *all, *rounds)
	if err == nil {
		failed, err = suite(ctx, lanes, "dist/test")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
	}
	if failed || err != nil {
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func choose(ctx context.Context, all bool, rounds int) ([][]line, error) {
	if rounds > 0 {
		return soak(rounds), nil
	}
	return lanes(ctx, ".", all)
}

// suite runs the lanes beside each other, and each lane's lines one after the other. PGBAKE_TEST_RUN is a directory of the run,
// where one line can leave something for the next.
func suite(ctx context.Context, lanes [][]line, dir string) (failed bool, err error) {
	if err := os.RemoveAll(dir); err != nil {
		return true, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // output of tests
		return true, err
	}
	began := time.Now()
	r := newReport(os.Stdout)
	archives, stop, err := newStill().serve()
	if err != nil {
		return true, err
	}
	defer stop()
	place, remove, err := debian.Place("pgbake-suite-", func(string) error { return nil })
	if err != nil {
		return true, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	var all sync.WaitGroup
	errs := make([]error, len(lanes))
	for i, lane := range lanes {
		all.Go(func() {
			for _, l := range lane {
				if ctx.Err() != nil {
					return
				}
				l.Env = append([]string{"PGBAKE_TEST_RUN=" + place}, l.Env...)
				if l.Still {
					l.Env = slices.Concat(archives, l.Env)
				}
				if errs[i] = run(ctx, l, filepath.Join(dir, l.Name+".log"), r); errs[i] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	for _, e := range errs {
		if e != nil {
			err = e
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	r.summary(dir, time.Since(began))
	return r.failed(), err
}

// run runs a line to its end and tells the report what it printed. A line that cannot be started is an error; one that fails
// is only reported. When ctx ends, the line and all that it has started get SIGINT, and are waited for.
func run(ctx context.Context, l line, output string, r *report) error {
	log, err := os.Create(output)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // only read by people
	cmd := exec.CommandContext(ctx, l.Args[0], l.Args[1:]...)
	cmd.Dir = l.Dir
	// Debian 13's /tmp is memory.
	cmd.Env = append(os.Environ(), "CI=true", "TMPDIR=/var/tmp")
	cmd.Env = append(cmd.Env, l.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	w := r.line(l, log)
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", l.Name, err)
	}
	if l.Background {
		makeWay(cmd.Process.Pid)
	}
	w.end(cmd.Wait())
	return nil
}

// backgroundNice is how much a line in the background makes way, as nice(1) counts: a tenth of what another gets.
const backgroundNice = 10

// makeWay lowers the share of a session's first process and of all that it starts. Where the kernel groups by session
// (sched(7), autogroup) a process's own nice counts within its session only, and the session's among all others: a lint of
// many threads would be one of dozens, as each service of a machine is. What cannot be lowered is only slower for the others.
func makeWay(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte(strconv.Itoa(backgroundNice)), 0)
	_ = syscall.Setpriority(syscall.PRIO_PGRP, pid, backgroundNice)
}
