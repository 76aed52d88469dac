package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const benchPattern = ".bench-*" // no scope begins with a dot

// Bench makes an empty directory for what the machines will be made of, seeds with their secrets among it. done
// removes it; when pgbake is killed before that, the next Up or Down of any lab does.
func (l *Lab) Bench(ctx context.Context) (dir string, done func(), err error) {
	unlock, err := l.lock(ctx)
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	dir, err = os.MkdirTemp(l.host.State, benchPattern)
	if err != nil {
		return "", nil, err
	}
	release, err := lock(ctx, dir)
	if err != nil {
		return "", nil, errors.Join(err, os.Remove(dir))
	}
	return dir, func() {
		_ = os.RemoveAll(dir) // what stays goes with the next Down
		release()
	}, nil
}

// clearBenches removes those that no living pgbake holds. The state's lock is held: none is just being made.
func clearBenches(state string) error {
	benches, _ := filepath.Glob(filepath.Join(state, benchPattern))
	for _, dir := range benches {
		f, err := os.Open(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue // its owner has just removed it
		}
		if err != nil {
			return err
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = os.RemoveAll(dir)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("remove what a killed pgbake left: %w", err)
		}
	}
	return nil
}
