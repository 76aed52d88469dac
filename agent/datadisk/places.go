package datadisk

import "slices"

// Span is a part of a disk, in bytes.
type Span struct{ At, Size int64 }

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

const (
	// ends is how much of the beginning and of the end is read. Almost everything that lies on a disk has something there:
	// partition tables and their copies, the first partition (1 MiB), LVM (within 2 KiB), LUKS (its second header within
	// 4 MiB), btrfs (64 KiB), the four labels of ZFS (256 KiB each, two at either end), md (0.90 within the last 128 KiB,
	// 1.0 within the last 16 KiB, 1.1 and 1.2 within the first 8 KiB), BIOS RAID and DRBD (at the end).
	ends = 16 * mib
	// sample is how much is read at every other place, and samples how many there are, equally far from each other. They
	// find what lost both of its ends, as a disk whose beginning somebody has overwritten by mistake.
	sample, samples = 64 * kib, 256
)

// fixed are where file systems keep copies of their superblocks: btrfs at 64 MiB and 256 GiB, and at 512 GiB and 4 TiB on a
// zoned disk; ext4, with blocks of 4 KiB, in its groups 1, 3, 5, 7, 9, 25, 27 and 49, of 128 MiB each.
var fixed = []int64{
	64 * mib, 256 * gib, 512 * gib, 4 * tib,
	128 * mib, 3 * 128 * mib, 5 * 128 * mib, 7 * 128 * mib, 9 * 128 * mib, 25 * 128 * mib, 27 * 128 * mib, 49 * 128 * mib,
}

// Places are the parts of a disk of so many bytes that must hold nothing but zeros before it counts as blank: some 50 MiB,
// which a slow disk reads in a few seconds. To read all of a disk would take hours. They are in order and do not overlap.
func Places(size int64) []Span {
	if size <= 2*ends {
		return []Span{{0, size}}
	}
	at := slices.Clone(fixed)
	for i := range int64(samples) {
		at = append(at, size/samples*i/sample*sample)
	}
	slices.Sort(at)
	all := []Span{{0, ends}}
	for _, a := range slices.Compact(at) {
		if a >= ends && a+sample <= size-ends {
			all = append(all, Span{a, sample})
		}
	}
	return append(all, Span{size - ends, ends})
}
