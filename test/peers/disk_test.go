package peers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// A disk is looked at from outside, with no builder's own code: what the partition table's, ext4's and FAT's tools see.

// The types of partitions, https://uapi-group.org/specifications/specs/discoverable_partitions_specification.
const (
	typeESP  = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	typeBIOS = "21686148-6449-6E6F-744E-656564454649"
)

type partition struct {
	Start, Size int64 // in sectors
	Type        string
}

// found is what there is in a disk.
type found struct {
	packages   []string
	bios, uefi bool  // whether there is a boot loader for it
	allocated  int64 // bytes
}

// look reads a disk, and complains about what no machine could start.
func look(raw string) (found, error) {
	var f found
	out, err := exec.Command("sfdisk", "--json", raw).Output()
	if err != nil {
		return f, fmt.Errorf("read partitions of %s: %w", raw, err)
	}
	var table struct {
		PartitionTable struct {
			Label      string
			Partitions []partition
		}
	}
	if err := json.Unmarshal(out, &table); err != nil || table.PartitionTable.Label != "gpt" {
		return f, fmt.Errorf("%s: no GPT: %w", raw, err)
	}
	disk, err := os.Open(raw)
	if err != nil {
		return f, err
	}
	defer disk.Close() //nolint:errcheck // only read
	var root, esp *partition
	sector := make([]byte, 512)
	for _, p := range table.PartitionTable.Partitions {
		switch p.Type {
		case typeESP:
			esp = &p
		case typeBIOS:
			_, err = disk.ReadAt(sector, 512*p.Start)
			core := bytes.Contains(sector, []byte("loading")) // GRUB's diskboot
			_, mbr := disk.ReadAt(sector, 0)
			f.bios = core && bytes.Contains(sector, []byte("GRUB")) && err == nil && mbr == nil
		default:
			magic := make([]byte, 2)
			if _, err := disk.ReadAt(magic, 512*p.Start+1024+56); err == nil && bytes.Equal(magic, []byte{0x53, 0xef}) {
				root = &p
			}
		}
	}
	if root == nil {
		return f, fmt.Errorf("%s: no ext4 among %v", raw, table.PartitionTable.Partitions)
	}
	if info, err := disk.Stat(); err == nil {
		f.allocated = 512 * info.Sys().(*syscall.Stat_t).Blocks
	}
	var onESP string
	if esp != nil {
		if onESP, err = output("mdir", "-/", "-b", "-i", fmt.Sprintf("%s@@%d", raw, 512*esp.Start)); err != nil {
			return f, err
		}
		onESP = strings.ToLower(onESP)
		f.uefi = strings.Contains(onESP, "efi/boot/bootx64.efi")
	}
	in := fmt.Sprintf("%s?offset=%d", raw, 512*root.Start)
	boot, err := output("debugfs", "-R", "ls -p /boot", in)
	if err != nil {
		return f, err
	}
	grub, err := output("debugfs", "-R", "ls -p /boot/grub", in)
	if err != nil {
		return f, err
	}
	// A kernel image that brings its initramfs along lies on the ESP.
	unified := strings.Contains(onESP, "efi/linux/") && strings.Contains(onESP, ".efi")
	var bad error
	if !unified && (!strings.Contains(boot, "/vmlinuz-") || !strings.Contains(boot, "/initrd.img-")) {
		bad = errors.Join(bad, fmt.Errorf("%s: no kernel or no initramfs in /boot: %s", raw, boot))
	}
	if !f.bios && !f.uefi {
		bad = errors.Join(bad, fmt.Errorf("%s: no boot loader", raw))
	}
	if f.bios && !f.uefi && !strings.Contains(grub, "/grub.cfg/") {
		bad = errors.Join(bad, fmt.Errorf("%s: GRUB has no configuration", raw))
	}
	status, err := output("debugfs", "-R", "cat /var/lib/dpkg/status", in)
	if err != nil {
		return f, err
	}
	for stanza := range strings.SplitSeq(status, "\n\n") {
		name, _, _ := strings.Cut(stanza, "\n")
		name, ok := strings.CutPrefix(strings.TrimSpace(name), "Package: ")
		if !ok {
			continue
		}
		if strings.Contains(stanza, "\nStatus: install ok installed\n") {
			f.packages = append(f.packages, name)
		} else if !strings.Contains(stanza, "\nStatus: deinstall ") {
			bad = errors.Join(bad, fmt.Errorf("%s: package %s is not whole", raw, name))
		}
	}
	return f, bad
}

// differ is what a disk lacks of the wanted packages, and what it has besides.
func (f found) differ(want []string) (lacks, more []string) {
	for _, name := range want {
		if !slices.Contains(f.packages, name) {
			lacks = append(lacks, name)
		}
	}
	for _, name := range f.packages {
		if !slices.Contains(want, name) {
			more = append(more, name)
		}
	}
	return lacks, more
}

func output(args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1") // mtools insists on floppies' geometries
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, complaint.String())
	}
	return string(out), nil
}
