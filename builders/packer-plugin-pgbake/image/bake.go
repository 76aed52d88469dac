package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/builders/native"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/ui"
)

// BakeCommand is the argument by which the plugin starts itself to bake: the order comes on standard input, the answer
// goes to standard output, talk to standard error.
const BakeCommand = "bake"

// order is what is to be baked; its configuration has passed Prepare.
type order struct {
	Config  Config
	Version string
	Force   bool
}

// answer is what came of it.
type answer struct {
	Baked native.Baked
	// Error is why nothing was baked.
	Error string
}

// BakeMain bakes as standard input says, and returns the exit code.
func BakeMain() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		s := <-signals
		cancel(fmt.Errorf("stopped by %s", unix.SignalName(s.(syscall.Signal)))) //nolint:forcetypeassert // all are, on Linux
	}()
	baked, code, err := bake(ctx, os.Stdin)
	if code >= 0 {
		return code // the run inside has answered
	}
	a := answer{Baked: baked}
	if err != nil {
		a.Error, code = err.Error(), 1
	} else {
		code = 0
	}
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// bake makes the image, or finds it made. The work is done by this program once more, in namespaces of its own: outside
// of them its exit code is returned, which else is -1. Only inside is the order read from in: both have the same.
func bake(ctx context.Context, in io.ReadSeeker) (b native.Baked, code int, err error) {
	inside, code, err := native.Enter()
	if err != nil {
		return b, -1, err
	}
	if !inside {
		return b, code, nil
	}
	var o order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return b, -1, fmt.Errorf("read the order: %w", err)
	}
	options, release, err := o.options(ctx)
	if err != nil {
		return b, -1, err
	}
	defer release()
	b, done, err := native.Current(options)
	if err != nil {
		return b, -1, err
	}
	if done {
		options.UI.Say("%s: nothing has changed since it was baked", options.Image.Name())
		return b, -1, nil
	}
	b, err = native.Bake(ctx, options)
	return b, -1, err
}

// options are the native builder's for an order. While they are in use, nobody clears the cache.
func (o order) options(ctx context.Context) (n native.BakeOptions, release func(), err error) {
	in, err := o.Config.check()
	if err != nil {
		return n, nil, err
	}
	u := ui.New(os.Stderr, ui.Verbose)
	n.Runner, n.UI = run.System{Trace: u.Trace(), Leashed: true}, u
	n.Image, n.Formats, n.Debs = in.image, in.formats, in.debs
	n.Out, n.Version, n.Force, n.Offline = o.Config.OutputDirectory, o.Version, o.Force, o.Config.Offline
	if n.Cache, err = native.Cache(); err != nil {
		return n, nil, err
	}
	if release, err = native.Use(ctx, n.Cache); err != nil {
		return n, nil, err
	}
	n.Lock, err = native.LockFor(ctx, native.LockOptions{
		ResolveOptions: native.ResolveOptions{Runner: n.Runner, UI: n.UI, Cache: n.Cache, Cluster: in.cluster, Images: []images.Image{in.image}},
		File:           o.Config.LockFile, Frozen: o.Config.Locked || o.Config.Offline,
		Renew: fmt.Sprintf("pgbake -f %s lock --init %s", o.Config.Specification, o.Config.Init),
	})
	if err != nil {
		release()
		return n, nil, err
	}
	return n, release, nil
}
