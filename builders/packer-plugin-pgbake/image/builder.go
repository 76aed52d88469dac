// Package image is the builder pgbake-image: the native builder, as a Packer build.
//
// In come a specification and a role; out come an image's files as an artifact. No machine boots: what a build's
// provisioners ask of one is refused. The work is done by this program, started once more in namespaces of its own
// (bake.go), so that whatever ends the build leaves no mount and no process behind.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/pgbake/pgbake/builders/native"
	"github.com/pgbake/pgbake/builders/packer-plugin-pgbake/option"
)

// Builder is Packer's.
type Builder struct {
	// Version goes into manifests.
	Version string

	config Config
}

var _ packer.Builder = &Builder{}

// generated are what a build block can say as build.NAME.
var generated = []string{"ImageName", "ImageKey", "ImageDirectory"}

// Prepare implements packer.Builder: it judges the configuration, and asks no network.
func (b *Builder) Prepare(raws ...any) ([]string, []string, error) {
	b.config = Config{}
	if err := option.Decode(&b.config, &b.config.ctx, option.Keys(b.ConfigSpec()), raws...); err != nil {
		return nil, nil, err
	}
	if _, err := b.config.check(); err != nil {
		return nil, nil, err
	}
	return generated, nil, native.CanBake(b.config.Arch)
}

// Run implements packer.Builder.
func (b *Builder) Run(ctx context.Context, ui packer.Ui, hook packer.Hook) (packer.Artifact, error) {
	ui.Sayf("Baking the %s image of %s", b.config.Role, b.config.Specification)
	baked, err := bakeElsewhere(ctx, ui, order{Config: b.config, Version: b.Version, Force: b.config.PackerForce})
	if err != nil {
		return nil, err
	}
	a := artifact{baked}
	if hook != nil {
		if err := hook.Run(ctx, packer.HookProvision, ui, noMachine{}, a.values()); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// noMachine answers provisioners: only those that run on this host have something to do.
type noMachine struct{}

var errNoMachine = errors.New("pgbake-image boots no machine\n      hint: only shell-local and post-processors fit; to change a machine use provisioner \"pgbake\" after another source")

func (noMachine) Start(context.Context, *packer.RemoteCmd) error           { return errNoMachine }
func (noMachine) Upload(string, io.Reader, *os.FileInfo) error             { return errNoMachine }
func (noMachine) UploadDir(dst string, src string, exclude []string) error { return errNoMachine }
func (noMachine) Download(string, io.Writer) error                         { return errNoMachine }
func (noMachine) DownloadDir(string, string, []string) error               { return errNoMachine }

// artifact is an image that is there.
type artifact struct{ native.Baked }

// BuilderID is what tells our artifacts from others.
const BuilderID = "pgbake.image"

// BuilderId implements packer.Artifact.
func (artifact) BuilderId() string { return BuilderID }

// Id implements packer.Artifact: the same inputs give the same.
func (a artifact) Id() string {
	return fmt.Sprintf("%s-%.12s", a.Manifest.Name, a.Manifest.Key)
}

func (a artifact) String() string {
	return fmt.Sprintf("%s in %s: %s", a.Id(), a.Dir, a.Sizes())
}

// State implements packer.Artifact.
func (a artifact) State(name string) any {
	if name == "generated_data" {
		return a.values()
	}
	return nil
}

func (a artifact) values() map[string]any {
	return map[string]any{"ImageName": a.Manifest.Name, "ImageKey": a.Manifest.Key, "ImageDirectory": a.Dir}
}
