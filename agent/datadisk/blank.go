package datadisk

import (
	"errors"
	"fmt"
	"strings"
)

// Wish is what is asked for where a machine has no data disk yet.
type Wish struct {
	// Disk is the Name of the device that storage.data_disk names; empty with auto, the machine's only blank disk.
	Disk string
	// Version is PostgreSQL's; Adopting tells that the database to adopt lies on the disk.
	Version  int
	Adopting bool
	// Below is a database that lies on the root disk, where the data disk would be mounted; empty when there is none.
	Below string
	// Had tells that this machine had a data disk, or was a member of a cluster, whatever its note says.
	Had bool
}

// Blank is the device that may be formatted. Every error means that nothing is written to any disk.
func Blank(w Wish, note Note, all []Device) (Device, error) {
	dev, err := named(w, all)
	switch {
	case err != nil:
		return Device{}, err
	case w.Below != "":
		return Device{}, fmt.Errorf("a database lies in %s on the root disk; a data disk mounted there would hide it\n"+
			"      hint: take storage.data_disk out of cluster.yaml, or move the data first", w.Below)
	case w.Had && !note.GivenUp && note.Making == "":
		return Device{}, lost(all)
	case len(unread(all)) > 0:
		failed := unread(all)
		return Device{}, fmt.Errorf("find the data disk: %s cannot be read, and may have a database on it: %w; no disk is formatted%s\n"+
			"            when it is broken for good, detach it; where that cannot be, make the file system on the data disk by hand: mkfs.ext4 -L %s DISK",
			names(failed), failed[0].Failed, faultHint, Label)
	case w.Disk != "":
		return dev, refuse(dev, w, note, all)
	}
	return only(w, note, all)
}

// lost refuses a blank disk in the place of one that had a database. That would be an empty database, on a guess.
func lost(all []Device) error {
	if failed := unread(all); len(failed) > 0 {
		return fmt.Errorf("find the data disk: this machine had one, no disk has its label, %s, and %s cannot be read: %w; %s%s",
			Label, names(failed), failed[0].Failed, nothing, faultHint)
	}
	return fmt.Errorf("find the data disk: this machine had one, or a database, and no disk has its label, %s; %s\n"+
		"      hint: attach it; or, when it is lost for good and an empty one is to take its place: %s", Label, nothing, giveUp)
}

// named is the device that storage.data_disk names.
func named(w Wish, all []Device) (Device, error) {
	for _, d := range all {
		if d.Name == w.Disk {
			return d, nil
		}
	}
	if w.Disk == "" {
		return Device{}, nil
	}
	return Device{}, fmt.Errorf("find the data disk: there is no %s\n      hint: %s", w.Disk, another(w, Note{}, all))
}

// refuse is why a device that is named cannot be formatted; nil when it can.
func refuse(d Device, w Wish, note Note, all []Device) error {
	what := d.Kind
	if what == "" && d.Data != "" {
		what = "data " + d.Data + ", without a signature"
	}
	switch {
	case d.Seed:
		return fmt.Errorf("%s is the seed (%s, %s) and is left alone\n      hint: %s", d.Name, d.Kind, d.Label, another(w, note, all))
	case d.InUse && d.Kind != "":
		return fmt.Errorf("%s is in use (%s) and is left alone\n      hint: %s", d.Name, d.Kind, another(w, note, all))
	case d.InUse:
		return fmt.Errorf("%s is in use and is left alone\n      hint: %s", d.Name, another(w, note, all))
	case d.Kind != "" && w.Adopting:
		return fmt.Errorf("%s is not blank (%s) and is left alone\n      hint: when the database to adopt lies on it, in %d/main: e2label %[1]s %[4]s",
			d.Name, d.Kind, w.Version, Label)
	case w.Adopting:
		return fmt.Errorf("%s has no file system, and the database to adopt lies on one\n      hint: name the disk that it lies on", d.Name)
	case d.Not != "":
		return fmt.Errorf("%s %s and is left alone\n      hint: %s", d.Name, d.Not, another(w, note, all))
	case what != "" && !begun(d, note):
		return fmt.Errorf("%s is not blank (%s) and is left alone\n      hint: give this machine an empty disk, or, when nothing on it is needed, "+
			"make the file system by hand: mkfs.ext4 -L %s %[1]s%[4]s", d.Name, what, Label, cut(note))
	}
	return nil
}

// begun tells whether what lies on a device is what pgha itself began to write there, on a disk that it had proved blank: the
// kernel says that the disk was attached all the while.
func begun(d Device, note Note) bool {
	return note.Making != "" && d.Attached == note.Making && d.Kind == ""
}

// cut tells of a file system that was begun before the machine was switched off. Which disk that was nobody can prove.
func cut(note Note) string {
	if note.Making == "" {
		return ""
	}
	return "\n            pgha was making a file system on a blank disk of this machine when it was stopped; this may be that disk"
}

// unfit is why a device is not one that auto means, as words behind its name; empty when it is.
func unfit(d Device, note Note) string {
	switch {
	case d.Seed:
		return "is the seed"
	case d.Not != "":
		return d.Not
	case d.InUse:
		return "is in use"
	case d.Kind != "":
		return "is not blank (" + d.Kind + ")"
	case d.Removable:
		return "can be taken out"
	case d.Data != "" && !begun(d, note):
		return "is not blank (data " + d.Data + ", without a signature)"
	}
	return ""
}

// only is the disk that storage.data_disk: auto means: the only blank one.
func only(w Wish, note Note, all []Device) (Device, error) {
	const is = "storage.data_disk is auto"
	free := filter(all, func(d Device) bool { return unfit(d, note) == "" })
	switch {
	case w.Adopting:
		return Device{}, fmt.Errorf("find the data disk: %s, and no disk has the label %s\n"+
			"      hint: the database to adopt lies on one, in %d/main: e2label DISK %[2]s", is, Label, w.Version)
	case len(free) > 1:
		return Device{}, fmt.Errorf("find the data disk: %s, and more than one disk is blank: %s\n"+
			"      hint: detach what is not for the database, or name the one that is: storage.data_disk: /dev/disk/by-id/…", is, names(free))
	case len(free) == 1:
		return free[0], nil
	case len(all) == 0:
		return Device{}, errors.New("find the data disk: " + is + ", and this machine has no disk\n      hint: attach an empty disk to this machine")
	}
	var each []string
	for _, d := range all {
		each = append(each, d.Name+" "+unfit(d, note))
	}
	hint := "attach an empty disk to this machine"
	if full := filter(all, overwritable); len(full) == 1 {
		hint += fmt.Sprintf(", or, when nothing on %s is needed, make the file system by hand: mkfs.ext4 -L %s %[1]s%[3]s", full[0].Name, Label, cut(note))
	}
	return Device{}, fmt.Errorf("find the data disk: %s, and no disk is blank: %s\n      hint: %s", is, strings.Join(each, ", "), hint)
}

// overwritable tells whether an owner may want to overwrite what is on a device: nothing uses it, and it is no seed.
func overwritable(d Device) bool {
	return d.Not == "" && !d.Seed && !d.InUse && !d.Removable && (d.Kind != "" || d.Data != "")
}

// another says what to write in place of a disk that cannot be meant.
func another(w Wish, note Note, all []Device) string {
	if free := filter(all, func(d Device) bool { return d.Name != w.Disk && unfit(d, note) == "" }); len(free) == 1 {
		return fmt.Sprintf("%s is blank: storage.data_disk: %[1]s, or auto, which takes the one that is", free[0].Name)
	}
	return "attach an empty disk to this machine, and name it in storage.data_disk: /dev/disk/by-id/…"
}
