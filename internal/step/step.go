// Package step runs named pieces of work, in order or at the same time, and says so.
//
// In comes a slice of steps that reads like a recipe; out comes the first error. Each step is idempotent:
// run again after a failure or a kill it finds what is done and does the rest.
package step

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pgbake/pgbake/internal/ui"
)

// Step is one named piece of work.
type Step struct {
	// Name says what is done: "build the base root".
	Name string
	Run  func(ctx context.Context) error
	// Undo takes away what Run made. It is called when Run or anything after it fails, also when Run got
	// only halfway; nil when there is nothing to take away.
	Undo func(ctx context.Context) error
}

// undoTime is how long the clean-up of one step may take once the work itself was given up.
const undoTime = 30 * time.Second

type noteKey struct{}

// Note says, from inside of a step, what it waits for or has reached.
func Note(ctx context.Context, format string, args ...any) {
	if i, ok := ctx.Value(noteKey{}).(*ui.Item); ok {
		i.Note(fmt.Sprintf(format, args...))
	}
}

// Progress says, from inside of a step, how far the work of its latest note is: done of total, in any unit.
func Progress(ctx context.Context, done, total int64) {
	if i, ok := ctx.Value(noteKey{}).(*ui.Item); ok {
		i.Progress(done, total)
	}
}

// Result says, from inside of a step, what stands beside its time when it has ended.
func Result(ctx context.Context, format string, args ...any) {
	if i, ok := ctx.Value(noteKey{}).(*ui.Item); ok {
		i.Result(fmt.Sprintf(format, args...))
	}
}

// Run runs the steps one after the other. When one fails, it and those before it are undone, the last first.
func Run(ctx context.Context, u *ui.UI, steps ...Step) error {
	for i, s := range steps {
		err := context.Cause(ctx)
		if err == nil {
			err = one(ctx, u, s)
		}
		if err != nil {
			return errors.Join(err, undo(ctx, steps[:i+1]))
		}
	}
	return nil
}

// Together makes one step of steps that run at the same time. The first failure cancels the others;
// all of them are then undone.
func Together(name string, u *ui.UI, steps ...Step) Step {
	return Step{
		Name: name,
		Run: func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			var wg sync.WaitGroup
			var once sync.Once
			var first error
			for _, s := range steps {
				wg.Go(func() {
					if err := one(ctx, u, s); err != nil {
						once.Do(func() { first = err })
						cancel()
					}
				})
			}
			wg.Wait()
			return first
		},
		Undo: func(ctx context.Context) error { return undo(ctx, steps) },
	}
}

func one(ctx context.Context, u *ui.UI, s Step) error {
	item := u.Begin(s.Name)
	err := s.Run(context.WithValue(ctx, noteKey{}, item))
	item.End(err)
	return err
}

func undo(ctx context.Context, steps []Step) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for i := len(steps) - 1; i >= 0; i-- {
		if steps[i].Undo == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, undoTime)
		if err := steps[i].Undo(ctx); err != nil {
			errs = append(errs, fmt.Errorf("undo %s: %w", steps[i].Name, err))
		}
		cancel()
	}
	return errors.Join(errs...)
}
