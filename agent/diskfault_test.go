package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// faulty is a machine's disk, /dev/vdb, whose reads can fail: a loop device, behind whose back its file is made shorter. The
// kernel then answers EIO, as it does of a broken disk, from the first byte that the file has not.
type faulty struct {
	*testing.T
	*work
	file, dev string
	whole     []byte
}

// newFaulty gives a machine such a disk beside its others. mkfs makes what is on it; none leaves it blank.
func newFaulty(t *testing.T, others map[string]string, mkfs ...string) *faulty {
	t.Helper()
	if os.Geteuid() != 0 {
		need(t, "root, for a loop device")
	}
	f := &faulty{T: t, work: testWork(t)}
	machineDisks(t, f.Root, others)
	f.file = filepath.Join(f.Root, "backing")
	put(t, f.Root, "backing", string(make([]byte, 48<<20)))
	if len(mkfs) > 0 {
		f.sh(append(mkfs, f.file)...)
	}
	f.dev = strings.TrimSpace(f.sh("losetup", "--find", "--show", f.file))
	t.Cleanup(func() { f.sh("losetup", "--detach", f.dev) })
	f.sh("blockdev", "--flushbufs", f.dev) // the kernel may still know what the device was before
	if err := os.Symlink(f.dev, filepath.Join(f.Root, "dev/vdb")); err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{"size": "98304", "ro": "0", "removable": "0", "device/vendor": "test", "diskseq": "7"} {
		put(t, f.Root, "sys/block/vdb/"+key, value+"\n")
	}
	put(t, f.Root, "proc/sys/kernel/random/boot_id", "11111111-2222-4333-8444-555555555555\n")
	return f
}

func (f *faulty) sh(args ...string) string {
	f.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(f.Context()), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		f.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

// fail makes every read from this byte on fail.
func (f *faulty) fail(from int64) {
	f.Helper()
	f.sh("blockdev", "--flushbufs", f.dev)
	f.whole = []byte(readAll(f.T, f.file))
	if err := os.Truncate(f.file, from); err != nil {
		f.Fatal(err)
	}
	f.sh("blockdev", "--flushbufs", f.dev)
}

// heal ends the fault: everything is there again.
func (f *faulty) heal() {
	f.Helper()
	if err := os.WriteFile(f.file, f.whole, 0o600); err != nil {
		f.Fatal(err)
	}
	f.sh("blockdev", "--flushbufs", f.dev)
}

// wantUntouched: nothing was written to the faulty disk, where the file still goes.
func (f *faulty) wantUntouched() {
	f.Helper()
	f.sh("blockdev", "--flushbufs", f.dev)
	now := []byte(readAll(f.T, f.file))
	if len(now) > len(f.whole) || !bytes.Equal(now, f.whole[:len(now)]) {
		f.Errorf("the disk was written to: it has %d bytes now, and had %d", len(now), len(f.whole))
	}
}

// wish is storage.data_disk as this machine has it.
func (f *faulty) wish(name string) string {
	if name == cluster.AnyDisk {
		return name
	}
	return filepath.Join(f.Root, name)
}

// TestDiskThatCannotBeRead: blkid calls it blank, by its exit code and its silence. It is not; and no other disk is formatted in its
// place, either: it may be the one. When it can be read again the next apply goes on.
func TestDiskThatCannotBeRead(t *testing.T) {
	const ours, size = "mkfs.ext4 -q -L pgha-data", 48 << 20
	for _, tt := range []struct {
		name, wish, mkfs string
		from             int64
		others           map[string]string
	}{
		{"ours, named", "/dev/vdb", ours, 0, nil},
		{"ours, auto", cluster.AnyDisk, ours, 0, nil},
		{"ours, and a blank one is named", "/dev/vdc", ours, 0, map[string]string{"vdc": "blank"}},
		{"ours beside a blank one, auto", cluster.AnyDisk, ours, 0, map[string]string{"vdc": "blank"}},
		{"blank, named", "/dev/vdb", "", 0, nil},
		{"blank but for its end, named", "/dev/vdb", "", size - 4096, nil},
		{"blank but for its middle, auto", cluster.AnyDisk, "", 24 << 20, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFaulty(t, tt.others, strings.Fields(tt.mkfs)...)
			f.fail(tt.from)
			if tt.from == 0 {
				if label, kind, err := signature(t.Context(), f.Runner, f.dev); label+kind != "" || err != nil {
					t.Errorf("blkid says %q, %q, %v: was this test ever about anything?", label, kind, err)
				}
			}
			err := f.prepareDisk(t.Context(), f.wish(tt.wish))
			if err == nil || !strings.Contains(err.Error(), "/dev/vdb (virtio-DATA) cannot be read") || !strings.Contains(err.Error(), "input/output error") {
				t.Errorf("got %v", err)
			}
			f.wantUntouched()
			for name := range tt.others {
				if strings.Trim(readAll(t, filepath.Join(f.Root, "dev", name)), "\x00") != "" {
					t.Errorf("/dev/%s was formatted", name)
				}
			}
			f.heal()
			if err := f.prepareDisk(t.Context(), f.wish(tt.wish)); err != nil {
				t.Fatal(err)
			}
			if tt.mkfs != "" {
				f.wantUntouched()
			} else if label, kind, err := signature(t.Context(), f.Runner, f.dev); label != datadisk.Label || kind != "ext4" || err != nil {
				t.Errorf("it has %q, %q, %v", label, kind, err)
			}
		})
	}
}

// TestBootWaitsForTheDataDisk: what runs before each mount waits for a disk that cannot be read yet, and says what it waits for.
func TestBootWaitsForTheDataDisk(t *testing.T) {
	const uuid = "6a5c7d9e-0000-4000-8000-000000000001"
	f := newFaulty(t, nil, "mkfs.ext4", "-q", "-L", "pgha-data", "-U", uuid)
	if err := writeDiskNote(f.Root, datadisk.Note{UUID: uuid, Disk: "virtio-DATA"}); err != nil {
		t.Fatal(err)
	}
	f.fail(0)
	var said []string
	f.Say = func(format string, args ...any) {
		said = append(said, fmt.Sprintf(format, args...))
		f.heal()
	}
	if err := f.CheckDataDisk(t.Context()); err != nil {
		t.Error(err)
	}
	if len(said) != 1 || !strings.Contains(said[0], "/dev/vdb (virtio-DATA) cannot be read, and may be this machine's") {
		t.Errorf("it says %q", said)
	}
}

// TestOnlyThisMachinesDiskIsMounted: by what it noted when it mounted its disk for the first time. Both before a boot's mount
// and in an apply, and nothing is written in any case.
func TestOnlyThisMachinesDiskIsMounted(t *testing.T) {
	const one, two = "6a5c7d9e-0000-4000-8000-000000000001", "6a5c7d9e-0000-4000-8000-000000000002"
	noted := datadisk.Note{UUID: one, Disk: "virtio-DATA"}
	for _, tt := range []struct {
		name  string
		note  datadisk.Note
		disks map[string]string // the UUID of each
		says  string            // empty where it is mounted
	}{
		{"its own", noted, map[string]string{"vdb": one}, ""},
		{"its own, under another name", noted, map[string]string{"vdc": one}, ""},
		{"beside an old copy with a UUID of its own", noted, map[string]string{"vdb": one, "vdc": two}, ""},
		{"beside a copy", noted, map[string]string{"vdb": one, "vdc": one}, "/dev/vdb (virtio-DATA) and /dev/vdc have the same file system, UUID " + one + ": one is a copy"},
		{"another machine's", noted, map[string]string{"vdc": two}, "/dev/vdc has the label pgha-data, and is another disk: its UUID is " + two + ", this machine's has UUID " + one},
		{"none", noted, nil, "this machine's is not attached (UUID " + one + ", on virtio-DATA when it was first mounted)"},
		{"an earlier version's", datadisk.Note{}, map[string]string{"vdb": two}, ""},
		{"an earlier version's, twice", datadisk.Note{}, map[string]string{"vdb": two, "vdc": two}, "have the same file system, UUID " + two},
		{"an earlier version's, and another", datadisk.Note{}, map[string]string{"vdb": one, "vdc": two}, "more than one has the label pgha-data"},
		{"given up, and another", datadisk.Note{UUID: one, GivenUp: true}, map[string]string{"vdc": two}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := testWork(t)
			machineDisks(t, w.Root, map[string]string{"vdb": "blank", "vdc": "blank"})
			before := map[string]string{}
			for disk, uuid := range tt.disks {
				file := filepath.Join(w.Root, "dev", disk)
				if err := w.Runner.Run(t.Context(), run.Command("mkfs.ext4", "-q", "-L", datadisk.Label, "-U", uuid, file)); err != nil {
					t.Fatal(err)
				}
			}
			for _, disk := range []string{"vdb", "vdc"} {
				before[disk] = readAll(t, filepath.Join(w.Root, "dev", disk))
			}
			if err := writeDiskNote(w.Root, tt.note); err != nil {
				t.Fatal(err)
			}
			for what, err := range map[string]error{"apply": w.prepareDisk(t.Context(), cluster.AnyDisk), "boot": w.checkDataDisk()} {
				if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%s: got %v", what, err)
				}
			}
			for disk, body := range before {
				if readAll(t, filepath.Join(w.Root, "dev", disk)) != body {
					t.Errorf("/dev/%s was written to", disk)
				}
			}
		})
	}
}

// TestDataDiskIsNoted: at the first mount, and from then on it is insisted on. The unit then mounts by that UUID, as `pgha diff` has it.
func TestDataDiskIsNoted(t *testing.T) {
	f := newFaulty(t, nil, "mkfs.ext4", "-q", "-L", "pgha-data", "-U", "6a5c7d9e-0000-4000-8000-000000000001")
	if got := dataUUID(f.Root); got != "" {
		t.Errorf("before the first mount it is %q", got)
	}
	for range 2 {
		if err := f.noteDisk(filepath.Join(f.Root, "dev/vdb"), ""); err != nil {
			t.Error(err)
		}
	}
	want := `{"uuid":"6a5c7d9e-0000-4000-8000-000000000001","disk":"virtio-DATA"}` + "\n"
	if got := readAll(t, filepath.Join(f.Root, diskNoteFile)); got != want {
		t.Errorf("noted %q", got)
	}
	if got := dataUUID(f.Root); got != "6a5c7d9e-0000-4000-8000-000000000001" {
		t.Errorf("the unit mounts %q", got)
	}
	f.sh("tune2fs", "-U", "6a5c7d9e-0000-4000-8000-000000000002", f.dev)
	err := f.noteDisk(filepath.Join(f.Root, "dev/vdb"), "")
	if err == nil || !strings.Contains(err.Error(), "is another disk than this machine's data disk") || !strings.Contains(err.Error(), "set-aside data-disk") {
		t.Errorf("another one: %v", err)
	}
	if got := readAll(t, filepath.Join(f.Root, diskNoteFile)); got != want {
		t.Errorf("noted %q", got)
	}
}

// TestMkfsDoesNotAgreeWithItself: should a file system be there all the same, mkfs.ext4 itself refuses.
func TestMkfsDoesNotAgreeWithItself(t *testing.T) {
	f := newFaulty(t, nil, "mkfs.ext4", "-q", "-L", "theirs")
	f.whole = []byte(readAll(t, f.file))
	err := f.format(t.Context(), f.drive(filepath.Join(f.Root, "dev/vdb"), filepath.Join(f.Root, "sys/block/vdb")))
	if err == nil || !strings.Contains(err.Error(), "contains a ext4 file system labelled 'theirs'") {
		t.Errorf("got %v", err)
	}
	f.wantUntouched()
}

// interrupted is a mkfs.ext4 that dies before it has written the superblock.
type interrupted struct{ run.System }

func (i interrupted) Run(ctx context.Context, c run.Cmd) error {
	if c.Args[0] != "mkfs.ext4" {
		return i.System.Run(ctx, c)
	}
	f, err := os.OpenFile(c.Args[len(c.Args)-1], os.O_WRONLY|syscall.O_SYNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte("half of a journal"), 8<<20)
	return errors.Join(err, f.Close(), errors.New("killed"))
}

// TestFileSystemCutShort: killed while it makes one, pgha makes it anew, because it knows the disk: the kernel says that it was
// attached all the while. After a boot nobody can prove that, and a person is asked.
func TestFileSystemCutShort(t *testing.T) {
	for _, wish := range []string{cluster.AnyDisk, "/dev/vdb"} {
		for _, boot := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, booted %t", wish, boot), func(t *testing.T) {
				f := newFaulty(t, nil)
				f.Runner = interrupted{}
				if err := f.prepareDisk(t.Context(), f.wish(wish)); err == nil || !strings.Contains(err.Error(), "killed") {
					t.Fatalf("got %v", err)
				}
				f.Runner = run.System{}
				if boot {
					put(t, f.Root, "sys/block/vdb/diskseq", "8\n")
				}
				f.whole = []byte(readAll(t, f.file))
				err := f.prepareDisk(t.Context(), f.wish(wish))
				if !boot {
					if err != nil {
						t.Error(err)
					}
					return
				}
				for _, words := range []string{"is not blank (data at byte 8388608, without a signature)", "mkfs.ext4 -L pgha-data /dev/vdb", "this may be that disk"} {
					if err == nil || !strings.Contains(err.Error(), words) {
						t.Errorf("got %v, without %q", err, words)
					}
				}
				f.wantUntouched()
			})
		}
	}
}
