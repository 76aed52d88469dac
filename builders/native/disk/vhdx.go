package disk

import (
	"context"
	"hash/crc32"
	"os"
	"unicode/utf16"
)

// A dynamic VHDX: Microsoft's MS-VHDX. In MiB:
//
//	0 identifier, two headers, two region tables   1 an empty log   2 metadata   3… block table   then the blocks
//
// qemu-img writes one too, with random identifiers.
const (
	vhdxBlock = 1 << 20
	vhdxRatio = (1 << 23) * sectorSize / vhdxBlock // blocks between two entries for sector bitmaps
	vhdxTable = 3 << 20
)

func writeVHDX(ctx context.Context, in, out *os.File, m meta) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	blocks := (info.Size() + vhdxBlock - 1) / vhdxBlock
	table := make([]byte, (8*(blocks+(blocks-1)/vhdxRatio)+(1<<20)-1)>>20<<20)
	next := vhdxTable + int64(len(table))
	err = eachRun(in, vhdxBlock, func(at int64, b []byte) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if isZero(b) {
			return nil
		}
		i := at / vhdxBlock
		le.PutUint64(table[8*(i+i/vhdxRatio):], uint64(next)|6) //nolint:gosec // whole MiB; fully present
		_, err := out.WriteAt(b, next)
		next += vhdxBlock
		return err
	})
	if err != nil {
		return err
	}
	if _, err := out.WriteAt(table, vhdxTable); err != nil {
		return err
	}
	_, err = out.WriteAt(vhdxHead(m, info.Size(), len(table)), 0)
	return err
}

// vhdxHead is all before the block table.
func vhdxHead(m meta, size int64, table int) []byte {
	b := make([]byte, vhdxTable)
	copy(b, "vhdxfile")
	for i, c := range utf16.Encode([]rune("pgbake")) {
		le.PutUint16(b[8+2*i:], c)
	}
	write, data := m.id("vhdx file"), m.id("vhdx data")
	for i, h := range [][]byte{b[64<<10:][:4<<10], b[128<<10:][:4<<10]} {
		copy(h, "head")
		le.PutUint64(h[8:], uint64(i)+1) //nolint:gosec // the later one counts
		copy(h[16:], mixed(write))
		copy(h[32:], mixed(data))
		le.PutUint16(h[66:], 1) // version
		le.PutUint32(h[68:], 1<<20)
		le.PutUint64(h[72:], 1<<20)
		le.PutUint32(h[4:], crc32.Checksum(h, castagnoli))
	}
	for _, r := range [][]byte{b[192<<10:][:64<<10], b[256<<10:][:64<<10]} {
		copy(r, "regi")
		le.PutUint32(r[8:], 2)
		for i, e := range []struct {
			id       string
			at, size int
		}{
			{"2dc27766-f623-4200-9d64-115e9bfd4a08", vhdxTable, table},
			{"8b7ca206-4790-4b9a-b8fe-575f050f886e", 2 << 20, 1 << 20},
		} {
			row := r[16+32*i:]
			copy(row, mixed(uuid(e.id)))
			le.PutUint64(row[16:], uint64(e.at))   //nolint:gosec // positive
			le.PutUint32(row[24:], uint32(e.size)) //nolint:gosec // MiB
			le.PutUint32(row[28:], 1)              // required
		}
		le.PutUint32(r[4:], crc32.Checksum(r, castagnoli))
	}
	page83 := m.id("vhdx disk")
	metadata := b[2<<20:]
	copy(metadata, "metadata")
	at := 64 << 10
	items := []struct {
		id    string
		flags uint32 // 2 is about the virtual disk, 4 required
		value []byte
	}{
		{"caa16737-fa36-4d43-b3b6-33f0aa44e76b", 4, le.AppendUint64(nil, vhdxBlock)},
		{"2fa54224-cd1b-4876-b211-5dbed83bf4b8", 6, le.AppendUint64(nil, uint64(size))}, //nolint:gosec // positive
		{"beca12ab-b2e6-4523-93ef-c309e000c746", 6, mixed(page83)},
		{"8141bf1d-a96f-4709-ba47-f233a8faab5f", 6, le.AppendUint32(nil, sectorSize)},
		{"cda348c7-445d-4471-9cc9-e9885251c556", 6, le.AppendUint32(nil, 4096)},
	}
	le.PutUint16(metadata[10:], uint16(len(items))) //nolint:gosec // five
	for i, item := range items {
		row := metadata[32+32*i:]
		copy(row, mixed(uuid(item.id)))
		le.PutUint32(row[16:], uint32(at))              //nolint:gosec // kilobytes
		le.PutUint32(row[20:], uint32(len(item.value))) //nolint:gosec // bytes
		le.PutUint32(row[24:], item.flags)
		at += copy(metadata[at:], item.value)
	}
	return b
}
