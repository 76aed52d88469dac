package native

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/internal/step"
	"github.com/pgbake/pgbake/rootfs"
)

// The top layer: the image's own files and units, the archives that the machine gets its upgrades from, the initramfs.

func (o Options) files() []rootfs.File {
	files := append(o.Image.Files(), rootfs.File{
		Path: "/etc/apt/sources.list.d/pgbake.sources", Mode: 0o644, Body: []byte(sourcesFile(o.Lock.Sources)),
	})
	for i, s := range o.Lock.Sources {
		if s.Key != "" && !strings.HasPrefix(s.URI, "file:") {
			files = append(files, rootfs.File{Path: keyPath(o.Lock.Sources, i), Mode: 0o644, Body: []byte(s.Key)})
		}
	}
	return files
}

func (o Options) imageInputs() []string {
	var inputs []string
	for _, f := range o.files() {
		inputs = append(inputs, f.Path, f.Mode.String(), f.Owner, string(f.Body))
	}
	for _, u := range o.Image.Units() {
		inputs = append(inputs, strings.Join(u, " "))
	}
	return inputs
}

func (s *site) finish() error {
	kernel, err := s.settings()
	if err != nil {
		return err
	}
	for _, u := range s.Image.Units() {
		if err := s.chroot(slices.Concat([]string{"systemctl", "--quiet"}, u)...); err != nil {
			return err
		}
	}
	s.ahead.wait(aheadInitramfs, false)
	newest := s.newest
	err = s.initramfs(kernel)
	s.newest = newest
	if err != nil {
		return err
	}
	// The links /vmlinuz and /initrd.img that the boot loader follows: without INITRD the kernel's own script made one.
	return s.chroot("env", "--unset=INITRD", "linux-update-symlinks", "install", kernel, "/boot/vmlinuz-"+kernel)
}

// kernel is the version of the one that the tree has.
func (s *site) kernel() (string, error) {
	kernels, err := filepath.Glob(filepath.Join(s.root, "boot/vmlinuz-*"))
	if err != nil {
		return "", err
	}
	if len(kernels) != 1 {
		return "", fmt.Errorf("make initramfs: %d kernels in /boot, want one", len(kernels))
	}
	return strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-"), nil
}

// initramfsInputs are the places that mkinitramfs takes things from, besides the programs, libraries and rules that the
// base's hooks name, which are the base's own.
var initramfsInputs = []string{
	"etc/initramfs-tools", "usr/share/initramfs-tools", "etc/modprobe.d", "usr/lib/modprobe.d", "etc/modules", "etc/udev",
	"etc/fstab", "etc/crypttab", "etc/ld.so.conf", "etc/ld.so.conf.d", "etc/default/keyboard", "etc/systemd/network",
}

// initramfs makes it once for all images on a base whose hooks, modules and rules are the same, and takes it from the
// cache after that.
func (s *site) initramfs(kernel string) error {
	base := filepath.Dir(s.over.Lower[len(s.over.Lower)-1])
	// The base's own time: the initramfs of a new pgha is the same.
	at, err := layers{}.usable(base)
	if err != nil {
		return err
	}
	s.newest = at.Unix()
	inputs := []string{"initramfs 1", filepath.Base(base), kernel, fmt.Sprint(s.time().Unix())}
	for _, in := range initramfsInputs {
		more, err := treeInputs(s.root, in)
		if err != nil {
			return err
		}
		inputs = append(inputs, more...)
	}
	for _, d := range s.over.Lower[:len(s.over.Lower)-1] {
		// A hook of a layer above takes from there whatever it likes.
		if _, err := os.Stat(filepath.Join(d, "usr/share/initramfs-tools")); err == nil {
			inputs = append(inputs, filepath.Base(filepath.Dir(d)))
		}
	}
	image := filepath.Join(s.root, "boot/initrd.img-"+kernel)
	cached := filepath.Join(s.Cache, "initramfs", hash(inputs...)[:32])
	touch(cached)
	if err := copyFile(cached, image); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	step.Note(s.ctx, "makes the initramfs")
	if err := s.chroot("update-initramfs", "-c", "-k", kernel); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(cached), 0o755); err != nil { //nolint:gosec // no secrets
		return err
	}
	body, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	return writeWhole(cached, body)
}

// treeInputs are the names, modes and contents of a directory's files.
func treeInputs(root, name string) ([]string, error) {
	var inputs []string
	err := filepath.WalkDir(filepath.Join(root, name), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == filepath.Join(root, name) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		value := ""
		switch {
		case e.Type() == fs.ModeSymlink:
			value, err = os.Readlink(path)
		case e.Type().IsRegular():
			value, err = sumFile(path)
		}
		inputs = append(inputs, strings.TrimPrefix(path, root), info.Mode().String(), value)
		return err
	})
	return inputs, err
}

func copyFile(from, to string) error {
	body, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, body, 0o644) //nolint:gosec // an initramfs of Debian's modes
}
