package cloudinit

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pgbake/pgbake/rootfs"
)

// An ISO 9660 volume (ECMA-119) of a few files, with Rock Ridge, by which Linux sees lower-case names and modes.
// Numbers are in sectors:
//
//	0  system area   16 primary descriptor   17 terminator   18, 19 path tables   20 root directory   21… directories, files
const (
	sector          = 2048
	firstDescriptor = 16
	pathTableLSB    = 18
	pathTableMSB    = 19
	rootDirectory   = 20
)

// ISO makes a volume of files, which belong to root, as do the directories that their paths name; at is the time on
// everything. The names and the label are kept as they are, lower case included.
func ISO(label string, at time.Time, files []rootfs.File) ([]byte, error) {
	dirs := directories(files)
	// Each directory has a sector, in the order of the path table; the files come after.
	extent := map[string]int{}
	for i, d := range dirs {
		extent[d] = rootDirectory + i
	}
	var tree, body []byte
	for _, d := range dirs {
		self := posix(fs.ModeDir|0o700, 2+len(entriesOf(d, dirs, nil)))
		first := self
		if d == "/" {
			first = slices.Concat(suspStart(), self, rockRidge())
		}
		records := slices.Concat(
			record("\x00", extent[d], sector, 2, at, first),
			record("\x01", extent[path.Dir(d)], sector, 2, at, posix(fs.ModeDir|0o700, 2+len(entriesOf(path.Dir(d), dirs, nil)))),
		)
		entries := entriesOf(d, dirs, files)
		for i, e := range entries {
			if i > 0 && isoName(e) == isoName(entries[i-1]) {
				return nil, fmt.Errorf("make volume %s: %s and %s have the same short name", label, entries[i-1].Path, e.Path)
			}
			if e.Mode.IsDir() {
				links := 2 + len(entriesOf(e.Path, dirs, nil))
				records = append(records, record(isoName(e), extent[e.Path], sector, 2, at, posix(e.Mode, links), name(e))...)
				continue
			}
			lies := rootDirectory + len(dirs) + len(body)/sector
			records = append(records, record(isoName(e), lies, len(e.Body), 0, at, posix(e.Mode.Perm(), 1), name(e))...)
			body = append(body, padded(e.Body)...)
		}
		if len(records) > sector {
			return nil, fmt.Errorf("make volume %s: too many files for one sector of directory", label)
		}
		tree = append(tree, padded(records)...)
	}
	little, big := pathTable(binary.LittleEndian, dirs), pathTable(binary.BigEndian, dirs)
	if len(label) > 32 || len(little) > sector {
		return nil, fmt.Errorf("make volume %s: the label is too long, or there are too many directories", label)
	}
	image := slices.Concat(
		make([]byte, firstDescriptor*sector),
		primaryDescriptor(label, at, rootDirectory+len(dirs)+len(body)/sector, len(little)),
		padded([]byte("\xffCD001\x01")),
		padded(little),
		padded(big),
		tree,
		body,
	)
	return image, nil
}

// directories are all that the files' paths name, the root first: by depth, then by their parents' place, then by name, as
// ECMA-119 6.9.1 has it.
func directories(files []rootfs.File) []string {
	all := []string{"/"}
	for _, f := range files {
		for d := path.Dir(path.Join("/", f.Path)); d != "/"; d = path.Dir(d) {
			if !slices.Contains(all, d) {
				all = append(all, d)
			}
		}
	}
	depth := func(d string) int { return strings.Count(strings.TrimSuffix(d, "/"), "/") }
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(depth(a)-depth(b), strings.Compare(a, b)) })
	return all
}

// entriesOf are the directories and files right below a directory, sorted by their short names.
func entriesOf(dir string, dirs []string, files []rootfs.File) []rootfs.File {
	var all []rootfs.File
	for _, d := range dirs {
		if d != "/" && path.Dir(d) == dir {
			all = append(all, rootfs.File{Path: d, Mode: fs.ModeDir | 0o700})
		}
	}
	for _, f := range files {
		if path.Dir(path.Join("/", f.Path)) == dir {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b rootfs.File) int { return strings.Compare(isoName(a), isoName(b)) })
	return all
}

// isoName is the name for readers without Rock Ridge: at most 31 of A–Z, 0–9 and _, and a file's version.
func isoName(f rootfs.File) string {
	s := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(path.Base(f.Path)))
	if f.Mode.IsDir() {
		return s[:min(len(s), 31)]
	}
	return s[:min(len(s), 28)] + ".;1"
}

// primaryDescriptor is ECMA-119 8.4. size is the volume's in sectors, table that of a path table in bytes.
func primaryDescriptor(label string, at time.Time, size, table int) []byte {
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
	d = append(d, both32(table)...)
	d = binary.LittleEndian.AppendUint32(d, pathTableLSB)
	d = append(d, make([]byte, 4)...)
	d = binary.BigEndian.AppendUint32(d, pathTableMSB)
	d = append(d, make([]byte, 4)...)
	d = append(d, record("\x00", rootDirectory, sector, 2, at)...)
	d = append(d, spaced("", 3*128)+spaced("PGBAKE", 128)+spaced("", 3*37)...) // set, publisher, preparer; application; files
	d = append(d, stamp+stamp+never+never+"\x01"...)                           // made, changed, expires, effective; structure
	return padded(d)
}

// pathTable is ECMA-119 9.4, of directories that lie one behind the other in this order.
func pathTable(order binary.AppendByteOrder, dirs []string) []byte {
	var t []byte
	for i, d := range dirs {
		id := "\x00"
		if d != "/" {
			id = isoName(rootfs.File{Path: d, Mode: fs.ModeDir})
		}
		t = order.AppendUint32(append(t, byte(len(id)), 0), uint32(rootDirectory+i))        //nolint:gosec // far below 4 GiB
		t = append(order.AppendUint16(t, uint16(1+slices.Index(dirs, path.Dir(d)))), id...) //nolint:gosec // a sector's worth
		if len(id)%2 == 1 {
			t = append(t, 0)
		}
	}
	return t
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
func posix(mode fs.FileMode, links int) []byte {
	bits := 0o100000 | int(mode.Perm())
	if mode.IsDir() {
		bits = 0o040000 | int(mode.Perm())
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
