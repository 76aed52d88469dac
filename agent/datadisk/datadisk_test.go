package datadisk

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

var update = flag.Bool("update", false, "write testdata anew")

const (
	one = "6a5c7d9e-0000-4000-8000-000000000001"
	two = "6a5c7d9e-0000-4000-8000-000000000002"
)

var (
	own     = Device{Name: "/dev/vdb", Serial: "virtio-DATA", Label: Label, UUID: one}
	copied  = Device{Name: "/dev/vdc", Serial: "virtio-SNAP", Label: Label, UUID: one}
	other   = Device{Name: "/dev/vdc", Serial: "virtio-OTHER", Label: Label, UUID: two}
	empty   = Device{Name: "/dev/vdd", Serial: "virtio-EMPTY", Attached: "boot 4"}
	second  = Device{Name: "/dev/vde"}
	theirs  = Device{Name: "/dev/vdf", Kind: "xfs", UUID: two}
	raw     = Device{Name: "/dev/vdg", Data: "at byte 67108864", Attached: "boot 7"}
	broken  = Device{Name: "/dev/vdh", Serial: "virtio-BROKEN", Failed: syscall.EIO}
	seed    = Device{Name: "/dev/vdi", Kind: "iso9660", Label: "cidata", Seed: true}
	root    = Device{Name: "/dev/vda", Kind: "gpt", Not: "has partitions"}
	mounted = Device{Name: "/dev/vdj", Kind: "ext4", InUse: true}
	held    = Device{Name: "/dev/vdk", InUse: true}
	stick   = Device{Name: "/dev/sdb", Removable: true}
	noted   = Note{UUID: one, Disk: "virtio-DATA"}
	making  = Note{UUID: one, Making: "boot 7"}
	auto    = Wish{Version: 17}
)

func wish(d Device) Wish { return Wish{Disk: d.Name, Version: 17} }

// Every answer there is, word by word: testdata/answers.
func TestAnswers(t *testing.T) {
	had, below, adopting := auto, auto, auto
	had.Had, below.Below, adopting.Adopting = true, "/var/lib/postgresql/17/main", true
	adoptNamed := wish(theirs)
	adoptNamed.Adopting = true
	adoptEmpty := wish(empty)
	adoptEmpty.Adopting = true
	hadNamed := wish(empty)
	hadNamed.Had = true
	var got strings.Builder
	for _, tt := range []struct {
		name string
		note Note
		wish Wish
		all  []Device
	}{
		{"its own", noted, auto, []Device{root, own, empty}},
		{"its own, and one that cannot be read", noted, auto, []Device{own, broken}},
		{"a copy, and one that cannot be read", noted, auto, []Device{copied, broken}},
		{"moved to another disk", noted, auto, []Device{copied, empty}},
		{"its own, and another machine's", noted, auto, []Device{own, other}},
		{"its own, which was being made", making, auto, []Device{own, empty}},
		{"a copy", noted, auto, []Device{own, copied}},
		{"another machine's in its place", noted, auto, []Device{other, empty}},
		{"not attached", noted, auto, []Device{root, empty}},
		{"not attached, named", noted, wish(empty), []Device{root, empty}},
		{"cannot be read", noted, auto, []Device{broken, empty, other}},
		{"not noted", Note{}, auto, []Device{own, empty}},
		{"not noted, and a copy", Note{}, auto, []Device{own, copied}},
		{"not noted, and another machine's", Note{}, auto, []Device{own, other}},
		{"given up, another one", Note{UUID: one, GivenUp: true}, auto, []Device{other}},
		{"given up, a blank one", Note{UUID: one, GivenUp: true}, had, []Device{empty}},
		{"had one", Note{}, had, []Device{empty}},
		{"had one, a blank one is named", Note{}, hadNamed, []Device{empty}},
		{"had one, one cannot be read", Note{}, had, []Device{empty, broken}},
		{"first boot, one cannot be read", Note{}, auto, []Device{empty, broken}},
		{"first boot, the named one cannot be read", Note{}, wish(broken), []Device{broken}},
		{"first boot, one is blank", Note{}, auto, []Device{root, seed, empty, theirs}},
		{"first boot, two are blank", Note{}, auto, []Device{root, seed, empty, second}},
		{"first boot, none is blank", Note{}, auto, []Device{root, seed, theirs, mounted, held, stick}},
		{"first boot, two are full", Note{}, auto, []Device{theirs, raw}},
		{"first boot, no disk", Note{}, auto, nil},
		{"first boot, a database on the root disk", Note{}, below, []Device{empty}},
		{"named, blank", Note{}, wish(empty), []Device{root, empty, second}},
		{"named, not there", Note{}, wish(empty), []Device{root, second}},
		{"named, full", Note{}, wish(theirs), []Device{theirs, empty}},
		{"named, without a signature", Note{}, wish(raw), []Device{raw}},
		{"named, the seed", Note{}, wish(seed), []Device{seed, empty}},
		{"named, mounted", Note{}, wish(mounted), []Device{mounted}},
		{"named, in use", Note{}, wish(held), []Device{held}},
		{"named, with partitions", Note{}, wish(root), []Device{root, empty}},
		{"named, a stick", Note{}, wish(stick), []Device{stick}},
		{"cut short", making, auto, []Device{root, raw}},
		{"cut short, named", making, wish(raw), []Device{raw, empty}},
		{"cut short by a boot", Note{UUID: one, Making: "before 7"}, auto, []Device{root, raw}},
		{"cut short by a boot, named", Note{UUID: one, Making: "before 7"}, wish(raw), []Device{raw}},
		{"adopting", Note{}, adopting, []Device{empty}},
		{"adopting, named", Note{}, adoptNamed, []Device{theirs}},
		{"adopting, named, blank", Note{}, adoptEmpty, []Device{empty}},
	} {
		fmt.Fprintf(&got, "%s:\n  %s\n", tt.name, answer(tt.note, tt.wish, tt.all))
	}
	if *update {
		if err := os.WriteFile("testdata/answers", []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/answers")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("-update writes testdata/answers anew\n%s", got.String())
	}
}

func answer(note Note, w Wish, all []Device) string {
	ours, beside, err := Ours(note, all)
	switch {
	case err != nil:
		return err.Error()
	case ours != nil && len(beside) > 0:
		return fmt.Sprintf("mount %s, leave %s alone", *ours, names(beside))
	case ours != nil:
		return fmt.Sprintf("mount %s", *ours)
	}
	dev, err := Blank(w, note, all)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("format %s", dev)
}

// Nothing that failed to be read, that has anything on it, or that somebody has is ever formatted, whatever is noted and asked for.
func TestNeverFormatted(t *testing.T) {
	all := []Device{own, copied, other, empty, second, theirs, raw, broken, seed, root, mounted, held, stick}
	notes := []Note{{}, noted, making, {UUID: two, GivenUp: true}}
	for i := range 1 << len(all) {
		var some []Device
		for bit, d := range all {
			if i&(1<<bit) != 0 {
				some = append(some, d)
			}
		}
		for _, note := range notes {
			for w := range len(some) + 1 {
				asked := auto
				if w < len(some) {
					asked = wish(some[w])
				}
				if ours, _, err := Ours(note, some); ours != nil || err != nil {
					continue
				}
				dev, err := Blank(asked, note, some)
				if err != nil {
					continue
				}
				proved := dev.Name == empty.Name || dev.Name == second.Name || dev.Name == stick.Name && asked.Disk == stick.Name ||
					dev.Name == raw.Name && note.Making == raw.Attached
				if !proved || len(unread(some)) > 0 || note.Mounted() != "" {
					t.Fatalf("%s is formatted; noted is %+v, asked for %+v, there are %v", dev, note, asked, some)
				}
			}
		}
	}
}

// TestPlaces: in order, without overlap, both ends, and never more than a slow disk reads in some seconds.
func TestPlaces(t *testing.T) {
	for _, size := range []int64{512, 4096, mib, 32 * mib, 32*mib + 512, 10 * gib, tib, 16 * tib} {
		places := Places(size)
		var end, sum int64
		for _, p := range places {
			if p.At < end || p.Size <= 0 || p.At+p.Size > size || p.At%512 != 0 {
				t.Fatalf("%d: %+v after %d", size, p, end)
			}
			end, sum = p.At+p.Size, sum+p.Size
		}
		if places[0].At != 0 || places[0].Size < min(size, ends) || end != size || sum > 64*mib {
			t.Errorf("%d: from %d to %d, %d MiB", size, places[0].At, end, sum/mib)
		}
	}
	// What lies there: see the comment of fixed.
	for _, at := range []int64{64*mib + 64, 256*gib + 64, 512 * gib, 128*mib + 1024, 6272 * mib} {
		found := false
		for _, p := range Places(tib) {
			found = found || p.At <= at && at < p.At+p.Size
		}
		if !found {
			t.Errorf("nothing is read at %d", at)
		}
	}
}

// What is too short or nothing has no name.
func TestNoSuperblock(t *testing.T) {
	for _, begin := range [][]byte{nil, make([]byte, 512), make([]byte, SuperblockSize)} {
		if label, uuid := Superblock(begin); label+uuid != "" {
			t.Errorf("%d bytes: %q, %q", len(begin), label, uuid)
		}
	}
	if !errors.Is(lost([]Device{broken}), syscall.EIO) {
		t.Error("the cause is lost")
	}
}
