package disk

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/step"
)

// A layer keeps its chunks compressed, since they are the same on every disk of it:
//
//	the compressed chunks, one behind the other   for each a row: hash, where, size, checksum   the number of rows, their checksum, a mark
//
// They are found by the hash of what they hold. What is missing, cut short or altered is compressed again: no disk gets
// other bytes for it.
const (
	keptMark = "pgbake\x00\x01"
	rowSize  = 16 + 8 + 4 + 4
	tailSize = 4 + 4 + len(keptMark)
)

// contentHash is the first half of a SHA-256.
type contentHash [16]byte

func hashOf(plain []byte) contentHash {
	sum := sha256.Sum256(plain)
	return contentHash(sum[:16])
}

// kept is what layers have kept.
type kept struct {
	files []*os.File
	at    map[contentHash]keptChunk
}

type keptChunk struct {
	file   *os.File
	offset int64
	size   uint32 // 0: it does not get smaller
	crc    uint32
}

// keptName is the file of a layer's chunks; empty when nothing is kept.
func (l Layer) keptName(w writer) string {
	if l.Cache == "" {
		return ""
	}
	return filepath.Join(l.Cache, w.packing+"-"+Version)
}

// Pack compresses the chunks of a layer as a format needs them, and keeps them, unless they are there or have no place.
func Pack(ctx context.Context, l Layer, format string) error {
	w := writers[format]
	name := l.keptName(w)
	if name == "" || w.packing == "" {
		return nil
	}
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	step.Note(ctx, "compresses layers for the cache")
	if err := os.MkdirAll(l.Cache, 0o755); err != nil { //nolint:gosec // no secrets
		return err
	}
	// No time is on a body.
	_, bodies, err := scanLayer(ctx, l, images.Absent, time.Time{})
	if err != nil {
		return err
	}
	next := uint32(0)
	for _, n := range bodies {
		n.extents = []extent{{0, next, n.bodyBlocks()}}
		next += n.bodyBlocks()
	}
	all := func(each func(int64, []byte) error) error {
		for _, parts := range stripes(bodies) {
			step.Progress(ctx, int64(parts[0].physical), int64(next))
			buf := make([]byte, stripe*blockSize)
			if _, err := readAll(parts, buf); err != nil {
				return err
			}
			if err := each(int64(parts[0].physical)*blockSize, buf); err != nil {
				return err
			}
		}
		return nil
	}
	return whole(name, func(f *os.File) error {
		out := bufio.NewWriterSize(f, 1<<20)
		var rows []byte
		at := uint64(0)
		err := eachChunk(ctx, all, w.pack, func(p piece) error {
			sum := hashOf(p.plain)
			rows = append(rows, sum[:]...)
			rows = le.AppendUint64(rows, at)
			rows = le.AppendUint32(rows, uint32(len(p.packed))) //nolint:gosec // at most a chunk
			rows = le.AppendUint32(rows, crc32.Checksum(p.packed, castagnoli))
			at += uint64(len(p.packed))
			_, err := out.Write(p.packed)
			return err
		})
		if err != nil {
			return err
		}
		tail := le.AppendUint32(nil, uint32(len(rows)/rowSize)) //nolint:gosec // thousands
		tail = le.AppendUint32(tail, crc32.Checksum(rows, castagnoli))
		for _, b := range [][]byte{rows, tail, []byte(keptMark)} {
			if _, err := out.Write(b); err != nil {
				return err
			}
		}
		return out.Flush()
	})
}

// open adds what a layer has kept. What cannot be read is not there.
func (k *kept) open(l Layer, w writer) {
	name := l.keptName(w)
	if name == "" {
		return
	}
	f, err := os.Open(name)
	if err != nil {
		return
	}
	k.files = append(k.files, f)
	rows, err := keptRows(f)
	if err != nil {
		_ = os.Remove(name) // the next image makes it anew
		return
	}
	if k.at == nil {
		k.at = map[contentHash]keptChunk{}
	}
	for ; len(rows) > 0; rows = rows[rowSize:] {
		k.at[contentHash(rows[:16])] = keptChunk{
			f, int64(le.Uint64(rows[16:])), le.Uint32(rows[24:]), le.Uint32(rows[28:]), //nolint:gosec // as they were written
		}
	}
}

// keptRows reads the rows of a file that is whole.
func keptRows(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	tail := make([]byte, tailSize)
	if _, err := f.ReadAt(tail, info.Size()-int64(tailSize)); err != nil {
		return nil, err
	}
	size := int64(le.Uint32(tail)) * rowSize
	at := info.Size() - int64(tailSize) - size
	if string(tail[8:]) != keptMark || at < 0 {
		return nil, fmt.Errorf("%s was cut short", f.Name())
	}
	rows := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, at, size), rows); err != nil {
		return nil, err
	}
	if crc32.Checksum(rows, castagnoli) != le.Uint32(tail[4:]) {
		return nil, fmt.Errorf("%s was altered", f.Name())
	}
	return rows, nil
}

// before makes packers that look here first.
func (k *kept) before(next newPacker) newPacker {
	return func() (packer, error) {
		pack, err := next()
		return func(plain []byte) ([]byte, error) {
			if c, ok := k.at[hashOf(plain)]; ok {
				if c.size == 0 {
					return nil, nil
				}
				b := make([]byte, c.size)
				if _, err := c.file.ReadAt(b, c.offset); err == nil && crc32.Checksum(b, castagnoli) == c.crc {
					return b, nil
				}
			}
			return pack(plain)
		}, err
	}
}

func (k *kept) close() {
	for _, f := range k.files {
		f.Close() //nolint:errcheck // only read
	}
}
