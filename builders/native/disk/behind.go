package disk

import (
	"io"
	"math"
	"os"
	"sync"
)

// behind reads a disk while its root is written, side by side: as far as all is there. Nil reads nothing.
type behind struct {
	to   io.Writer
	disk io.Reader
	root int64 // where it begins
	// ready returns when all is there that lies before the root.
	ready func()

	mu   sync.Mutex
	ends []int64 // of the items, in bytes from the root's start
	done []bool
	next int        // the first item that is not done
	all  chan int64 // how far all is there
	over chan error
}

func newBehind(to io.Writer, disk *os.File, root int64, ready func()) *behind {
	if to == nil {
		return nil
	}
	return &behind{to: to, disk: io.NewSectionReader(disk, 0, math.MaxInt64), root: root, ready: ready}
}

// start is told which items will be written.
func (b *behind) start(ends []int64) {
	if b == nil {
		return
	}
	b.ends, b.done = ends, make([]bool, len(ends))
	b.all, b.over = make(chan int64, len(ends)), make(chan error, 1)
	go func() { b.over <- b.follow() }()
}

func (b *behind) follow() error {
	b.ready()
	at := int64(0)
	for to := range b.all {
		if _, err := io.CopyN(b.to, b.disk, to-at); err != nil {
			return err
		}
		at = to
	}
	return nil
}

// wrote tells that an item is there.
func (b *behind) wrote(i int) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.next
	for b.done[i] = true; b.next < len(b.done) && b.done[b.next]; {
		b.next++
	}
	if b.next > before {
		b.all <- b.root + b.ends[b.next-1] // it holds all of them
	}
}

// finish waits for what was started, and reads the rest of a disk that is whole.
func (b *behind) finish(isWhole bool) (err error) {
	if b == nil {
		return nil
	}
	if b.all != nil {
		close(b.all)
		err = <-b.over
	}
	if isWhole && err == nil {
		_, err = io.Copy(b.to, b.disk)
	}
	return err
}
