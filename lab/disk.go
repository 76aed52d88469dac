package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// What lies in the directory of a machine in QEMU, beside diskName and its sockets.
const (
	seedName     = "seed.iso"
	ignitionName = "seed.ign" // in place of it
	dataName     = "data.qcow2"
	firmwareName = "firmware.fd"
)

// Sizes of the virtual disks: they take only what is written.
const (
	diskSize = "10G"
	dataSize = "4G"
)

// Debian's UEFI, and the variables that a machine begins with.
const (
	firmwareCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	firmwareVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// virtualDisks lays the machines' directories out: for each a disk over its role's image, and its seed.
func (l *Lab) virtualDisks(ctx context.Context, load Load) error {
	kept := map[cluster.Role]string{}
	for _, m := range l.c.Machines() {
		if kept[m.Role] == "" {
			image, err := l.keepImage(ctx, m.Role, load.Images[m.Role])
			if err != nil {
				return err
			}
			kept[m.Role] = image
		}
		if err := l.qemu(m).make(ctx, kept[m.Role], load.Seeds[m.Name]); err != nil {
			return fmt.Errorf("make the disks of %s: %w", m.Name, err)
		}
	}
	return nil
}

// keepImage gives the lab an image of its own: the disks over it would be spoilt by another one under its name.
func (l *Lab) keepImage(ctx context.Context, role cluster.Role, image string) (string, error) {
	if image == "" {
		return "", fmt.Errorf("boot the lab: no image for the role %s", role)
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return "", err
	}
	own := filepath.Join(l.dir, string(role)+".image")
	if os.Link(image, own) == nil {
		return own, nil
	}
	// Another file system.
	return own, l.host.Run.Run(ctx, run.Command("cp", "--reflink=auto", "--sparse=always", "--", image, own))
}

// make lays out the machine's directory. A seed named *.ign is handed over by QEMU itself, any other is a disk.
func (m *qemu) make(ctx context.Context, image, seed string) error {
	// Secrets lie below: nobody but the owner passes.
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	body, err := os.ReadFile(seed)
	if err != nil {
		return fmt.Errorf("read the seed of %s: %w", m.name, err)
	}
	own := seedName
	if filepath.Ext(seed) == ".ign" {
		own = ignitionName
	}
	if err := write(filepath.Join(m.dir, own), string(body), 0o600); err != nil {
		return err
	}
	if m.uefi {
		vars, err := os.ReadFile(firmwareVars)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w\n      hint: apt-get install ovmf", err)
		}
		if err != nil {
			return err
		}
		if err := write(filepath.Join(m.dir, firmwareName), string(vars), 0o600); err != nil {
			return err
		}
	}
	if m.data != "" {
		if _, err := dataDevices(m.data, ""); err != nil {
			return err
		}
		c := run.Command("qemu-img", "create", "-q", "-f", "qcow2", filepath.Join(m.dir, dataName), dataSize)
		if err := m.run.Run(ctx, c); err != nil {
			return err
		}
	}
	// The disk knows it by this name, from wherever it is opened.
	if image, err = filepath.Abs(image); err != nil {
		return err
	}
	format, err := formatOf(image)
	if err != nil {
		return err
	}
	// The last one: where it lies, there is a whole machine.
	return m.run.Run(ctx, run.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", image, m.disk(), diskSize))
}

// magics are how files of QEMU's formats begin.
var magics = []struct{ begin, format string }{
	// begin     format
	{"QFI\xfb", "qcow2"},
	{"KDMV", "vmdk"},
	{"vhdxfile", "vhdx"},
}

// formatOf tells which of QEMU's formats an image has; raw is the one without a mark.
func formatOf(image string) (string, error) {
	f, err := os.Open(image)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	begin := make([]byte, 8)
	if _, err := f.ReadAt(begin, 0); err != nil {
		return "", fmt.Errorf("read %s: %w", image, err)
	}
	for _, m := range magics {
		if strings.HasPrefix(string(begin), m.begin) {
			return m.format, nil
		}
	}
	return "raw", nil
}

// dataDevices are QEMU's arguments that make the data disk appear at the path that cluster.yaml has, beside the root,
// which is /dev/vda, and the seed.
func dataDevices(path, seed string) ([]string, error) {
	const disk = "virtio-blk-pci,drive=data"
	serial, byID := strings.CutPrefix(path, "/dev/disk/by-id/virtio-")
	switch {
	case path == "/dev/vdb":
		return []string{"-device", disk, "-device", seed}, nil
	case path == "/dev/vdc", path == cluster.AnyDisk:
		return []string{"-device", seed, "-device", disk}, nil
	case byID && len(serial) <= 20 && !strings.ContainsAny(serial, ", /"):
		return []string{"-device", seed, "-device", disk + ",serial=" + serial}, nil
	}
	return nil, fmt.Errorf("storage.data_disk: the lab has no %s\n"+
		"      hint: it can make auto, /dev/vdb, /dev/vdc and /dev/disk/by-id/virtio-… with up to 20 characters", path)
}
