package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/builders/native"
	"github.com/pgbake/pgbake/internal/step"
	"github.com/pgbake/pgbake/packages"
)

// The agent for every architecture; `make build` puts it there before pgbake is built.
//
//go:embed all:agents
var agents embed.FS

func agentFor(arch string) ([]byte, error) {
	body, err := agents.ReadFile("agents/pgha-" + arch)
	if err != nil {
		return nil, fmt.Errorf("this pgbake carries no agent for %s\n      hint: build it with `make build`, or take a released pgbake", arch)
	}
	return body, nil
}

// debs builds the three packages for an architecture below dir; plain ones are for use here and now.
func (a *app) debs(ctx context.Context, arch, dir string, plain bool) ([]string, error) {
	agent, err := agentFor(arch)
	if err != nil {
		return nil, err
	}
	return packages.Build(ctx, packages.Options{Version: version, Arch: arch, Agent: agent, Out: dir, Time: buildTime(), Plain: plain})
}

func (a *app) pack() *cobra.Command {
	var arch []string
	var repository string
	cmd := &cobra.Command{
		Use:   "package",
		Short: "Build pgha-common, pgha-node and pgha-proxy, and with --repository a signed apt repository of them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var debs []string
			err := step.Run(cmd.Context(), a.ui, step.Step{Name: "build packages", Run: func(ctx context.Context) error {
				for _, arch := range arch {
					more, err := a.debs(ctx, arch, a.out, false)
					if err != nil {
						return err
					}
					debs = append(debs, more...)
				}
				slices.Sort(debs)
				debs = slices.Compact(debs) // pgha-node and pgha-proxy are for every architecture
				return nil
			}})
			if err != nil {
				return err
			}
			for _, d := range debs {
				fmt.Fprintln(cmd.OutOrStdout(), d)
			}
			if repository == "" {
				a.ui.Next("apt-get install ./pgha-common_… ./pgha-node_… on a database machine, or --repository DIR for a signed apt repository")
				return nil
			}
			return a.repository(cmd, repository, debs)
		},
	}
	cmd.Flags().StringSliceVar(&arch, "arch", packages.Architectures, "architectures")
	cmd.Flags().StringVar(&repository, "repository", "", "make this folder an apt repository, signed with secrets/repository.key, which is made when missing")
	return cmd
}

// repository makes an apt repository, whose key lies with the other secrets, and says what to put into cluster.yaml.
func (a *app) repository(cmd *cobra.Command, dir string, debs []string) error {
	if err := os.MkdirAll(a.secretsDir(), 0o700); err != nil {
		return err
	}
	key, err := packages.EnsureKey(filepath.Join(a.secretsDir(), "repository.key"), time.Now())
	if err != nil {
		return err
	}
	if err := packages.Repository(cmd.Context(), dir, debs, key, buildTime()); err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), dir)
	a.ui.Next("serve " + dir + " by http, and put its address and the text of " + filepath.Join(dir, packages.KeyFile) + " into cluster.yaml: packages.url and packages.key")
	return nil
}

// keptDebs are the three packages for an architecture, kept in the cache for as long as this program is the same.
func (a *app) keptDebs(ctx context.Context, arch, cache string) ([]string, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer self.Close() //nolint:errcheck // only read
	h := sha256.New()
	if _, err := io.Copy(h, self); err != nil {
		return nil, err
	}
	fmt.Fprintln(h, arch, buildTime().Unix())
	kept := filepath.Join(cache, "pgha", hex.EncodeToString(h.Sum(nil))[:16])
	if debs, _ := filepath.Glob(filepath.Join(kept, "*.deb")); len(debs) == len(packages.Names) {
		now := time.Now()
		return debs, os.Chtimes(kept, now, now)
	}
	work, remove, err := native.Work(cache)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(work, "pgha")
	if _, err = a.debs(ctx, arch, dir, true); err == nil {
		if err = os.MkdirAll(filepath.Dir(kept), 0o755); err == nil { //nolint:gosec // packages are for everybody
			err = os.Rename(dir, kept)
		}
	}
	if errors.Is(err, os.ErrExist) { // another pgbake was faster
		err = nil
	}
	if err := errors.Join(err, remove()); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(kept, "*.deb"))
}
