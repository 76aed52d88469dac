package datadisk

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// SuperblockSize is how many bytes of a device's beginning Superblock looks at.
const SuperblockSize = 4 * kib

// Superblock reads the label and the UUID of the ext4 or xfs whose device begins with these bytes; both are empty when there
// is neither. blkid is not asked for them: it finds nothing, and no fault either, on a device that it cannot read.
func Superblock(begin []byte) (label, uuid string) {
	if len(begin) < SuperblockSize {
		return "", ""
	}
	ext4 := begin[1024:] // https://docs.kernel.org/filesystems/ext4/super.html
	switch {
	case binary.LittleEndian.Uint16(ext4[0x38:]) == 0xef53:
		return text(ext4[0x78:0x88]), dashed(ext4[0x68:0x78])
	case string(begin[:4]) == "XFSB": // struct xfs_dsb
		return text(begin[108:120]), dashed(begin[32:48])
	}
	return "", ""
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

func dashed(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
