package agent

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pgbake/pgbake/internal/run"
)

// loop is a disk of 400 MiB that can be made larger: a file behind a loop device.
type loop struct {
	*testing.T
	file, dev string
}

func newLoop(t *testing.T) loop {
	t.Helper()
	if os.Geteuid() != 0 {
		need(t, "root, for loop devices")
	}
	for _, name := range []string{"losetup", "sfdisk", "partx", "mkfs.ext4", "mkfs.xfs", "blkid", growth} {
		if _, err := exec.LookPath(name); err != nil {
			need(t, name)
		}
	}
	l := loop{T: t, file: filepath.Join(t.TempDir(), "disk")}
	l.larger(400 << 20)
	return l
}

// attach makes a device of the file, with the partitions that lie in it.
func (l *loop) attach() {
	l.Helper()
	out, err := exec.Command("losetup", "--find", "--show", l.file).Output()
	if err != nil {
		need(l.T, "loop devices: "+err.Error())
	}
	l.dev = strings.TrimSpace(string(out))
	l.Cleanup(func() { l.sh("losetup", "--detach", l.dev) })
	if table, _ := exec.Command("blkid", "--probe", "--match-tag", "PTTYPE", l.dev).Output(); len(table) > 0 {
		l.sh("partx", "--add", l.dev)
		l.Cleanup(func() { l.sh("partx", "--delete", l.dev) })
	}
}

// mayGrow tells whether the kernel lets this process grow a file system: for ext4 it wants CAP_SYS_RESOURCE, which is bit 24.
func mayGrow(t *testing.T, dir string) bool {
	t.Helper()
	if out, err := exec.Command("stat", "--file-system", "--format=%T", dir).Output(); err != nil || string(out) == "xfs\n" {
		return err == nil
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "CapEff:\t")
	set, err := strconv.ParseUint(strings.Fields(after)[0], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return set&(1<<24) != 0
}

func (l *loop) sh(args ...string) string {
	l.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		l.Errorf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

func (l *loop) larger(size int64) {
	l.Helper()
	if err := os.Truncate(l.file, size); os.IsNotExist(err) {
		err = os.WriteFile(l.file, nil, 0o600)
		if err == nil {
			err = os.Truncate(l.file, size)
		}
		if err != nil {
			l.Fatal(err)
		}
	}
	if l.dev != "" {
		l.sh("losetup", "--set-capacity", l.dev)
	}
}

// partition is a partition's device, which udev makes where it runs.
func (l *loop) partition(n int) string {
	l.Helper()
	name := fmt.Sprintf("%sp%d", filepath.Base(l.dev), n)
	dev := "/dev/" + name
	body, err := os.ReadFile(filepath.Join("/sys/class/block", name, "dev"))
	if err != nil {
		l.Fatal(err)
	}
	major, minor, _ := strings.Cut(strings.TrimSpace(string(body)), ":")
	a, _ := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	number := a<<8 | b&0xff | (b&^0xff)<<12
	var there syscall.Stat_t
	if syscall.Stat(dev, &there) == nil && there.Rdev == uint64(number) { //nolint:gosec // small
		return dev
	}
	_ = os.Remove(dev) // of a test that was killed: the kernel gives each partition the next number
	if err := syscall.Mknod(dev, syscall.S_IFBLK|0o600, number); err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = os.Remove(dev) })
	return dev
}

// mount makes a file system on a device, mounts it, and puts a file there.
func (l *loop) mount(dev string, mkfs ...string) string {
	l.Helper()
	l.sh(append(mkfs, dev)...)
	dir := l.TempDir()
	if l.sh("mount", dev, dir); l.Failed() {
		l.FailNow()
	}
	l.Cleanup(func() { l.sh("umount", dir) })
	if err := os.WriteFile(filepath.Join(dir, "mine"), []byte("mine"), 0o600); err != nil {
		l.Fatal(err)
	}
	return dir
}

// try is an apply's step for dir: what was said, and what ran.
func (l *loop) try(dir string) (said, ran string, err error) {
	var words, commands bytes.Buffer
	w := &work{Agent: &Agent{Root: "/", Runner: run.System{Trace: &commands}, Say: func(f string, args ...any) { fmt.Fprintf(&words, f+"\n", args...) }}}
	err = w.grow(l.Context(), dir)
	return words.String(), commands.String(), err
}

// grow is a try that succeeds and loses nothing.
func (l *loop) grow(dir string) (said, ran string) {
	l.Helper()
	said, ran, err := l.try(dir)
	if err != nil {
		l.Fatalf("%v\n%s", err, ran)
	}
	if body, err := os.ReadFile(filepath.Join(dir, "mine")); err != nil || string(body) != "mine" {
		l.Errorf("the file that was there is %q: %v", body, err)
	}
	return said, ran
}

// wantGrown: there is room. Where the kernel grows nothing for this process, all that comes before has been done.
func (l *loop) wantGrown(dir string, least uint64) {
	l.Helper()
	if !mayGrow(l.T, dir) {
		if _, ran, err := l.try(dir); err == nil || !strings.HasSuffix(ran, "+ "+growth+" "+dir+"\n") {
			l.Errorf("it ran %q, %v", ran, err)
		}
		return
	}
	before := disk(dir)
	said, ran := l.grow(dir)
	if now := disk(dir); now <= before || now < least {
		l.Fatalf("%s has %s, and had %s; want %s\n%s%s", dir, mebibytes(now), mebibytes(before), mebibytes(least), said, ran)
	}
	if !strings.Contains(said, dir+" has grown from ") {
		l.Errorf("it says %q", said)
	}
	// What a device shows of xfs may be old, and growing it again does nothing.
	if said, ran := l.grow(dir); said != "" || strings.Contains(ran, "sfdisk") {
		l.Errorf("done again it says %q and runs %q", said, ran)
	}
}

// wantLeft: the disk stays byte for byte, and why is said.
func (l *loop) wantLeft(dir, why string) {
	l.Helper()
	before := l.sh("sfdisk", "--dump", l.dev)
	said, ran := l.grow(dir)
	if !strings.Contains(said, why) || !strings.Contains(said, "hint: ") {
		l.Errorf("it says %q, want %q", said, why)
	}
	if strings.Contains(ran, "sfdisk") || strings.Contains(ran, growth) {
		l.Errorf("it runs %q", ran)
	}
	if after := l.sh("sfdisk", "--dump", l.dev); after != before {
		l.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

const (
	ext4 = "mkfs.ext4 -q"
	xfs  = "mkfs.xfs -q"
)

// wantRoom is wantGrown as the last word of a test.
func (l *loop) wantRoom(dir string, least uint64) {
	l.Helper()
	l.wantGrown(dir, least)
	if !mayGrow(l.T, dir) {
		l.Skip("no CAP_SYS_RESOURCE here, without which the kernel grows no ext4: test/e2e's TestQEMU grows one")
	}
}

// TestGrowDataDisk: a file system on the disk itself, as the agent makes it, and xfs, where an owner made that.
func TestGrowDataDisk(t *testing.T) {
	for _, mkfs := range []string{ext4, ext4 + " -O ^64bit", xfs} {
		t.Run(mkfs, func(t *testing.T) {
			l := newLoop(t)
			l.attach()
			dir := l.mount(l.dev, strings.Fields(mkfs)...)
			if said, ran := l.grow(dir); said+ran != "" {
				t.Errorf("a disk that has not grown: %q, %q", said, ran)
			}
			l.larger(1 << 30)
			l.wantRoom(dir, 900<<20)
		})
	}
}

// TestGrowPartition: the last one grows, and everything else in the table stays.
func TestGrowPartition(t *testing.T) {
	for name, c := range map[string][2]string{
		"gpt": {xfs, "label: gpt\n14: start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649\n" +
			"1: start=4096, size=700000, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=00000000-0000-0000-0000-00000000000A, name=\"root\", attrs=\"GUID:59\"\n"},
		"dos": {ext4, "label: dos\nlabel-id: 0xdeadbeef\n1: start=2048, size=700000, type=83, bootable\n"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoop(t)
			l.fdisk(c[1])
			l.attach()
			dir := l.mount(l.partition(1), strings.Fields(c[0])...)
			before := l.sh("sfdisk", "--dump", l.dev)
			l.larger(600 << 20)
			l.wantGrown(dir, 500<<20)
			after := l.sh("sfdisk", "--dump", l.dev)
			if strip(before) != strip(after) {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			if out := l.sh("sfdisk", "--verify", l.dev); !strings.Contains(out, "No errors detected") {
				t.Errorf("the partition table: %s", out)
			}
			size, err := os.ReadFile("/sys/class/block/" + filepath.Base(l.partition(1)) + "/size")
			if n, _ := strconv.Atoi(strings.TrimSpace(string(size))); err != nil || n*512 < 590<<20 {
				t.Errorf("the kernel knows a partition of %s sectors: %v", size, err)
			}
		})
	}
}

// strip is a dump of a partition table without what grows.
func strip(dump string) string {
	var keep []string
	for line := range strings.Lines(dump) {
		if strings.HasPrefix(line, "last-lba") {
			continue
		}
		var fields []string
		for f := range strings.SplitSeq(line, ",") {
			if !strings.Contains(f, "size=") || strings.Contains(line, "size=        2048") {
				fields = append(fields, f)
			}
		}
		keep = append(keep, strings.Join(fields, ","))
	}
	return strings.Join(keep, "")
}

func (l *loop) fdisk(table string) {
	l.Helper()
	cmd := exec.Command("sfdisk", "--quiet", l.file)
	cmd.Stdin = strings.NewReader(table)
	if out, err := cmd.CombinedOutput(); err != nil {
		l.Fatalf("sfdisk: %v\n%s", err, out)
	}
}

// TestGrowLeaves: what cannot be grown without a guess stays as it is, and why is said.
func TestGrowLeaves(t *testing.T) {
	for _, c := range []struct {
		name, table string
		number      int
		want        string
	}{
		{"not the last", "label: gpt\n1: start=2048, size=200000\n2: start=300000, size=100000\n", 1, "another partition lies behind /dev/"},
		{"logical", "label: dos\n1: start=2048, size=600000, type=5\n5: start=4096, size=300000\n", 5, "is a logical partition"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLoop(t)
			l.fdisk(c.table)
			l.attach()
			dir := l.mount(l.partition(c.number), strings.Fields(ext4)...)
			l.larger(600 << 20)
			l.wantLeft(dir, c.want)
		})
	}
}

// TestGrowMapped: what lies between a partition and its file system, as LVM does, is grown by its own tools; afterwards the
// file system is grown. dmsetup makes the same kind of device.
func TestGrowMapped(t *testing.T) {
	if _, err := exec.LookPath("dmsetup"); err != nil {
		need(t, "dmsetup")
	}
	l := newLoop(t)
	l.fdisk("label: gpt\n1: start=2048, size=600000\n")
	l.attach()
	part, name := l.partition(1), "pgbake-test-"+filepath.Base(l.dev)
	table := func(sectors int) string { return fmt.Sprintf("0 %d linear %s 0", sectors, part) }
	if out, err := exec.Command("dmsetup", "create", name, "--table", table(500000)).CombinedOutput(); err != nil {
		t.Skipf("this kernel has no mapped devices: %s", out)
	}
	t.Cleanup(func() { l.sh("dmsetup", "remove", "--retry", name) })
	dir := l.mount("/dev/mapper/"+name, strings.Fields(ext4)...)
	l.larger(600 << 20)
	l.wantLeft(dir, "which lies on "+part)
	l.sh("dmsetup", "suspend", name)
	l.sh("dmsetup", "load", name, "--table", table(600000))
	l.sh("dmsetup", "resume", name)
	l.wantRoom(dir, 270<<20)
}

// TestGrowNothing: what lies on no device of this machine's own is nobody's question.
func TestGrowNothing(t *testing.T) {
	l := loop{T: t}
	dir := t.TempDir()
	put(t, dir, "mine", "mine")
	if said, ran := l.grow(dir); said+ran != "" {
		t.Errorf("%q, %q", said, ran)
	}
}
