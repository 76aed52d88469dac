package disk

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"hash/adler32"
	"os"

	"github.com/pgbake/pgbake/builders/native/disk/deflate"
)

// A streamOptimized vmdk: VMware's "Virtual Disk Format 5.0". In sectors:
//
//	0 header   1 descriptor   128… grains, after every 512 of them their grain table   grain directory   footer   end
const (
	grainSectors  = chunk / sectorSize
	grainsPerPart = 512
	vmdkOverhead  = 128
)

type vmdk struct {
	w     *bufio.Writer
	pos   int64 // sectors
	dir   []uint32
	table []byte
	part  int64 // the one whose table is open
}

func writeVMDK(ctx context.Context, in, out *os.File, m meta) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	sectors := info.Size() / sectorSize
	parts := (sectors + grainSectors*grainsPerPart - 1) / (grainSectors * grainsPerPart)
	v := &vmdk{w: bufio.NewWriterSize(out, 1<<20), dir: make([]uint32, parts), part: -1}
	id := m.id("vmdk")
	head := make([]byte, vmdkOverhead*sectorSize)
	copy(head, vmdkHeader(sectors, ^uint64(0)))
	copy(head[sectorSize:], fmt.Sprintf(vmdkDescriptor, be.Uint32(id[:])|1, sectors, m.name, sectors/255/63))
	if err := v.write(head); err != nil {
		return err
	}
	if err := eachChunk(ctx, runs(ctx, in), m.pack, v.add); err != nil {
		return err
	}
	if err := v.closeTable(); err != nil {
		return err
	}
	dir := make([]byte, (len(v.dir)*4+sectorSize-1)/sectorSize*sectorSize)
	for i, at := range v.dir {
		le.PutUint32(dir[4*i:], at)
	}
	if err := v.marker(2, len(dir)); err != nil {
		return err
	}
	at := v.pos
	if err := v.write(dir); err != nil {
		return err
	}
	if err := v.marker(3, sectorSize); err != nil {
		return err
	}
	if err := v.write(vmdkHeader(sectors, uint64(at))); err != nil { //nolint:gosec // positive
		return err
	}
	if err := v.marker(0, 0); err != nil {
		return err
	}
	return v.w.Flush()
}

// newZlib compresses as grains want it: deflate between zlib's header and checksum, RFC 1950.
func newZlib() (packer, error) {
	e := deflate.New(32 << 10)
	var buf []byte
	return func(plain []byte) ([]byte, error) {
		buf = e.Append(append(buf[:0], 0x78, 0x9c), plain)
		buf = be.AppendUint32(buf, adler32.Checksum(plain))
		return bytes.Clone(buf), nil // the format has no other way
	}, nil
}

// add writes one grain, and the table of those before when it is the first of the next.
func (v *vmdk) add(p piece) error {
	if part := p.index / grainsPerPart; part != v.part {
		if err := v.closeTable(); err != nil {
			return err
		}
		v.part, v.table = part, make([]byte, 4*grainsPerPart)
	}
	le.PutUint32(v.table[p.index%grainsPerPart*4:], uint32(v.pos)) //nolint:gosec // below 2 TiB
	b := le.AppendUint64(nil, uint64(p.index*grainSectors))        //nolint:gosec // positive
	b = le.AppendUint32(b, uint32(len(p.packed)))                  //nolint:gosec // about 64 KiB
	return v.write(append(b, p.packed...))
}

func (v *vmdk) closeTable() error {
	if v.part < 0 {
		return nil
	}
	if err := v.marker(1, len(v.table)); err != nil {
		return err
	}
	v.dir[v.part] = uint32(v.pos) //nolint:gosec // below 2 TiB
	return v.write(v.table)
}

// marker is a sector that says what follows.
func (v *vmdk) marker(kind uint32, size int) error {
	b := make([]byte, sectorSize)
	le.PutUint64(b, uint64(size/sectorSize)) //nolint:gosec // positive
	le.PutUint32(b[12:], kind)
	return v.write(b)
}

// write writes whole sectors.
func (v *vmdk) write(b []byte) error {
	rest := (sectorSize - len(b)%sectorSize) % sectorSize
	v.pos += int64(len(b)+rest) / sectorSize
	if _, err := v.w.Write(b); err != nil {
		return err
	}
	_, err := v.w.Write(zeros[:rest])
	return err
}

func vmdkHeader(sectors int64, directory uint64) []byte {
	b := make([]byte, sectorSize)
	copy(b, "KDMV")
	le.PutUint32(b[4:], 3)
	le.PutUint32(b[8:], 0x30001)          // line ends to test, compressed, with markers
	le.PutUint64(b[12:], uint64(sectors)) //nolint:gosec // positive
	le.PutUint64(b[20:], grainSectors)
	le.PutUint64(b[28:], 1)
	le.PutUint64(b[36:], 20)
	le.PutUint32(b[44:], grainsPerPart)
	le.PutUint64(b[56:], directory)
	le.PutUint64(b[64:], vmdkOverhead)
	copy(b[73:], "\n \r\n")
	le.PutUint16(b[77:], 1) // deflate
	return b
}

const vmdkDescriptor = `# Disk DescriptorFile
version=1
CID=%08x
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW %d SPARSE "%s"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "13"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.adapterType = "lsilogic"
`
