package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/internal/step"
)

// stripe is how many blocks are read and written at once: 1 MiB.
const stripe = 256

// part is a piece of a node's body, and where it goes.
type part struct {
	*node
	extent
}

// stripes cuts the bodies of nodes, in the order of their places, into pieces that lie one behind the other and are at
// most a stripe together.
func stripes(nodes []*node) [][]part {
	var all [][]part
	var now []part
	size, next := uint32(0), uint32(0)
	for _, n := range nodes {
		for _, e := range n.extents {
			for e.blocks > 0 {
				if size == stripe || e.physical != next {
					if size > 0 {
						all = append(all, now)
					}
					now, size = nil, 0
				}
				k := min(e.blocks, stripe-size)
				now = append(now, part{n, extent{e.logical, e.physical, k}})
				e.logical, e.physical, e.blocks = e.logical+k, e.physical+k, e.blocks-k
				size, next = size+k, e.physical
			}
		}
	}
	if size > 0 {
		all = append(all, now)
	}
	return all
}

// read fills b, which is as long as the part's blocks.
func (p part) read(b []byte) error {
	from := int64(p.logical) * blockSize
	size := min(int64(len(b)), p.size-from)
	clear(b[size:])
	if p.source == "" {
		copy(b[:size], p.body[from:])
		return nil
	}
	// A file of os would ask the kernel four times as much, for 20,000 of them.
	fd, err := unix.Open(p.source, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: p.source, Err: err}
	}
	for b = b[:size]; len(b) > 0 && err == nil; {
		var n int
		n, err = unix.Pread(fd, b, from)
		if n == 0 && err == nil {
			err = io.ErrUnexpectedEOF
		}
		if errors.Is(err, unix.EINTR) {
			n, err = 0, nil
		}
		b, from = b[max(n, 0):], from+int64(n)
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("read %s: %w", p.source, err)
	}
	return nil
}

// readAll fills b with parts that lie one behind the other, and returns what of it they filled.
func readAll(parts []part, b []byte) ([]byte, error) {
	size := 0
	for _, p := range parts {
		n := int(p.blocks) * blockSize
		if err := p.read(b[size : size+n]); err != nil {
			return nil, err
		}
		size += n
	}
	return b[:size], nil
}

// copyBodies writes the bodies of all files to their places, side by side.
func (f *ext4) copyBodies() error {
	var nodes []*node
	for _, n := range f.nodes {
		if !n.is(unix.S_IFDIR) && len(n.extents) > 0 {
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b *node) int { return int(a.extents[0].physical) - int(b.extents[0].physical) })
	all, done := stripes(nodes), atomic.Int64{}
	order, ends := make([]int, len(all)), make([]int64, len(all))
	for i, parts := range all {
		last := parts[len(parts)-1]
		order[i], ends[i] = i, int64(last.physical+last.blocks)*blockSize
	}
	f.behind.start(ends)
	return sideBySide(f.ctx, order, func() func(int) error {
		buf := make([]byte, stripe*blockSize)
		return func(i int) error {
			step.Progress(f.ctx, done.Add(1), int64(len(all)))
			b, err := readAll(all[i], buf)
			if err == nil {
				err = f.sparse(all[i][0].physical, b)
			}
			if err == nil {
				f.behind.wrote(i)
			}
			return err
		}
	})
}

// sparse writes what is not zero, in whole alignments.
func (f *ext4) sparse(block uint32, b []byte) error {
	const piece = alignment * blockSize
	for len(b) > 0 {
		n := 0 // up to the next zeros
		for n < len(b) && !isZero(b[n:min(n+piece, len(b))]) {
			n = min(n+piece, len(b))
		}
		if n > 0 {
			if err := f.put(block, b[:n]); err != nil {
				return err
			}
		} else {
			n = min(piece, len(b))
		}
		b, block = b[n:], block+uint32(n/blockSize) //nolint:gosec // at most a stripe
	}
	return nil
}

// sideBySide has every item worked on by one of as many workers as there are cores. The first failure ends it.
func sideBySide[T any](ctx context.Context, items []T, worker func() func(T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan T)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(items)) {
		wg.Go(func() {
			do := worker()
			for item := range work {
				if ctx.Err() == nil {
					if err := do(item); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	for _, item := range items {
		work <- item
	}
	close(work)
	wg.Wait()
	return context.Cause(ctx)
}
