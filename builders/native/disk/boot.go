package disk

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/rootfs"
)

// How the machine finds its kernel: a fixed grub.cfg over the links /vmlinuz and /initrd.img, which Debian's kernel
// packages keep (linux-update-symlinks): an upgrade of the kernel needs nothing of GRUB, and the one before stays in
// the menu. No GRUB package is installed: its postinst would ask which disk to write itself to, and a wrong answer is
// a database server that does not start. A new GRUB or shim comes with a new image.
const grubConfig = `# Written by pgbake into the image. The kernel's packages keep the links /vmlinuz and /initrd.img: an upgrade
# changes nothing here. The one before is kept under .old.
if [ "$grub_platform" = pc ]; then
  if serial --unit=0 --speed=115200; then
    terminal_input console serial
    terminal_output console serial
  fi
fi
set default=0
set fallback=1
set timeout=1
menuentry "Debian" {
  linux /vmlinuz %[1]s
  initrd /initrd.img
}
menuentry "Debian, the kernel before" {
  linux /vmlinuz.old %[1]s
  initrd /initrd.img.old
}
menuentry "Debian, rescue shell" {
  linux /vmlinuz %[1]s single
  initrd /initrd.img
}
`

// commandLine is the kernel's. The last console is the one that systemd talks to: clouds record the serial one.
const commandLine = "root=UUID=%s ro console=tty0 console=ttyS0,115200"

// stub is the configuration that a GRUB starts with, wherever the firmware found it. It then reads $prefix/grub.cfg.
func stub(root images.UUID) string {
	return fmt.Sprintf("search.fs_uuid %s root\nset prefix=($root)/boot/grub\n", root)
}

// consolePatience keeps the login at the serial console. systemd gives up on a device after 90 seconds, and then never starts
// what wanted it; udev may need longer to name the port while a slow or busy host boots many machines at once. It
// is not for ever, since a boot is not done while a device is waited for.
const consolePatience = `# Written by pgbake into the image: a slow boot still ends in a login at the serial console.
[Unit]
JobRunningTimeoutSec=15min
`

// bootFiles are the root's files that know the root's own identity, and the time of everything else.
func bootFiles(root images.UUID, at time.Time) []rootfs.File {
	line := fmt.Sprintf(commandLine, root)
	fstab := fmt.Sprintf("# Written by pgbake into the image.\nUUID=%s / ext4 defaults,errors=remount-ro 0 1\n", root)
	// systemd-update-done's note that /usr is not newer than the caches in /etc and /var: they came with it.
	done := fmt.Sprintf("# Written by pgbake into the image.\nTIMESTAMP_NSEC=%d\n", at.UnixNano())
	return []rootfs.File{
		{Path: "/boot/grub/grub.cfg", Mode: 0o644, Body: fmt.Appendf(nil, grubConfig, line)},
		{Path: "/etc/fstab", Mode: 0o644, Body: []byte(fstab)},
		{Path: "/etc/systemd/system/dev-ttyS0.device.d/pgbake.conf", Mode: 0o644, Body: []byte(consolePatience)},
		{Path: "/etc/.updated", Mode: 0o644, Body: []byte(done)},
		{Path: "/var/.updated", Mode: 0o644, Body: []byte(done)},
	}
}

// kernel refuses a tree that would stop in GRUB.
func kernel(root *node) error {
	for _, name := range []string{"vmlinuz", "initrd.img"} {
		link := root.child(name)
		if link == nil || link.target == "" {
			return fmt.Errorf("find the kernel: the tree has no link /%s", name)
		}
		at := root
		for part := range strings.SplitSeq(strings.Trim(link.target, "/"), "/") {
			if at = at.child(part); at == nil {
				return fmt.Errorf("find the kernel: /%s leads to %s, which is not there", name, link.target)
			}
		}
	}
	return nil
}

// efi are the names of a firmware's architecture.
var efi = map[string]struct{ short, grub string }{
	"amd64": {"x64", "x86_64-efi-signed"},
	"arm64": {"aa64", "arm64-efi-signed"},
}

// espFiles are Debian's signed shim, at the path that firmware tries on every disk, and the signed GRUB that shim starts.
// That one reads /EFI/debian/grub.cfg: the prefix is in its signed part.
func espFiles(lib func(...string) string, arch string, root images.UUID) ([]rootfs.File, error) {
	a := efi[arch]
	files := []rootfs.File{{Path: "/EFI/DEBIAN/GRUB.CFG", Body: []byte(stub(root) + "configfile $prefix/grub.cfg\n")}}
	for _, f := range []struct{ from, to string }{
		{lib("shim", "shim"+a.short+".efi.signed"), "/EFI/BOOT/BOOT" + strings.ToUpper(a.short) + ".EFI"},
		{lib("grub", a.grub, "grub"+a.short+".efi.signed"), "/EFI/BOOT/GRUB" + strings.ToUpper(a.short) + ".EFI"},
		{lib("shim", "mm"+a.short+".efi.signed"), "/EFI/BOOT/MM" + strings.ToUpper(a.short) + ".EFI"},
	} {
		body, err := os.ReadFile(f.from)
		if err != nil {
			return nil, fmt.Errorf("read boot loader: %w", err)
		}
		files = append(files, rootfs.File{Path: f.to, Body: body})
	}
	return files, nil
}
