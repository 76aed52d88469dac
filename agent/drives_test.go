package agent

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pgbake/pgbake/agent/datadisk"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// machineDisks gives a machine disks: each a file below /dev with what lies on it, and what the kernel says of it.
func machineDisks(t *testing.T, root string, disks map[string]string) {
	t.Helper()
	for name, what := range disks {
		file := filepath.Join(root, "dev", name)
		put(t, root, "dev/"+name, string(make([]byte, 8<<20)))
		for key, value := range map[string]string{"size": "16384", "ro": "0", "removable": "0", "device/vendor": "test"} {
			put(t, root, "sys/block/"+name+"/"+key, value+"\n")
		}
		label, words, _ := strings.Cut(what, " ")
		switch label {
		case "blank":
		case "ext4":
			if err := (run.System{}).Run(t.Context(), run.Command("mkfs.ext4", "-q", "-L", words, file)); err != nil {
				t.Fatal(err)
			}
		case "iso":
			volume(t, file, words)
		case "zeroless":
			write(t, file, 4096, "somebody's")
		case "tail":
			write(t, file, 8<<20-10, "somebody's")
		default: // of the kernel: ro, removable, holders/dm-0, vda1/partition
			put(t, root, "sys/block/"+name+"/"+label, "1\n")
		}
	}
	put(t, root, "etc/passwd", "postgres:x:0:0::/:/bin/sh\n")
	put(t, root, "etc/group", "postgres:x:0:\n")
	put(t, root, "dev/disk/by-id/of", "")
	if err := os.Symlink("../../vdb", filepath.Join(root, "dev/disk/by-id/virtio-DATA")); err != nil {
		t.Fatal(err)
	}
	// What is no disk.
	put(t, root, "sys/block/loop0/size", "16384\n")
	put(t, root, "sys/block/sr0/device/vendor", "test\n")
	put(t, root, "sys/block/sr0/size", "16384\n")
}

// volume makes a file an ISO 9660 volume of a name, as far as blkid looks.
func volume(t *testing.T, file, name string) {
	t.Helper()
	descriptor := []byte("\x01CD001\x01\x00" + strings.Repeat(" ", 32) + name + strings.Repeat(" ", 32-len(name)))
	write(t, file, 32768, string(descriptor))
	write(t, file, 34816, "\xffCD001\x01")
}

func write(t *testing.T, file string, at int64, body string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // what was not written the test misses
	if _, err := f.WriteAt([]byte(body), at); err != nil {
		t.Fatal(err)
	}
}

// TestDataDiskIsFoundByWhatItIs: which disk becomes the database's, or why none does. Whatever is refused is not touched.
func TestDataDiskIsFoundByWhatItIs(t *testing.T) {
	for _, program := range []string{"blkid", "mkfs.ext4"} {
		if _, err := exec.LookPath(program); err != nil {
			need(t, program+" (apt install util-linux e2fsprogs)")
		}
	}
	const auto = cluster.AnyDisk
	root := "vda1/partition"
	for name, tt := range map[string]struct {
		dev   string
		disks map[string]string
		// is the disk that becomes the database's, "" when none does; says are then the words of why.
		is   string
		says []string
	}{
		"auto, behind the seed":            {auto, map[string]string{"vda": root, "vdb": "iso cidata", "vdc": "blank"}, "vdc", nil},
		"auto, before the seed":            {auto, map[string]string{"vda": root, "vdb": "blank", "vdc": "iso CIDATA"}, "vdb", nil},
		"auto, by Ignition's config drive": {auto, map[string]string{"sda": root, "nvme0n1": "iso config-2", "nvme1n1": "blank"}, "nvme1n1", nil},
		"auto, none":                       {auto, map[string]string{"vda": root, "vdb": "iso cidata"}, "", []string{"no disk is blank: /dev/vda has partitions, /dev/vdb is the seed\n", "hint: attach an empty disk"}},
		"auto, somebody's":                 {auto, map[string]string{"vda": root, "vdb": "ext4 theirs"}, "", []string{"/dev/vdb is not blank (ext4)"}},
		"auto, two":                        {auto, map[string]string{"vda": root, "vdb": "blank", "vdc": "blank"}, "", []string{"more than one disk is blank: /dev/vdb (virtio-DATA) and /dev/vdc\n", "hint: detach"}},
		"auto, data without a signature":   {auto, map[string]string{"vdb": "zeroless"}, "", []string{"/dev/vdb is not blank (data at byte 4096, without a signature)"}},
		"auto, data at the end":            {auto, map[string]string{"vdb": "tail"}, "", []string{"/dev/vdb is not blank (data at byte 8388598, without a signature)"}},
		"auto, read-only":                  {auto, map[string]string{"vdb": "ro"}, "", []string{"/dev/vdb is read-only"}},
		"auto, a stick":                    {auto, map[string]string{"sdb": "removable"}, "", []string{"/dev/sdb can be taken out"}},
		"auto, of a volume group":          {auto, map[string]string{"vdb": "holders/dm-0"}, "", []string{"/dev/vdb is part of another device"}},
		"auto, ours already":               {auto, map[string]string{"vdb": "blank", "vdc": "ext4 pgha-data"}, "ours", nil},
		"named, ours under another name":   {"/dev/vdb", map[string]string{"vdb": "blank", "vdc": "ext4 pgha-data"}, "ours", nil},
		"named, ours twice":                {"/dev/vdb", map[string]string{"vdb": "ext4 pgha-data", "vdc": "ext4 pgha-data"}, "", []string{"more than one has the label pgha-data: /dev/vdb (virtio-DATA) and /dev/vdc; nothing is mounted, nothing is written\n"}},
		"named, blank":                     {"/dev/vdb", map[string]string{"vdb": "blank", "vdc": "blank"}, "vdb", nil},
		"named, the seed":                  {"/dev/vdb", map[string]string{"vdb": "iso cidata", "vdc": "blank"}, "", []string{"/dev/vdb is the seed (iso9660, cidata)", "hint: /dev/vdc is blank: storage.data_disk: /dev/vdc, or auto"}},
		"named, the seed and no other":     {"/dev/vdb", map[string]string{"vdb": "iso cidata"}, "", []string{"/dev/vdb is the seed", "hint: attach an empty disk"}},
		"named, somebody's":                {"/dev/vdb", map[string]string{"vdb": "ext4 theirs"}, "", []string{"/dev/vdb is not blank (ext4) and is left alone", "mkfs.ext4 -L pgha-data /dev/vdb"}},
		"named, data without a signature":  {"/dev/vdb", map[string]string{"vdb": "zeroless"}, "", []string{"/dev/vdb is not blank (data at byte 4096, without a signature) and is left alone"}},
		"named, data at the end":           {"/dev/vdb", map[string]string{"vdb": "tail"}, "", []string{"/dev/vdb is not blank (data at byte 8388598, without a signature) and is left alone"}},
		"named, not there":                 {"/dev/vdd", map[string]string{"vdb": "blank"}, "", []string{"there is no /dev/vdd\n", "hint: /dev/vdb is blank"}},
		"named, by another name":           {"/dev/disk/by-id/virtio-DATA", map[string]string{"vdb": "blank", "vdc": "blank"}, "vdb", nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := testWork(t)
			machineDisks(t, w.Root, tt.disks)
			before := map[string][]byte{}
			for disk := range tt.disks {
				before[disk] = []byte(readAll(t, filepath.Join(w.Root, "dev", disk)))
			}
			dev := tt.dev
			if dev != auto {
				dev = filepath.Join(w.Root, dev)
			}
			err := w.prepareDisk(t.Context(), dev)
			said := ""
			if err != nil {
				said = strings.ReplaceAll(err.Error(), w.Root, "")
			}
			for _, words := range tt.says {
				if !strings.Contains(said+"\n", words) {
					t.Errorf("got %q, without %q", said, words)
				}
			}
			if (tt.is == "") != (err != nil) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(said, "seed") && strings.Contains(said, "mkfs") {
				t.Errorf("it says how to destroy the seed: %s", said)
			}
			for disk := range tt.disks {
				file := filepath.Join(w.Root, "dev", disk)
				if same := bytes.Equal(before[disk], []byte(readAll(t, file))); same != (disk != tt.is) {
					t.Errorf("%s: touched %t", disk, !same)
				}
				if label, kind, err := signature(t.Context(), w.Runner, file); disk == tt.is && (label != datadisk.Label || kind != "ext4" || err != nil) {
					t.Errorf("%s has %q %q, %v", disk, label, kind, err)
				}
			}
		})
	}
}

// A machine whose data disk is gone does not begin anew on a blank one by itself, however the disk is named.
func TestLostDataDiskIsNotReplacedOnAGuess(t *testing.T) {
	const noted = `{"uuid":"6a5c7d9e-0000-4000-8000-000000000001","disk":"virtio-OLD"}`
	for name, tt := range map[string]struct{ file, body, says string }{
		"it had one":            {"etc/systemd/system/" + dataMount, "", "this machine had one, or a database, and no disk has its label, pgha-data"},
		"it was a member":       {memoryFile, `{"etcd":"1","system":"2"}`, "this machine had one, or a database, and no disk has its label, pgha-data"},
		"it noted one":          {diskNoteFile, noted, "not attached (UUID 6a5c7d9e-0000-4000-8000-000000000001, on virtio-OLD when it was first mounted)"},
		"a note of half a line": {diskNoteFile, "{", "read which disk is this machine's data disk: " + diskNoteFile},
	} {
		for _, wish := range []string{cluster.AnyDisk, "/dev/vdb"} {
			t.Run(name+", "+wish, func(t *testing.T) {
				w := testWork(t)
				machineDisks(t, w.Root, map[string]string{"vdb": "blank"})
				put(t, w.Root, tt.file, tt.body)
				if wish != cluster.AnyDisk {
					wish = filepath.Join(w.Root, wish)
				}
				if err := w.prepareDisk(t.Context(), wish); err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v", err)
				}
				if body := readAll(t, filepath.Join(w.Root, "dev/vdb")); strings.Trim(body, "\x00") != "" {
					t.Error("something was written")
				}
				// The way out, in so many words.
				if err := writeDiskNote(w.Root, datadisk.Note{GivenUp: true}); err != nil {
					t.Fatal(err)
				}
				if err := w.prepareDisk(t.Context(), wish); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func readAll(t *testing.T, file string) string {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// What is mounted is in use, to the kernel's own word: nothing proposes to wipe it, and nothing takes it for the database.
func TestDiskInUse(t *testing.T) {
	if os.Geteuid() != 0 {
		need(t, "root, for a loop device")
	}
	w := testWork(t)
	put(t, w.Root, "image", string(make([]byte, 16<<20)))
	out, err := exec.CommandContext(t.Context(), "losetup", "--find", "--show", filepath.Join(w.Root, "image")).Output()
	if err != nil {
		need(t, "a loop device: "+err.Error())
	}
	dev, dir := strings.TrimSpace(string(out)), filepath.Join(w.Root, "mounted")
	do := func(args ...string) {
		t.Helper()
		if err := w.Runner.Run(context.WithoutCancel(t.Context()), run.Command(args...)); err != nil {
			t.Error(err)
		}
	}
	defer do("losetup", "--detach", dev)
	put(t, w.Root, "dev/vdc", string(make([]byte, 8<<20)))
	for key, value := range map[string]string{"size": "16384", "ro": "0", "removable": "0", "device/vendor": "test"} {
		put(t, w.Root, "sys/block/vdc/"+key, value+"\n")
	}
	if data, err := firstData(dev); data != "" || err != nil {
		t.Errorf("a blank disk: %q, %v", data, err)
	}
	put(t, w.Root, "mounted/empty", "")
	do("mkfs.ext4", "-q", dev)
	do("mount", dev, dir)
	defer do("umount", dir)
	if _, err := firstData(dev); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("a mounted disk: %v", err)
	}
	_, err = w.blankDisk(t.Context(), dev, datadisk.Note{}, drivesOf(t, w))
	if err == nil || !strings.Contains(err.Error(), dev+" is in use (ext4) and is left alone\n      hint: /dev/vdc is blank") || strings.Contains(err.Error(), "mkfs") {
		t.Errorf("got %v", err)
	}
}

func drivesOf(t *testing.T, w *work) []drive {
	t.Helper()
	all, err := w.drives()
	if err != nil {
		t.Fatal(err)
	}
	return all
}
