package disk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/internal/step"
)

// chunk is what compressed formats compress at a time: a qcow2 cluster, a vmdk grain.
const chunk = 64 << 10

// packer compresses a chunk; nil is for what does not get smaller.
type packer func(plain []byte) ([]byte, error)

// newPacker makes one for one worker.
type newPacker func() (packer, error)

// piece is one chunk of a disk that is not zero.
type piece struct {
	index  int64
	plain  []byte // the last one is padded with zeros
	packed []byte // nil when it did not get smaller
}

// batch is how many chunks a worker takes at once: more would only cost memory.
const batch = 16

// source gives what is to be compressed to each, in order: runs of batch chunks, at multiples of that.
type source func(each func(at int64, b []byte) error) error

// eachChunk calls emit for every chunk that is not zero, in order, after pack has compressed it on all cores.
func eachChunk(ctx context.Context, from source, newPack newPacker, emit func(piece) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type job struct {
		first  int64
		buf    []byte
		pieces []piece
		done   chan struct{}
	}
	workers := runtime.GOMAXPROCS(0)
	work := make(chan *job)
	inOrder := make(chan *job, 2*workers)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			pack, err := newPack()
			if err != nil {
				cancel(err)
			}
			for j := range work {
				if ctx.Err() == nil {
					if j.pieces, err = packAll(j.buf, j.first, pack); err != nil {
						cancel(err)
					}
				}
				close(j.done)
			}
		})
	}
	wg.Go(func() {
		defer close(work)
		defer close(inOrder)
		err := from(func(at int64, b []byte) error {
			j := &job{first: at / chunk, buf: b, done: make(chan struct{})}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case inOrder <- j:
			}
			work <- j
			return nil
		})
		if err != nil {
			cancel(err)
		}
	})
	for j := range inOrder {
		<-j.done
		for _, p := range j.pieces {
			if ctx.Err() != nil {
				break
			}
			if err := emit(p); err != nil {
				cancel(err)
			}
		}
	}
	wg.Wait()
	return context.Cause(ctx)
}

func packAll(buf []byte, first int64, pack packer) ([]piece, error) {
	var pieces []piece
	for i := 0; i*chunk < len(buf); i++ {
		plain := buf[i*chunk : (i+1)*chunk]
		if isZero(plain) {
			continue
		}
		packed, err := pack(plain)
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, piece{first + int64(i), plain, packed})
	}
	return pieces, nil
}

// runs is a sparse file as a source.
func runs(ctx context.Context, f *os.File) source {
	return func(each func(int64, []byte) error) error {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		return eachRun(f, batch*chunk, func(at int64, b []byte) error {
			step.Progress(ctx, at, info.Size())
			return each(at, b)
		})
	}
}

// eachRun reads a sparse file, size bytes at a time at multiples of size, without its holes; the last run is padded
// with zeros. What the file system calls a hole changes only how fast this is: zeros are left out later anyway.
func eachRun(f *os.File, size int64, each func(at int64, b []byte) error) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for at := int64(0); at < info.Size(); at += size {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err == nil && data > at {
			at = data / size * size
		}
		b := make([]byte, size)
		if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := each(at, b); err != nil {
			return err
		}
	}
	return nil
}

var zeros [1 << 20]byte

// isZero tells whether a block needs no writing: files are sparse.
func isZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}
