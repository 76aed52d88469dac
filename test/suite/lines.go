package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// line is one command of the tests.
type line struct {
	// Name is the name of its log, and of its failure when it is no Go test.
	Name string
	// Dir is where it runs, below the top of the tree; empty for the top.
	Dir string
	Env []string
	// Args are the program and its arguments. A Go test prints events (-json).
	Args []string
	// Still has it see the archives of Debian as they were at the first look of the run: it compares what it gets at two times.
	Still bool
	// Background gives the processor to the other lines when they want it, which wait for something by a deadline.
	Background bool
}

// lanes are the lines of `make test`, for the tree in top. Those of one lane run one after the other, and the lanes run at the
// same time: the clusters mostly wait for timers, the others mostly compute.
func lanes(ctx context.Context, top string, all bool) ([][]line, error) {
	lanes := [][]line{
		{
			// Five labs at a time; all other tests wait for their turn.
			{Name: "clusters", Env: []string{"PGBAKE_TEST_LABS=5"}, Args: goTest("-parallel 100 -timeout 60m ./test/e2e")},
		},
		{
			{Name: "images", Still: true, Args: goTest("-timeout 60m ./test/image ./builders/...")},
		},
		{
			{Name: "packages", Args: goTest("-timeout 60m ./test/debs ./test/verify ./cloudinit")},
			{Name: "lab", Args: goTest("-timeout 60m ./lab")},
		},
		{
			{Name: "packer", Args: []string{"make", "--no-print-directory", "--old-file=build", "plugin", "bin/packer"}},
			{Name: "packer-tests", Still: true, Args: goTest("-timeout 60m ./test/packer ./test/packer16")},
		},
	}
	rest, err := others(ctx, top, lanes)
	if err != nil {
		return nil, err
	}
	lanes = append(lanes, []line{
		{Name: "lint", Args: []string{"make", "--no-print-directory", "lint"}, Background: true},
		{Name: "short", Args: append(goTest("-short -p 2 -timeout 60m"), rest...), Background: true},
		{Name: "plugin", Dir: "builders/packer-plugin-pgbake", Args: goTest("-timeout 60m ./..."), Background: true},
	})
	if all {
		lanes[0] = append(lanes[0], release...)
	}
	return lanes, nil
}

// release are the lines that only `make test-all` runs, one after the other. The models of rare combinations compute for ten
// minutes; a database of gigabytes is written and copied for as long; PGDG's Patroni and Debian 12's etcd hang in `make test`, each
// beside another one; the images of a second release are built twice from nothing; translated machines want both processors for as
// long, and beside them the timers of the other clusters do not hold.
var release = []line{
	{Name: "models", Args: goTest("-timeout 60m ./agent/join")},
	{Name: "large", Env: []string{"PGBAKE_LARGE=1"}, Args: goTest("-timeout 60m ./test/e2e -run ^TestBackup$/^(restored_slowly|all_lost)$")},
	{Name: "hang-pgdg", Env: []string{"PGBAKE_LARGE=1"}, Args: goTest("-timeout 60m ./test/e2e -run ^TestHangPGDG$")},
	{Name: "same-bits", Env: []string{"PGBAKE_LARGE=1"}, Args: goTest("-timeout 60m ./builders/native -run ^TestTwoBuildsAreTheSame$")},
	{Name: "qemu-disk", Env: []string{"PGBAKE_QEMU=1"}, Args: goTest("-timeout 60m ./builders/native/disk -run ^TestBoot$")},
	{Name: "qemu-clusters", Env: []string{"PGBAKE_QEMU=1"}, Args: goTest("-timeout 60m ./test/e2e -run ^TestQEMU")},
	{Name: "qemu-inits", Env: []string{"PGBAKE_QEMU=1"}, Args: goTest("-timeout 60m ./lab -run ^TestInits$")},
	{Name: "qemu-packer", Env: []string{"PGBAKE_QEMU=1"}, Args: goTest("-timeout 60m ./test/packer16 -run ^TestQEMU$")},
	{Name: "packer-plugins", Args: []string{"make", "--no-print-directory", "--old-file=build", "test-packer-plugins"}},
}

// soak is what `make soak` runs: every way in which a primary hangs and goes on, on every combination of programs, so many times.
func soak(rounds int) [][]line {
	return [][]line{{
		{Name: "soak", Env: []string{"PGBAKE_SOAK=" + strconv.Itoa(rounds)}, Args: goTest("-parallel 3 -timeout 12h -run ^TestHang ./test/e2e")},
	}}
}

// others are the packages of the tree in top that none of these lines tests.
func others(ctx context.Context, top string, lanes [][]line) ([]string, error) {
	var patterns []string
	for _, l := range slices.Concat(lanes...) {
		for _, arg := range l.Args {
			if strings.HasPrefix(arg, "./") {
				patterns = append(patterns, arg)
			}
		}
	}
	tested, err := list(ctx, top, patterns...)
	if err != nil {
		return nil, err
	}
	all, err := list(ctx, top, "./...")
	return slices.DeleteFunc(all, func(name string) bool { return slices.Contains(tested, name) }), err
}

func list(ctx context.Context, top string, patterns ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list"}, patterns...)...)
	cmd.Dir, cmd.Stderr = top, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmd, err)
	}
	return strings.Fields(string(out)), nil
}

// goTest is a Go test, which is run though nothing may have changed since the last time: machines are no function of the code.
// Packages take turns: each has the tests that it can run at a time beside each other. They are vetted by the line "lint".
func goTest(args string) []string {
	return append([]string{"go", "test", "-json", "-count", "1", "-vet=off", "-p", "1"}, strings.Fields(args)...)
}
