package disk

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/rootfs"
)

var epoch = time.Unix(1_760_000_000, 0)

// layout is what the tests build: GRUB and shim are this host's.
func layout(t *testing.T, dirs ...string) Layout {
	t.Helper()
	for _, f := range []string{"/usr/lib/grub/i386-pc/kernel.img", "/usr/lib/grub/x86_64-efi-signed", "/usr/lib/shim"} {
		if _, err := os.Stat(f); err != nil {
			missing(t, "grub-pc-bin, grub-efi-amd64-signed or shim-signed")
		}
	}
	var tree []Layer
	for _, dir := range dirs {
		tree = append(tree, Layer{Dir: dir})
	}
	return Layout{Tree: tree, Seed: "test", Time: epoch, Arch: "amd64", Loaders: "/", Files: []rootfs.File{
		{Path: "/etc/added/by.conf", Mode: 0o600, Body: []byte("added\n")},
	}}
}

// missing says what is not installed: a failure where CI=true.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("not installed: %s (test/setup.sh test)", what)
	}
	t.Skipf("not installed: %s (test/setup.sh test)", what)
}

// tool runs a program that judges.
func tool(t *testing.T, args ...string) string {
	t.Helper()
	name, err := exec.LookPath(args[0])
	if errors.Is(err, exec.ErrNotFound) {
		// fsck and friends lie where only root looks.
		if name, err = exec.LookPath("/usr/sbin/" + args[0]); err != nil {
			missing(t, args[0])
		}
	}
	out, err := exec.CommandContext(t.Context(), name, args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sample has one of everything: it is no Debian, but a disk of it is a disk.
func sample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, size int) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		var body []byte
		for i := 0; len(body) < size; i++ {
			body = strconv.AppendInt(body, int64(i)*int64(i), 36)
		}
		if err := os.WriteFile(name, body[:size], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("boot/vmlinuz-6.1", 1<<20)
	write("boot/initrd.img-6.1", 3_345_678)
	write("usr/bin/program", 4096)
	write("usr/share/empty", 0)
	write("etc/ssh/ssh_host_rsa_key", 100) // must not be there
	write("var/log/apt/history.log", 100)  // the same
	for i := range 1200 {                  // a directory of several blocks
		write(fmt.Sprintf("var/lib/dpkg/info/a-package-with-a-rather-long-name-%04d.md5sums", i), i%5000)
	}
	for link, to := range map[string]string{
		"vmlinuz": "boot/vmlinuz-6.1", "initrd.img": "boot/initrd.img-6.1", "bin": "usr/bin",
		"etc/long": "/" + strings.Repeat("a-long-way/", 20),
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Link(filepath.Join(dir, "usr/bin/program"), filepath.Join(dir, "usr/bin/same")),
		os.Chmod(filepath.Join(dir, "usr/bin/program"), 0o755|os.ModeSetuid),
		unix.Mkfifo(filepath.Join(dir, "var/fifo"), 0o600),
		os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0::/root:/bin/sh\n"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sum(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// cut is a part of the disk as a file of its own, in the disk's directory.
func cut(t *testing.T, raw, name string, first, sectors int64) string {
	t.Helper()
	name = filepath.Join(filepath.Dir(raw), name)
	tool(t, "dd", "if="+raw, "of="+name, "bs=64K", fmt.Sprint("skip=", first/128), fmt.Sprint("count=", sectors/128), "conv=sparse", "status=none")
	tool(t, "truncate", "--size", fmt.Sprint(sectors*sectorSize), name)
	return name
}

// rootOf is the disk's root file system.
func rootOf(t *testing.T, raw string) string {
	t.Helper()
	info, err := os.Stat(raw)
	if err != nil {
		t.Fatal(err)
	}
	return cut(t, raw, "root.ext4", rootFirst, (info.Size()-rootFirst*sectorSize-1<<20)/groupBytes*groupBytes/sectorSize)
}

func TestDiskIsCleanForThoseWhoJudge(t *testing.T) {
	dir, out := sample(t), t.TempDir()
	raw := filepath.Join(out, "disk.raw")
	if err := Write(t.Context(), raw, layout(t, dir), nil); err != nil {
		t.Fatal(err)
	}
	if got := tool(t, "sgdisk", "--verify", raw); !strings.Contains(got, "No problems found") {
		t.Error(got)
	}
	fs, esp := rootOf(t, raw), cut(t, raw, "esp.fat", espFirst, espSize)
	tool(t, "e2fsck", "-fn", fs)
	tool(t, "fsck.vfat", "-n", esp)

	// Its content, through e2fsprogs' own eyes.
	back := filepath.Join(out, "back")
	if err := os.Mkdir(back, 0o755); err != nil {
		t.Fatal(err)
	}
	tool(t, "debugfs", "-R", "rdump / "+back, fs)
	for _, name := range []string{"boot/initrd.img-6.1", "var/lib/dpkg/info/a-package-with-a-rather-long-name-1199.md5sums"} {
		want, err1 := os.ReadFile(filepath.Join(dir, name))
		got, err2 := os.ReadFile(filepath.Join(back, name))
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: another content, %v", name, err)
		}
	}
	if got, err := os.Readlink(filepath.Join(back, "etc/long")); err != nil || len(got) != 221 {
		t.Errorf("etc/long leads to %q, %v", got, err)
	}
	if got, err := os.ReadFile(filepath.Join(back, "etc/added/by.conf")); err != nil || string(got) != "added\n" {
		t.Errorf("etc/added/by.conf: %q, %v", got, err)
	}
	for _, name := range []string{"etc/ssh/ssh_host_rsa_key", "var/log/apt/history.log"} {
		if _, err := os.Lstat(filepath.Join(back, name)); err == nil {
			t.Errorf("%s is in the image", name)
		}
	}
	if got := tool(t, "debugfs", "-R", "stat /usr/bin/same", fs); !strings.Contains(got, "Links: 2") || !strings.Contains(got, "Mode:  04755") {
		t.Error(got)
	}
	// It grows, as it does at first boot: far beyond the descriptors that it has.
	tool(t, "truncate", "--size", "40G", fs)
	tool(t, "resize2fs", fs)
	tool(t, "e2fsck", "-fn", fs)
}

func TestFormatsHoldTheDisk(t *testing.T) {
	dir, out := sample(t), t.TempDir()
	l := layout(t, dir)
	raw := filepath.Join(out, "disk.raw")
	if err := Write(t.Context(), raw, l, nil); err != nil {
		t.Fatal(err)
	}
	for _, format := range images.Formats {
		t.Run(format.Name, func(t *testing.T) {
			name := filepath.Join(out, "disk"+format.Ext)
			switch format.Name {
			case "raw":
				return
			case "tar":
				if err := Tar(t.Context(), name, l); err != nil {
					t.Fatal(err)
				}
				if got := tool(t, "tar", "--zstd", "-tf", name); !strings.Contains(got, "./usr/bin/same\n") || strings.Contains(got, "ssh_host") {
					t.Error(got)
				}
				return
			}
			if err := Convert(t.Context(), format.Name, raw, name, l); err != nil {
				t.Fatal(err)
			}
			kind, disk := strings.TrimSuffix(format.Name, "-zstd"), name
			if kind == "ova" {
				kind, disk = "vmdk", filepath.Join(out, "disk-disk1.vmdk")
				tool(t, "tar", "-C", out, "-xf", name)
				mf, err := os.ReadFile(filepath.Join(out, "disk.mf"))
				if err != nil || !strings.Contains(string(mf), sum(t, disk)) {
					t.Errorf("disk.mf: %s, %v", mf, err)
				}
			}
			if kind != "vmdk" { // qemu-img checks no vmdk of this kind
				tool(t, "qemu-img", "check", "-f", kind, disk)
			}
			tool(t, "qemu-img", "compare", "-f", "raw", "-F", kind, raw, disk)
		})
	}
}

// The same tree gives the same bytes, wherever it lies and in whatever order its names come.
func TestSameBytes(t *testing.T) {
	out := t.TempDir()
	sums := map[string]string{}
	for i, dir := range []string{sample(t), sample(t)} {
		l := layout(t, dir)
		// As if built later: the last thing that happens to a tree is not in the image.
		if err := os.Chtimes(filepath.Join(dir, "usr"), time.Now(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		at := func(f images.Format) string { return filepath.Join(out, fmt.Sprint(i), "disk"+f.Ext) }
		raw, _ := images.FormatNamed("raw")
		if err := os.Mkdir(filepath.Dir(at(raw)), 0o755); err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if err := Write(t.Context(), at(raw), l, h); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", h.Sum(nil)); got != sum(t, at(raw)) {
			t.Errorf("the disk was hashed as %s while it was written, and is %s", got, sum(t, at(raw)))
		}
		for _, f := range images.Formats {
			name := at(f)
			var err error
			switch f.Name {
			case "raw":
			case "tar":
				err = Tar(t.Context(), name, l)
			default:
				err = Convert(t.Context(), f.Name, at(raw), name, l)
			}
			if err != nil {
				t.Fatal(err)
			}
			got := sum(t, name)
			if i > 0 && got != sums[f.Name] {
				t.Errorf("%s: two builds differ", f.Name)
			}
			sums[f.Name] = got
		}
	}
}

func TestNothingHalfIsLeft(t *testing.T) {
	dir, out := sample(t), t.TempDir()
	l := layout(t, dir)
	l.Size = 200 << 20
	if err := os.Truncate(filepath.Join(dir, "usr/bin/program"), 300<<20); err != nil {
		t.Fatal(err)
	}
	err := Write(t.Context(), filepath.Join(out, "disk.raw"), l, nil)
	if err == nil || !strings.Contains(err.Error(), "make the disk larger") {
		t.Errorf("error is %v", err)
	}
	l.Size = 0
	l.Tree[0].Dir = t.TempDir()
	if err := Write(t.Context(), filepath.Join(out, "disk.raw"), l, nil); err == nil || !strings.Contains(err.Error(), "no link /vmlinuz") {
		t.Errorf("error is %v", err)
	}
	if left, _ := os.ReadDir(out); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Every format has its writer, and every writer its row.
func TestFormatsTable(t *testing.T) {
	for _, f := range images.Formats {
		if writers[f.Name].write == nil && f.Name != "raw" && f.Name != "tar" {
			t.Errorf("nobody writes %s", f.Name)
		}
	}
	for name := range writers {
		if _, ok := images.FormatNamed(name); !ok {
			t.Errorf("%s is no format", name)
		}
	}
}
