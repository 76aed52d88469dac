// Package datadisk decides which disk of a machine is its database's, and whether one may be formatted to become it.
//
// In comes what was read of the machine's block devices at this moment, and what the machine noted when it mounted its
// data disk for the first time; out goes a device, or the reason why there is none. It reads no device and writes none.
package datadisk

import (
	"cmp"
	"fmt"
	"strings"
)

// Label is the label of the file system on a data disk. pgha gives it to a disk that it formats; an owner may do so as well.
const Label = "pgha-data"

// Device is a block device as it was read at this moment. Names are paths below /dev.
type Device struct {
	Name string
	// Serial is what tells the disk from others of its kind, whatever it is called today: its name below /dev/disk/by-id,
	// else its serial number; empty when it has neither.
	Serial string
	// Label and UUID are those of the ext4 or xfs on it, read from its superblock; empty when there is none.
	Label, UUID string
	// Failed is why it could not be read.
	Failed error
	// Attached names this attachment of the disk in this boot of the machine, as the kernel numbers them; empty where the
	// kernel does not.
	Attached string

	// What follows is known only of a device that was looked at as one to format.

	// Kind is blkid's word for what is on it; empty when blkid finds nothing.
	Kind string
	// Seed tells that it is what cloud-init or Ignition reads.
	Seed bool
	// InUse tells that the kernel lets nobody else have it: it is mounted, swapped to, or part of another device.
	InUse bool
	// Not is why it cannot be formatted whatever is on it, as words behind its name.
	Not string
	// Removable tells that it can be taken out, as a stick.
	Removable bool
	// Data is where bytes that are not zero were found, as words: "at 64 MiB". Empty means that every place that was read
	// (Places) holds zeros.
	Data string
}

// String is the device's name with its serial.
func (d Device) String() string {
	if d.Serial == "" {
		return d.Name
	}
	return fmt.Sprintf("%s (%s)", d.Name, d.Serial)
}

// Note is what a machine keeps of its data disk, on the root disk. The zero Note is that of a machine that never had one,
// or whose earlier version of pgha kept none.
type Note struct {
	// UUID is the file system's.
	UUID string `json:"uuid,omitempty"`
	// Disk is the device's Serial when it was mounted for the first time. It stands in messages; nothing depends on it.
	Disk string `json:"disk,omitempty"`
	// Making is the Attached of a disk that was proved blank and on which a file system with this UUID was begun. It is
	// empty once that has been mounted.
	Making string `json:"making,omitempty"`
	// GivenUp tells that a person said of the disk that it is lost for good: the next one takes its place.
	GivenUp bool `json:"given_up,omitempty"`
}

// Mounted is the UUID of the file system that was once mounted and is insisted upon; empty when there is none.
func (n Note) Mounted() string {
	if n.Making != "" || n.GivenUp {
		return ""
	}
	return n.UUID
}

// disk is the noted disk for messages.
func (n Note) disk() string {
	if n.Disk == "" {
		return "UUID " + n.UUID
	}
	return fmt.Sprintf("UUID %s, on %s when it was first mounted", n.UUID, n.Disk)
}

// nothing is the end of every message about a disk that may be the wrong one.
const nothing = "nothing is mounted, nothing is written"

// faultHint is for a disk that cannot be read: it may pass, and nobody should give a disk up for that.
const faultHint = "\n      hint: the kernel says why: journalctl --dmesg; a fault may pass, and at boot pgha tries again every ten seconds"

const giveUp = "pgha member set-aside data-disk"

// Ours is the device that is this machine's data disk. None and no error means that the machine has none yet. beside are
// devices that look like one and are another machine's, or an old copy with a UUID of its own: they are to be left alone.
func Ours(note Note, all []Device) (ours *Device, beside []Device, err error) {
	labelled := filter(all, func(d Device) bool { return d.Label == Label })
	same := filter(all, func(d Device) bool { return note.UUID != "" && !note.GivenUp && d.UUID == note.UUID })
	switch {
	case len(same) > 1:
		return nil, nil, copies(note, same)
	case len(same) == 1 && same[0].Serial != note.Disk && note.Mounted() != "" && len(unread(all)) > 0:
		failed := unread(all)
		return nil, nil, fmt.Errorf("mount the data disk: %s has the UUID %s, but may be a copy: this machine's was on %s when it was first mounted, and %s cannot be read: %w; %s%s",
			same[0], note.UUID, cmp.Or(note.Disk, "a disk without a serial number"), names(failed), failed[0].Failed, nothing, faultHint)
	case len(same) == 1 && (note.Mounted() != "" || len(labelled) == 1): // the unit of one never mounted goes by the label
		return &same[0], filter(labelled, func(d Device) bool { return d.UUID != note.UUID }), nil
	case note.Mounted() != "":
		return nil, nil, missing(note, all, labelled)
	case len(labelled) == 0:
		return nil, nil, nil
	case len(labelled) == 1:
		return &labelled[0], nil, nil
	case labelled[0].UUID == labelled[1].UUID:
		return nil, nil, copies(note, labelled)
	}
	return nil, nil, fmt.Errorf("mount the data disk: more than one has the label %s: %s; %s\n      hint: detach the one that is not this machine's",
		Label, names(labelled), nothing)
}

// copies is the refusal of a file system that is there more than once.
func copies(note Note, same []Device) error {
	first := ""
	if note.Disk != "" && note.Mounted() != "" {
		first = "; the one that was first mounted was on " + note.Disk
	}
	return fmt.Errorf("mount the data disk: %s have the same file system, UUID %s: one is a copy of the other, such as a snapshot; %s\n"+
		"      hint: detach the copy%s", names(same), same[0].UUID, nothing, first)
}

// missing says why a disk that was once mounted is not there. One that cannot be read may be it: that may pass, so it comes first.
func missing(note Note, all, labelled []Device) error {
	if failed := unread(all); len(failed) > 0 {
		return fmt.Errorf("find the data disk: %s cannot be read, and may be this machine's (%s): %w; %s%s",
			names(failed), note.disk(), failed[0].Failed, nothing, faultHint)
	}
	if len(labelled) > 0 {
		return fmt.Errorf("mount the data disk: %s has the label %s, and is another disk: its UUID is %s, this machine's has %s; %s\n"+
			"      hint: attach this machine's own disk; or, when that is lost for good and this one is to take its place: %s",
			labelled[0], Label, labelled[0].UUID, note.disk(), nothing, giveUp)
	}
	return fmt.Errorf("find the data disk: this machine's is not attached (%s); %s\n"+
		"      hint: attach it; or, when it is lost for good and another one is to take its place: %s", note.disk(), nothing, giveUp)
}

// unread are the devices that could not be read. What is part of another device answers there.
func unread(all []Device) []Device {
	return filter(all, func(d Device) bool { return d.Failed != nil })
}

func filter(all []Device, is func(Device) bool) (some []Device) {
	for _, d := range all {
		if is(d) {
			some = append(some, d)
		}
	}
	return some
}

// names lists devices as a sentence does.
func names(all []Device) string {
	var list []string
	for _, d := range all {
		list = append(list, d.String())
	}
	if n := len(list); n == 2 {
		return list[0] + " and " + list[1]
	}
	return strings.Join(list, ", ")
}
