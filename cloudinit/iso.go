package cloudinit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pgbake/pgbake/rootfs"
)

// An ISO 9660 volume (ECMA-119) of a few files in its root directory, with Rock Ridge, by which Linux sees lower-case
// names and modes. Numbers are in sectors:
//
//	0  system area   16 primary descriptor   17 terminator   18, 19 path tables   20 root directory   21… files
const (
	sector          = 2048
	firstDescriptor = 16
	pathTableLSB    = 18
	pathTableMSB    = 19
	rootDirectory   = 20
	firstFile       = 21
)

// ISO makes a volume of files, which lie in its root and belong to root; at is the time on everything. The files' names
// and the label are kept as they are, lower case included.
func ISO(label string, at time.Time, files []rootfs.File) ([]byte, error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b rootfs.File) int { return strings.Compare(isoName(a), isoName(b)) })

	self := slices.Concat(suspStart(), posix(fs.ModeDir|0o700), rockRidge())
	directory := slices.Concat(
		record("\x00", rootDirectory, sector, 2, at, self),
		record("\x01", rootDirectory, sector, 2, at, posix(fs.ModeDir|0o700)),
	)
	var body []byte
	for i, f := range files {
		if i > 0 && isoName(f) == isoName(files[i-1]) {
			return nil, fmt.Errorf("make volume %s: %s and %s have the same short name", label, files[i-1].Path, f.Path)
		}
		extent := firstFile + len(body)/sector
		directory = append(directory, record(isoName(f), extent, len(f.Body), 0, at, posix(f.Mode.Perm()), name(f))...)
		body = append(body, padded(f.Body)...)
	}
	if len(directory) > sector || len(label) > 32 {
		return nil, fmt.Errorf("make volume %s: too many files for one sector of directory, or the label is too long", label)
	}
	image := slices.Concat(
		make([]byte, firstDescriptor*sector),
		primaryDescriptor(label, at, firstFile+len(body)/sector),
		padded([]byte("\xffCD001\x01")),
		padded(pathTable(binary.LittleEndian)),
		padded(pathTable(binary.BigEndian)),
		padded(directory),
		body,
	)
	return image, nil
}

// isoName is the name for readers without Rock Ridge: at most 31 of A–Z, 0–9 and _, and a version.
func isoName(f rootfs.File) string {
	s := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(path.Base(f.Path)))
	return s[:min(len(s), 28)] + ".;1"
}

// primaryDescriptor is ECMA-119 8.4. size is the volume's.
func primaryDescriptor(label string, at time.Time, size int) []byte {
	stamp := at.UTC().Format("20060102150405") + "00\x00"
	never := strings.Repeat("0", 16) + "\x00"
	d := []byte("\x01CD001\x01\x00")
	d = append(d, spaced("LINUX", 32)+spaced(label, 32)...)
	d = append(d, make([]byte, 8)...)
	d = append(d, both32(size)...)
	d = append(d, make([]byte, 32)...)
	d = append(d, both16(1)...) // volumes in the set
	d = append(d, both16(1)...) // this one's number
	d = append(d, both16(sector)...)
	d = append(d, both32(len(pathTable(binary.LittleEndian)))...)
	d = binary.LittleEndian.AppendUint32(d, pathTableLSB)
	d = append(d, make([]byte, 4)...)
	d = binary.BigEndian.AppendUint32(d, pathTableMSB)
	d = append(d, make([]byte, 4)...)
	d = append(d, record("\x00", rootDirectory, sector, 2, at)...)
	d = append(d, spaced("", 3*128)+spaced("PGBAKE", 128)+spaced("", 3*37)...) // set, publisher, preparer; application; files
	d = append(d, stamp+stamp+never+never+"\x01"...)                           // made, changed, expires, effective; structure
	return padded(d)
}

// pathTable is ECMA-119 9.4, of the root directory alone.
func pathTable(order binary.AppendByteOrder) []byte {
	t := order.AppendUint32([]byte{1, 0}, rootDirectory)
	return append(order.AppendUint16(t, 1), 0, 0)
}

// record is a directory record, ECMA-119 9.1, with Rock Ridge's fields behind it. flags: 2 is a directory.
func record(id string, extent, size int, flags byte, at time.Time, fields ...[]byte) []byte {
	at = at.UTC()
	r := slices.Concat([]byte{0, 0}, both32(extent), both32(size), []byte{
		byte(at.Year() - 1900), byte(at.Month()), byte(at.Day()), byte(at.Hour()), byte(at.Minute()), byte(at.Second()), 0, // UTC
		flags, 0, 0,
	}, both16(1), []byte{byte(len(id))}, []byte(id))
	if len(id)%2 == 0 {
		r = append(r, 0)
	}
	r = append(r, slices.Concat(fields...)...)
	if len(r)%2 == 1 {
		r = append(r, 0)
	}
	r[0] = byte(len(r))
	return r
}

// suspStart is SUSP's SP field: it says that such fields follow in every record.
func suspStart() []byte { return []byte{'S', 'P', 7, 1, 0xbe, 0xef, 0} }

// rockRidge is SUSP's ER field: it says that the fields are Rock Ridge's.
func rockRidge() []byte {
	const id, about, source = "RRIP_1991A", "THE ROCK RIDGE INTERCHANGE PROTOCOL", "IEEE P1282"
	text := id + about + source
	return append([]byte{'E', 'R', byte(8 + len(text)), 1, byte(len(id)), byte(len(about)), byte(len(source)), 1}, text...)
}

// posix is Rock Ridge's PX field: mode, links, owner and group, both root.
func posix(mode fs.FileMode) []byte {
	bits, links := 0o100000|int(mode.Perm()), 1
	if mode.IsDir() {
		bits, links = 0o040000|int(mode.Perm()), 2
	}
	return slices.Concat([]byte{'P', 'X', 36, 1}, both32(bits), both32(links), both32(0), both32(0))
}

// name is Rock Ridge's NM field.
func name(f rootfs.File) []byte {
	n := path.Base(f.Path)
	return append([]byte{'N', 'M', byte(5 + len(n)), 1, 0}, n...)
}

// both32 and both16 are numbers in both byte orders.
func both32(n int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(n)) //nolint:gosec // a volume of ours is far below 4 GiB
	return binary.BigEndian.AppendUint32(b, uint32(n))    //nolint:gosec // the same
}

func both16(n int) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(n)) //nolint:gosec // constants
	return binary.BigEndian.AppendUint16(b, uint16(n))    //nolint:gosec // the same
}

func spaced(s string, n int) string { return s + strings.Repeat(" ", n-len(s)) }

func padded(b []byte) []byte {
	return slices.Concat(b, bytes.Repeat([]byte{0}, (sector-len(b)%sector)%sector))
}
