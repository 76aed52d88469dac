package disk

import (
	"hash/crc32"
	"io"
	"unicode/utf16"

	"github.com/pgbake/pgbake/images"
)

// A GUID partition table: UEFI specification, chapter 5.
const (
	sectorSize = 512
	gptEntries = 128
	gptSectors = 1 + gptEntries*128/sectorSize // the header and its entries
)

// partition is one row of the table; Number is its place, which is the N of /dev/vdaN.
type partition struct {
	number      int
	kind, id    images.UUID
	first, last int64 // sectors, both included
	name        string
}

// Types of partitions: https://uapi-group.org/specifications/specs/discoverable_partitions_specification/.
var (
	typeBIOS = uuid("21686148-6449-6e6f-744e-656564454649")
	typeESP  = uuid("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	typeRoot = map[string]images.UUID{
		"amd64": uuid("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
		"arm64": uuid("b921b045-1df0-41c3-af44-4c6f280d3fae"),
	}
)

// writeGPT writes the protective MBR's partition, the table at the start and its copy at the end of the disk.
func writeGPT(w io.WriterAt, size int64, disk images.UUID, parts []partition) error {
	sectors := size / sectorSize
	entries := make([]byte, gptEntries*128)
	for _, p := range parts {
		e := entries[(p.number-1)*128:][:128]
		copy(e[0:], mixed(p.kind))
		copy(e[16:], mixed(p.id))
		le.PutUint64(e[32:], uint64(p.first)) //nolint:gosec // positive
		le.PutUint64(e[40:], uint64(p.last))  //nolint:gosec // the same
		for i, c := range utf16.Encode([]rune(p.name)) {
			le.PutUint16(e[56+2*i:], c)
		}
	}
	header := func(here, other, table int64) []byte {
		h := make([]byte, sectorSize)
		copy(h, "EFI PART")
		le.PutUint32(h[8:], 0x10000)
		le.PutUint32(h[12:], 92)
		for at, v := range map[int]int64{24: here, 32: other, 40: 1 + gptSectors, 48: sectors - gptSectors - 1, 72: table} {
			le.PutUint64(h[at:], uint64(v)) //nolint:gosec // positive
		}
		copy(h[56:], mixed(disk))
		le.PutUint32(h[80:], gptEntries)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		return h
	}
	mbr := make([]byte, sectorSize-0x1b8)
	p := mbr[0x1be-0x1b8:]
	p[1], p[2], p[4] = 0, 2, 0xee // cylinder 0, head 0, sector 2; protective
	p[5], p[6], p[7] = 0xff, 0xff, 0xff
	le.PutUint32(p[8:], 1)
	le.PutUint32(p[12:], uint32(min(sectors-1, 0xffffffff))) //nolint:gosec // as the specification says
	mbr[len(mbr)-2], mbr[len(mbr)-1] = 0x55, 0xaa
	for _, piece := range []struct {
		at   int64
		body []byte
	}{
		{0x1b8, mbr},
		{sectorSize, header(1, sectors-1, 2)},
		{2 * sectorSize, entries},
		{(sectors - gptSectors) * sectorSize, entries},
		{(sectors - 1) * sectorSize, header(sectors-1, 1, sectors-gptSectors)},
	} {
		if _, err := w.WriteAt(piece.body, piece.at); err != nil {
			return err
		}
	}
	return nil
}

// mixed is a GUID as tables hold it: its first three fields little-endian.
func mixed(u images.UUID) []byte {
	return []byte{u[3], u[2], u[1], u[0], u[5], u[4], u[7], u[6], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]}
}

// uuid is a constant of its text.
func uuid(s string) images.UUID {
	var u images.UUID
	i := 0
	for _, c := range []byte(s) {
		if c == '-' {
			continue
		}
		u[i/2] = u[i/2]<<4 | c&0xf
		if c >= 'a' {
			u[i/2] += 9
		}
		i++
	}
	return u
}
