package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/pgbake/pgbake/builders/packer"
	"github.com/pgbake/pgbake/builders/provision"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/rootfs"
)

type packerFlags struct {
	targets, roles []string
	arch           string
	withoutPlugin  bool
}

func (a *app) packer() *cobra.Command {
	var f packerFlags
	var targets strings.Builder
	for _, t := range packer.Targets {
		fmt.Fprintf(&targets, "  %-14s %s\n", t.Name, t.For)
	}
	cmd := &cobra.Command{
		Use:   "packer",
		Short: "Write templates for Packer: the same machines on AWS, Azure, Google Cloud, Proxmox, vSphere and QEMU",
		Long: `Write a template for each target, below -o dist/packer: HCL2 for Packer 1.11 and later, as packer fmt lays it out.
A template boots Debian where the target is, has pgbake's plugin make it the image of a role, and keeps it.

Targets:
` + targets.String() + `
No secret stands in a template: those that are needed are variables without a default. With --without-plugin Packer's own
provisioners do the work, by a script and packages that are written beside the template; so written, qemu's template is
also for Packer 1.6, which Debian has: packer build dist/packer/qemu/pgbake.pkr.hcl.`,
		Example: `  pgbake packer --target amazon-ebs
  pgbake packer --target qemu --role db --without-plugin`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			written, err := a.writePacker(cmd.Context(), c, f)
			if err != nil {
				return err
			}
			for _, path := range written {
				fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			a.ui.Next("read " + written[0] + ": it says how to go on")
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&f.targets, "target", nil, "what Packer builds on, see above (default: all of them)")
	cmd.Flags().StringSliceVar(&f.roles, "role", nil, `db, proxy, or all: both in one image (default: each that the cluster has)`)
	cmd.Flags().StringVar(&f.arch, "arch", runtime.GOARCH, "architecture: amd64 or arm64")
	cmd.Flags().BoolVar(&f.withoutPlugin, "without-plugin", false, "for a Packer without pgbake's plugin")
	return cmd
}

// writePacker writes the templates that the flags ask for, and what they need beside them. It returns the templates' paths.
func (a *app) writePacker(ctx context.Context, c *cluster.Cluster, f packerFlags) ([]string, error) {
	o := packer.Options{Arch: f.arch, Specification: a.spec, Out: a.out, Plugin: !f.withoutPlugin}
	targets, err := packerTargets(f.targets, o)
	if err != nil {
		return nil, specError{err}
	}
	if len(f.roles) == 0 {
		f.roles = rolesOf(c)
	}
	var all []images.Image
	for _, r := range f.roles {
		i, err := images.New(c, images.Role(r), f.arch)
		if err != nil {
			return nil, specError{err}
		}
		o.Roles = append(o.Roles, i.Role)
		all = append(all, i)
	}
	var debs string
	if f.withoutPlugin {
		if debs, err = os.MkdirTemp("", "pgbake-packer-"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(debs) //nolint:errcheck // a temporary directory
		if _, err := a.debs(ctx, f.arch, debs, false); err != nil {
			return nil, err
		}
	}
	var written []string
	for _, t := range targets {
		dir := filepath.Join(a.out, "packer", t.Name)
		if t.NeedsKey() {
			if o.BuildKey, err = buildKey(filepath.Join(dir, packer.BuildKey)); err != nil {
				return nil, err
			}
		}
		files, err := packer.Files(c, t, o)
		if err != nil {
			return nil, specError{err}
		}
		for _, file := range files {
			if err := writeResult(filepath.Join(a.out, "packer", file.Path), file); err != nil {
				return nil, err
			}
		}
		if f.withoutPlugin {
			for _, i := range all {
				if err := layDebs(debs, filepath.Join(dir, packer.Uploads(i.Role)), i); err != nil {
					return nil, err
				}
			}
		}
		written = append(written, filepath.Join(dir, packer.Name))
	}
	return written, nil
}

// packerTargets are those of the names, else all that there can be.
func packerTargets(names []string, o packer.Options) ([]packer.Target, error) {
	var targets []packer.Target
	for _, name := range names {
		t, err := packer.TargetNamed(name)
		if err == nil {
			err = t.Check(o)
		}
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	if len(targets) > 0 {
		return targets, nil
	}
	return slices.DeleteFunc(slices.Clone(packer.Targets), func(t packer.Target) bool { return t.Check(o) != nil }), nil
}

// layDebs copies an image's packages, in the place of those of an older pgbake.
func layDebs(from, to string, i images.Image) error {
	debs, err := provision.Debs(from, i)
	if err != nil {
		return err
	}
	for _, name := range i.PGHA() {
		older, err := filepath.Glob(filepath.Join(to, name+"_*.deb"))
		if err != nil {
			return err
		}
		for _, path := range older {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	for _, path := range debs {
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := writeResult(filepath.Join(to, filepath.Base(path)), rootfs.File{Mode: 0o644, Body: body}); err != nil {
			return err
		}
	}
	return nil
}

// buildKey makes the key that opens machines while they are built, where there is none, and returns its public half.
func buildKey(path string) (string, error) {
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return "", err
		}
		block, err := ssh.MarshalPrivateKey(key, "pgbake packer")
		if err != nil {
			return "", err
		}
		body = pem.EncodeToMemory(block)
		if err := writeResult(path, rootfs.File{Mode: 0o600, Body: body}); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	signer, err := ssh.ParsePrivateKey(body)
	if err != nil {
		return "", fmt.Errorf("read %s: %w\n      hint: remove it, and another one is made", path, err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), nil
}
