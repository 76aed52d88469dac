package disk

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pgbake/pgbake/rootfs"
)

// A FAT32 volume: Microsoft's "FAT32 File System Specification" 1.03. Names are 8.3, which firmware reads in any case.
const (
	fatReserved = 32 // sectors before the first table
	fatEnd      = 0x0fffffff
)

// fat is a volume in the making; a cluster is one sector, so that a small volume has the 65,525 that make it FAT32.
type fat struct {
	table []uint32
	data  bytes.Buffer // from cluster 2 on
	at    time.Time
}

// writeFAT writes a volume of sectors that lies at sector start of the disk, with the files in it.
func writeFAT(w io.WriterAt, start, sectors int64, id uint32, label string, files []rootfs.File, at time.Time) error {
	// Each table entry is four bytes and stands for one sector of data, in two tables.
	tableSectors := (sectors-fatReserved)*4/(sectorSize+8) + 1
	clusters := sectors - fatReserved - 2*tableSectors
	f := &fat{table: []uint32{0x0ffffff8, fatEnd}, at: at.UTC()}
	// The root directory comes first, though its content is known last: all its entries fit into one cluster.
	f.store(make([]byte, sectorSize))
	root, err := f.directory("/", 0, files)
	if err != nil {
		return err
	}
	root = append(f.entry(label, 0x08, 0, 0), root...)
	if len(root) > sectorSize || int64(len(f.table)-2) > clusters {
		return fmt.Errorf("write FAT volume %s: it is full", label)
	}
	copy(f.data.Bytes(), root)

	boot := make([]byte, sectorSize)
	copy(boot, "\xeb\x58\x90MSWIN4.1")
	le.PutUint16(boot[11:], sectorSize)
	boot[13] = 1 // sectors in a cluster
	le.PutUint16(boot[14:], fatReserved)
	boot[16] = 2 // tables
	boot[21] = 0xf8
	le.PutUint16(boot[24:], 63)
	le.PutUint16(boot[26:], 255)
	le.PutUint32(boot[28:], uint32(start))        //nolint:gosec // near the start of the disk
	le.PutUint32(boot[32:], uint32(sectors))      //nolint:gosec // 64 MiB of them
	le.PutUint32(boot[36:], uint32(tableSectors)) //nolint:gosec // less
	le.PutUint32(boot[44:], 2)                    // the root directory's cluster
	le.PutUint16(boot[48:], 1)                    // the information sector
	le.PutUint16(boot[50:], 6)                    // the copies
	boot[64], boot[66] = 0x80, 0x29
	le.PutUint32(boot[67:], id)
	copy(boot[71:], fmt.Sprintf("%-11sFAT32   ", label))
	boot[510], boot[511] = 0x55, 0xaa

	info := make([]byte, sectorSize)
	le.PutUint32(info, 0x41615252)
	le.PutUint32(info[484:], 0x61417272)
	le.PutUint32(info[488:], uint32(clusters)-uint32(len(f.table)-2)) //nolint:gosec // less than the sectors
	le.PutUint32(info[492:], uint32(len(f.table)))                    //nolint:gosec // the same
	info[510], info[511] = 0x55, 0xaa

	table := make([]byte, 0, 4*len(f.table))
	for _, next := range f.table {
		table = le.AppendUint32(table, next)
	}
	for _, piece := range []struct {
		at   int64
		body []byte
	}{
		{0, boot}, {1, info}, {6, boot}, {7, info},
		{fatReserved, table}, {fatReserved + tableSectors, table},
		{fatReserved + 2*tableSectors, f.data.Bytes()},
	} {
		if _, err := w.WriteAt(piece.body, (start+piece.at)*sectorSize); err != nil {
			return err
		}
	}
	return nil
}

// store puts a body into the next clusters and returns the first; none for an empty one.
func (f *fat) store(body []byte) uint32 {
	if len(body) == 0 {
		return 0
	}
	first := uint32(len(f.table)) //nolint:gosec // 64 MiB of them
	n := (len(body) + sectorSize - 1) / sectorSize
	for i := range n {
		f.table = append(f.table, first+uint32(i)+1) //nolint:gosec // the same
	}
	f.table[len(f.table)-1] = fatEnd
	f.data.Write(body)
	f.data.Write(make([]byte, n*sectorSize-len(body)))
	return first
}

// directory stores what lies below dir and returns its entries, without "." and "..".
func (f *fat) directory(dir string, self uint32, files []rootfs.File) ([]byte, error) {
	var names []string
	for _, file := range files {
		if rest, ok := strings.CutPrefix(file.Path, dir); ok {
			name, _, _ := strings.Cut(rest, "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var entries []byte
	for _, name := range slices.Compact(names) {
		short := shortName(name)
		if short == "" {
			return nil, fmt.Errorf("write FAT volume: %s%s is no 8.3 name", dir, name)
		}
		full := path.Join(dir, name)
		if i := slices.IndexFunc(files, func(file rootfs.File) bool { return file.Path == full }); i >= 0 {
			body := files[i].Body
			entries = append(entries, f.entry(short, 0x20, f.store(body), len(body))...)
			continue
		}
		place := f.store(make([]byte, sectorSize))
		below, err := f.directory(full+"/", place, files)
		if err != nil {
			return nil, err
		}
		below = slices.Concat(f.entry(".", 0x10, place, 0), f.entry("..", 0x10, self, 0), below)
		if len(below) > sectorSize {
			return nil, fmt.Errorf("write FAT volume: too many files in %s", full)
		}
		copy(f.data.Bytes()[(place-2)*sectorSize:], below)
		entries = append(entries, f.entry(short, 0x10, place, 0)...)
	}
	return entries, nil
}

// entry is one of a directory. name is padded already, or shorter than 8.
func (f *fat) entry(name string, attributes byte, cluster uint32, size int) []byte {
	e := make([]byte, 32)
	copy(e, fmt.Sprintf("%-11s", name))
	e[11] = attributes
	day := uint16(max(f.at.Year()-1980, 0)<<9 | int(f.at.Month())<<5 | f.at.Day()) //nolint:gosec // until 2107
	clock := uint16(f.at.Hour()<<11 | f.at.Minute()<<5 | f.at.Second()/2)          //nolint:gosec // a day
	le.PutUint16(e[14:], clock)                                                    // made
	le.PutUint16(e[16:], day)
	le.PutUint16(e[18:], day)                 // read
	le.PutUint16(e[20:], uint16(cluster>>16)) //nolint:gosec // 16 bits are left
	le.PutUint16(e[22:], clock)               // written
	le.PutUint16(e[24:], day)
	le.PutUint16(e[26:], uint16(cluster)) //nolint:gosec // the low half
	le.PutUint32(e[28:], uint32(size))    //nolint:gosec // below 64 MiB
	return e
}

// shortName is a name as an entry holds it: "GRUBX64 EFI"; empty when it has no such form.
func shortName(name string) string {
	base, ext, _ := strings.Cut(strings.ToUpper(name), ".")
	if base == "" || len(base) > 8 || len(ext) > 3 || strings.Contains(ext, ".") {
		return ""
	}
	return fmt.Sprintf("%-8s%-3s", base, ext)
}
