package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/agent/datadisk"
)

// Reading of disks that proves something: past the kernel's cache, so that the disk itself answers, and every fault is one.

// openDisk opens a device for reading. With O_EXCL in how it is EBUSY while the kernel lets nobody else have it.
func openDisk(path string, how int) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeDevice != 0 { // not every file system reads a file so
		how |= unix.O_DIRECT
	}
	return os.OpenFile(path, os.O_RDONLY|how, 0)
}

// direct is memory of so many bytes as O_DIRECT wants it: at the beginning of a page.
func direct(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

// readBegin reads the first bytes of a device, enough for datadisk.Superblock; fewer of a device that has no more.
func readBegin(path string) ([]byte, error) {
	f, err := openDisk(path, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	buf, err := direct(datadisk.SuperblockSize)
	if err != nil {
		return nil, err
	}
	defer unix.Munmap(buf) //nolint:errcheck // mapped above
	n, err := f.ReadAt(buf, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return bytes.Clone(buf[:n]), err
}

// firstData is where a device has a byte that is not zero, in words, at those places where anything has one; empty when it has
// none. Every one of them was read then. EBUSY is a device in use.
func firstData(path string) (string, error) {
	f, err := openDisk(path, unix.O_EXCL)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	buf, err := direct(1 << 20)
	if err != nil {
		return "", err
	}
	defer unix.Munmap(buf) //nolint:errcheck // mapped above
	for _, p := range datadisk.Places(size) {
		for at := p.At; at < p.At+p.Size; at += int64(len(buf)) {
			part := buf[:min(int64(len(buf)), p.At+p.Size-at)]
			if _, err := f.ReadAt(part, at); err != nil {
				return "", err
			}
			if i := slices.IndexFunc(part, func(b byte) bool { return b != 0 }); i >= 0 {
				return fmt.Sprintf("at byte %d", at+int64(i)), nil
			}
		}
	}
	return "", nil
}
