package agent

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errNoRoom ends what fills the disk that the database of today is on.
var errNoRoom = errors.New("no room is left")

// roomTick is how often the room is looked at: a twentieth of the disk is spared, which nothing fills in that time.
const roomTick = time.Second

// whileRoom does what fills a disk, and ends it with errNoRoom as soon as nothing is free beyond what is spared. It looks at
// every tick; free is in bytes.
func whileRoom(ctx context.Context, tick <-chan time.Time, free func() (int64, error), do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	for {
		select {
		case err := <-done:
			if err != nil && errors.Is(context.Cause(ctx), errNoRoom) {
				return errNoRoom // whatever its programs said of being ended
			}
			return err
		case <-tick:
			if left, err := free(); err == nil && left < 0 {
				cancel(errNoRoom)
			}
		}
	}
}

// noRoomFor says how much a restored database took before it was removed again, and what ended it; size is that of its backup.
func noRoomFor(data string, took, size int64, why error) error {
	return fmt.Errorf("%w: the disk of %s has less than a twentieth left, which the database of today needs; the restored one had taken %s, and its backup is %s; "+
		"it is removed again\n      hint: the database of today is as it was; give the disk more room: the WAL since the backup comes on top of it", why, data, Size(took), Size(size))
}
