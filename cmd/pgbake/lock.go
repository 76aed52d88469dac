package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/builders/native"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
)

func (a *app) lock() *cobra.Command {
	var diff bool
	var arch, file string
	var inits []string
	cmd := &cobra.Command{
		Use:   "lock",
		Short: "Take today's packages into pgbake.lock, and say what changes; with --diff only say it",
		Long: `Ask the archives which packages the images consist of today, and write that down in pgbake.lock: every package with
its version, its hash and where it is from. "pgbake image" then bakes exactly that, until the next "pgbake lock".
Commit the file: its diff is the list of updates that the next images bring.

The lock is for images with cloud-init; --init ignition, or both, makes it one for others. Later runs keep what it has.

With --diff nothing is written; the exit code is 3 when an update would change something, 0 when not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			cache, err := native.Cache()
			if err != nil {
				return err
			}
			release, err := native.Use(cmd.Context(), cache)
			if err != nil {
				return err
			}
			defer release()
			file := a.lockFile(file)
			before, err := native.LoadLock(file)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				a.ui.Say("%v", err) // to be replaced
			}
			wanted, err := initsNamed(inits, before)
			if err != nil {
				return specError{err}
			}
			var all []images.Image
			for _, init := range wanted { // of all roles: a cluster may get its first proxy later
				every, err := images.Every(c, arch, init)
				if err != nil {
					return specError{err}
				}
				all = append(all, every...)
			}
			after, err := native.Today(cmd.Context(), native.ResolveOptions{Runner: a.runner(), UI: a.ui, Cache: cache, Cluster: c, Images: all})
			if err != nil {
				return err
			}
			changes := native.Diff(before, after)
			if before != nil || diff {
				for _, change := range changes {
					fmt.Fprintln(cmd.OutOrStdout(), change)
				}
			}
			switch {
			case diff && len(changes) > 0:
				a.ui.Next(a.self() + " lock")
				return errUnhealthy
			// More than the packages is in it: who wants them.
			case diff || before != nil && bytes.Equal(before.Bytes(), after.Bytes()):
				a.ui.Say("%s is up to date", file)
				return nil
			}
			if err := after.Save(file); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), file)
			a.ui.Next("commit " + file + ", then: " + a.self() + " image")
			return nil
		},
	}
	cmd.Flags().BoolVar(&diff, "diff", false, "only say what would change")
	cmd.Flags().StringSliceVar(&inits, "init", nil, "cloud-init, ignition, or both (default: what the lock has, else cloud-init)")
	cmd.Flags().StringVar(&arch, "arch", runtime.GOARCH, "architecture: amd64 or arm64")
	cmd.Flags().StringVar(&file, "lock", "", `the lock (default "pgbake.lock" beside the specification)`)
	return cmd
}

// lockFile is the lock's path: the one that is given, else the one beside the specification.
func (a *app) lockFile(given string) string {
	if given != "" {
		return given
	}
	return filepath.Join(filepath.Dir(a.spec), native.LockName)
}

// initsNamed are those of the names, and those that the lock has already.
func initsNamed(names []string, before *native.Lock) ([]images.Init, error) {
	var wanted []images.Init
	if before != nil {
		wanted = before.Inits()
	}
	for _, name := range names {
		init, err := images.InitNamed(name)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, init)
	}
	if len(wanted) == 0 {
		return images.Inits[:1], nil
	}
	all := slices.Clone(images.Inits)
	return slices.DeleteFunc(all, func(i images.Init) bool { return !slices.Contains(wanted, i) }), nil
}

// lockFor is the lock that images are baked of. Where there is none, today's packages become it.
func (a *app) lockFor(ctx context.Context, c *cluster.Cluster, all []images.Image, f imageFlags, cache string) (*native.Lock, error) {
	return native.LockFor(ctx, native.LockOptions{
		ResolveOptions: native.ResolveOptions{Runner: a.runner(), UI: a.ui, Cache: cache, Cluster: c, Images: all},
		File:           a.lockFile(f.lock), Frozen: f.locked || f.offline, Renew: a.self() + " lock" + lockFlags(f),
	})
}

// lockFlags are what a lock for an image wants on the command line.
func lockFlags(f imageFlags) string {
	if f.init == string(images.Ignition) {
		return " --init ignition"
	}
	return ""
}
