package disk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/pgbake/pgbake/builders/native/disk/deflate"
)

// A compressed qcow2 of version 3: https://www.qemu.org/docs/master/interop/qcow2.html. In clusters of 64 KiB:
//
//	0 header   1 L1 table   2… L2 tables   the data, one cluster's behind the other   refcount table, refcount blocks
const (
	clusterBits  = 16
	clusterSize  = 1 << clusterBits
	l2Entries    = clusterSize / 8
	blockEntries = clusterSize / 2 // refcounts of 16 bits

	copied         = 1 << 63
	compressed     = 1 << 62
	compressedBits = 62 - (clusterBits - 8) // of the address; above it are the sectors
)

var be = binary.BigEndian

// qcow2 is an image in the making; data is written in order, so a pipe of memory is enough.
type qcow2 struct {
	w    *bufio.Writer
	pos  int64
	l2   []uint64
	refs []uint16
}

// writeQcow2 writes the raw disk in as a qcow2 compressed with zlib, which every QEMU reads.
func writeQcow2(ctx context.Context, in, out *os.File, m meta) error {
	return qcow2Of(ctx, in, out, 0, m.pack)
}

// writeQcow2Zstd is faster to make and to read; QEMU 5.1 or later reads it.
func writeQcow2Zstd(ctx context.Context, in, out *os.File, m meta) error {
	return qcow2Of(ctx, in, out, 1, m.pack)
}

// newDeflate compresses as qcow2 wants it: deflate without a header, distances up to 4 KiB.
func newDeflate() (packer, error) {
	e := deflate.New(4096)
	var buf []byte
	return func(plain []byte) ([]byte, error) {
		buf = e.Append(buf[:0], plain)
		return smaller(buf, plain), nil
	}, nil
}

func newZstd() (packer, error) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(chunk), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
	var buf []byte
	return func(plain []byte) ([]byte, error) {
		buf = w.EncodeAll(plain, buf[:0])
		return smaller(buf, plain), nil
	}, err
}

// smaller is a copy of packed; nil when it is no gain.
func smaller(packed, plain []byte) []byte {
	if len(packed) >= len(plain) {
		return nil
	}
	return bytes.Clone(packed)
}

func qcow2Of(ctx context.Context, in, out *os.File, kind byte, pack newPacker) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	tables := (size + l2Entries*clusterSize - 1) / (l2Entries * clusterSize)
	q := &qcow2{l2: make([]uint64, tables*l2Entries)}
	q.pos = (2 + tables) * clusterSize
	if _, err := out.Seek(q.pos, io.SeekStart); err != nil {
		return err
	}
	q.count(0, q.pos)
	q.w = bufio.NewWriterSize(out, 1<<20)
	if err := eachChunk(ctx, runs(ctx, in), pack, q.add); err != nil {
		return err
	}
	table, blocks, err := q.refcounts()
	if err != nil {
		return err
	}
	if err := q.w.Flush(); err != nil {
		return err
	}

	head := make([]byte, (2+tables)*clusterSize)
	copy(head, "QFI\xfb")
	be.PutUint32(head[4:], 3)
	be.PutUint32(head[20:], clusterBits)
	be.PutUint64(head[24:], uint64(size))   //nolint:gosec // positive
	be.PutUint32(head[36:], uint32(tables)) //nolint:gosec // half a GiB each
	be.PutUint64(head[40:], clusterSize)
	be.PutUint64(head[48:], uint64(table)) //nolint:gosec // positive
	be.PutUint32(head[56:], blocks)
	if kind != 0 {
		be.PutUint64(head[72:], 1<<3) // the compression type is not zlib
	}
	be.PutUint32(head[96:], 4) // refcounts of 1<<4 bits
	be.PutUint32(head[100:], 112)
	head[104] = kind
	for i := range tables {
		be.PutUint64(head[clusterSize+8*i:], copied|uint64(2+i)<<clusterBits) //nolint:gosec // positive
	}
	for i, e := range q.l2 {
		be.PutUint64(head[2*clusterSize+8*i:], e)
	}
	_, err = out.WriteAt(head, 0)
	return err
}

// add writes one cluster of the disk.
func (q *qcow2) add(p piece) error {
	if p.packed == nil {
		if err := q.align(); err != nil {
			return err
		}
		q.l2[p.index] = copied | uint64(q.pos) //nolint:gosec // positive
		q.count(q.pos, clusterSize)
		return q.write(p.plain)
	}
	at, end := q.pos, q.pos+int64(len(p.packed))
	sectors := (end-1)/sectorSize - at/sectorSize                             // beyond the first
	q.l2[p.index] = compressed | uint64(sectors)<<compressedBits | uint64(at) //nolint:gosec // positive
	// Whole sectors count: that is what QEMU looks at.
	from := at / sectorSize * sectorSize
	q.count(from, (sectors+1)*sectorSize)
	return q.write(p.packed)
}

func (q *qcow2) write(b []byte) error {
	q.pos += int64(len(b))
	_, err := q.w.Write(b)
	return err
}

func (q *qcow2) align() error {
	return q.write(zeros[:(clusterSize-q.pos%clusterSize)%clusterSize])
}

// count raises the refcounts of the clusters that n bytes lie in.
func (q *qcow2) count(at, n int64) {
	for c := at / clusterSize; c <= (at+n-1)/clusterSize; c++ {
		for int64(len(q.refs)) <= c {
			q.refs = append(q.refs, 0)
		}
		q.refs[c]++
	}
}

// refcounts writes the table and its blocks, which count themselves too, and returns where the table is and its clusters.
func (q *qcow2) refcounts() (table int64, clusters uint32, err error) {
	if err := q.align(); err != nil {
		return 0, 0, err
	}
	table = q.pos
	blocks := int64(1)
	for blocks*blockEntries < table/clusterSize+1+blocks {
		blocks++
	}
	q.count(table, (1+blocks)*clusterSize)
	b := make([]byte, (1+blocks)*clusterSize)
	for i := range blocks {
		be.PutUint64(b[8*i:], uint64(table+(1+i)*clusterSize)) //nolint:gosec // positive
	}
	for i, n := range q.refs {
		be.PutUint16(b[clusterSize+2*i:], n)
	}
	return table, 1, q.write(b)
}
