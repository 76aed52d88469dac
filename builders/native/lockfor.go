package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/step"
)

// LockOptions say which lock images are baked by.
type LockOptions struct {
	// ResolveOptions are for a lock that is to be made. Its Images are those that are baked, all of one init.
	ResolveOptions
	File string
	// Frozen forbids to make one.
	Frozen bool
	// Renew is the command that makes one, for hints.
	Renew string
}

// LockFor is the lock that images are baked by. Where there is none, today's packages become it: those of all roles, since
// a cluster may get its first proxy later.
func LockFor(ctx context.Context, o LockOptions) (*Lock, error) {
	l, err := LoadLock(o.File)
	switch {
	case err == nil:
		if err := l.Fits(o.Cluster, o.Images); err != nil {
			return nil, fmt.Errorf("bake by %s: %w\n      hint: %s", o.File, err, o.Renew)
		}
		return l, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case o.Frozen:
		return nil, fmt.Errorf("bake by %s: there is none, and --locked and --offline forbid to make one\n      hint: %s", o.File, o.Renew)
	}
	if o.Images, err = images.Every(o.Cluster, o.Images[0].Arch, o.Images[0].Init); err != nil {
		return nil, err
	}
	if l, err = Today(ctx, o.ResolveOptions); err != nil {
		return nil, err
	}
	o.UI.Say("%s is new: commit it", o.File)
	return l, l.Save(o.File)
}

// Today is Resolve as a step that a person sees.
func Today(ctx context.Context, o ResolveOptions) (l *Lock, err error) {
	err = step.Run(ctx, o.UI, step.Step{Name: "find today's packages", Run: func(ctx context.Context) error {
		l, err = Resolve(ctx, o)
		return err
	}})
	if err == nil && !l.secured() {
		o.UI.Say("warning: the images get no security fixes, nor do their machines: this host's apt knows no archive of them\n" +
			"      hint: add Debian's security archive to /etc/apt/sources.list.d, and make the lock anew")
	}
	return l, err
}
