// Package packages builds the three Debian packages, pgha-common, pgha-node and pgha-proxy, and a signed apt
// repository of them.
//
// In come the agent's binary, a version and a time; out come .deb files. The same inputs give the same bytes.
// What a package holds lies beside this file: <name>/package.yaml are its control fields, <name>/preinst and the
// like its maintainer scripts, <name>/root the files at their paths. This package installs nothing and reads no clock.
package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
)

// Names are the packages, in the order in which they need each other.
var Names = []string{"pgha-common", "pgha-node", "pgha-proxy"}

// Architectures are those that the agent is built for, in Debian's words.
var Architectures = []string{"amd64", "arm64"}

// Options are everything that a build depends on.
type Options struct {
	// Version is pgbake's: "1.4.0", "1.5.0-rc.1", "1.4.0+3-g1a2b3c4".
	Version string
	// Arch is one of Architectures. Only pgha-common depends on it; the others are for all.
	Arch string
	// Agent is the program pgha for Arch, static and stripped.
	Agent []byte
	// Out is the directory that gets the packages; it is made when missing.
	Out string
	// Time is the modification time of everything inside; whole seconds.
	Time time.Time
	// Plain leaves out the compression, for whoever unpacks the packages at once.
	Plain bool
}

// Debian policy 5.6.12, less the epoch and the revision that packages of ours never have.
var validVersion = regexp.MustCompile(`^[0-9][0-9A-Za-z.+~]*$`)

// debianVersion is a semantic version in Debian's order: a pre-release comes before its release, so it is "~rc.1"
// there, and a hyphen would begin a revision.
func debianVersion(v string) string {
	v, build, _ := strings.Cut(strings.TrimPrefix(v, "v"), "+")
	v = strings.Replace(v, "-", "~", 1)
	if build != "" {
		v += "+" + build
	}
	return strings.ReplaceAll(v, "-", ".")
}

func (o Options) check() error {
	switch {
	case !validVersion.MatchString(debianVersion(o.Version)):
		return fmt.Errorf("version %q is none (want 1.2.3, 1.2.3-rc.1 or 1.2.3+4.abc)", o.Version)
	case !slices.Contains(Architectures, o.Arch):
		return fmt.Errorf("architecture %q is not one of %q", o.Arch, Architectures)
	case !bytes.HasPrefix(o.Agent, []byte("\x7fELF")):
		return errors.New("the agent is not a program for Linux")
	case o.Time.IsZero():
		return errors.New("no time given")
	}
	return nil
}

// Build writes every package and returns their paths in the order of Names.
func Build(ctx context.Context, o Options) ([]string, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("build packages: %w", err)
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil { //nolint:gosec // packages are for everybody
		return nil, err
	}
	paths := make([]string, len(Names))
	errs := make([]error, len(Names))
	var wg sync.WaitGroup
	for i, name := range Names {
		wg.Go(func() {
			var err error
			if paths[i], err = build(ctx, name, o); err != nil {
				errs[i] = fmt.Errorf("build %s: %w", name, err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return paths, nil
}

// build makes one package. nfpm takes contents from the disk only, so they are laid out there first.
func build(ctx context.Context, name string, o Options) (_ string, err error) {
	stage, err := os.MkdirTemp(o.Out, "."+name+".*")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()

	info, err := control(name, o)
	if err != nil {
		return "", err
	}
	if err := addContents(info, stage, name, o); err != nil {
		return "", err
	}
	if err := addScripts(info, stage, name); err != nil {
		return "", err
	}
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	var body bytes.Buffer
	if err := deb.Default.Package(info, &body); err != nil {
		return "", err
	}
	file := deb.Default.ConventionalFileName(info)
	return filepath.Join(o.Out, file), write(o.Out, file, body.Bytes())
}

// control reads <name>/package.yaml.
func control(name string, o Options) (*nfpm.Info, error) {
	body, err := tree.ReadFile(name + "/package.yaml")
	if err != nil {
		return nil, err
	}
	config, err := nfpm.ParseWithEnvMapping(bytes.NewReader(body), func(key string) string {
		return map[string]string{"VERSION": debianVersion(o.Version), "ARCH": o.Arch}[key]
	})
	if err != nil {
		return nil, fmt.Errorf("read package.yaml: %w", err)
	}
	info, err := config.Get("deb")
	if err != nil {
		return nil, err
	}
	info.MTime = o.Time.UTC().Truncate(time.Second)
	info.DisableGlobbing = true
	info.Deb.Compression = "gzip:6" // 9 takes twice as long for half a per cent
	if o.Plain {
		info.Deb.Compression = "none"
	}
	return info, nil
}
