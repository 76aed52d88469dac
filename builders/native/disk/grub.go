package disk

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ulikunitz/xz/lzma"
)

// core.img, the GRUB that a BIOS loads: what grub-mkimage -O i386-pc makes of grub-pc-bin's files, without running a
// program of the image's release on this host. It holds every module that grub.cfg uses: none is on the disk.
//
//	diskboot.img   one sector that loads the rest
//	lzma_decompress.img, then LZMA of: kernel.img, a table of modules, the configuration, the prefix
var coreModules = []string{
	"biosdisk", "part_gpt", "ext2", "search", "normal", "configfile", "linux", "test", "echo", "serial", "gzio",
	"ls", "cat", "minicmd", "reboot", "halt", "sleep",
}

// Kinds of what follows the kernel: GRUB's include/grub/kernel.h.
const (
	objectELF    = 0
	objectConfig = 2
	objectPrefix = 3
)

// coreImage makes core.img of the files in dir, /usr/lib/grub/i386-pc. config runs before anything on the disk is known.
func coreImage(dir, config, prefix string) ([]byte, error) {
	kernel, err := flatten(filepath.Join(dir, "kernel.img"))
	if err != nil {
		return nil, err
	}
	modules, err := dependencies(filepath.Join(dir, "moddep.lst"), coreModules)
	if err != nil {
		return nil, err
	}
	var table []byte
	object := func(kind uint32, body []byte) {
		body = append(body, make([]byte, (4-len(body)%4)%4)...)
		table = le.AppendUint32(table, kind)
		table = le.AppendUint32(table, uint32(8+len(body))) //nolint:gosec // kilobytes
		table = append(table, body...)
	}
	for _, m := range modules {
		body, err := os.ReadFile(filepath.Join(dir, m+".mod"))
		if err != nil {
			return nil, err
		}
		object(objectELF, body)
	}
	object(objectConfig, append([]byte(config), 0))
	object(objectPrefix, append([]byte(prefix), 0))
	head := []byte("mimg")
	head = le.AppendUint32(head, 12)
	head = le.AppendUint32(head, uint32(12+len(table))) //nolint:gosec // kilobytes
	plain := slices.Concat(kernel, head, table)

	packed, err := packLZMA(plain)
	if err != nil {
		return nil, err
	}
	loader, err := os.ReadFile(filepath.Join(dir, "lzma_decompress.img"))
	if err != nil {
		return nil, err
	}
	start, err := os.ReadFile(filepath.Join(dir, "diskboot.img"))
	if err != nil {
		return nil, err
	}
	if len(start) != sectorSize || len(loader) < 0x10 {
		return nil, errors.New("make core.img: diskboot.img or lzma_decompress.img has another size than GRUB 2.06's")
	}
	le.PutUint32(loader[0x08:], uint32(len(packed))) //nolint:gosec // kilobytes
	le.PutUint32(loader[0x0c:], uint32(len(plain)))  //nolint:gosec // the same
	core := slices.Concat(start, loader, packed)
	// From 0x9000 to 0x78000 is where GRUB has room for it.
	if len(core)-sectorSize > 0x78000-0x9000 {
		return nil, fmt.Errorf("make core.img: it has %d bytes, too many", len(core))
	}
	return append(core, make([]byte, (sectorSize-len(core)%sectorSize)%sectorSize)...), nil
}

// embed writes where core.img lies into it and into boot.img: the first sector of each knows only that.
func embed(boot, core []byte, lba int64) error {
	if len(boot) != sectorSize || core[0x1fe] != 0x20 || core[0x1ff] != 0x08 {
		return errors.New("embed GRUB: boot.img or core.img is not as GRUB 2 has it")
	}
	le.PutUint64(boot[0x5c:], uint64(lba))                     //nolint:gosec // a constant
	boot[0x64] = 0xff                                          // the drive that the BIOS says
	boot[0x66], boot[0x67] = 0x90, 0x90                        // no jump over its check
	le.PutUint64(core[0x1f4:], uint64(lba)+1)                  //nolint:gosec // a constant
	le.PutUint16(core[0x1fc:], uint16(len(core)/sectorSize-1)) //nolint:gosec // below 2048
	return nil
}

// flatten is an ELF program as it lies in memory, from its first address on.
func flatten(name string) ([]byte, error) {
	f, err := elf.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer f.Close() //nolint:errcheck // only read
	var sections []*elf.Section
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
			sections = append(sections, s)
		}
	}
	if len(sections) == 0 {
		return nil, fmt.Errorf("read %s: it has no code", name)
	}
	base := slices.MinFunc(sections, func(a, b *elf.Section) int { return int(a.Addr) - int(b.Addr) }).Addr //nolint:gosec // 640 KiB
	var out []byte
	for _, s := range sections {
		body, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		at := int(s.Addr - base) //nolint:gosec // the same
		out = append(out, make([]byte, max(0, at+len(body)-len(out)))...)
		copy(out[at:], body)
	}
	return append(out, make([]byte, (4-len(out)%4)%4)...), nil
}

// dependencies are the modules and all that they need, each after what it needs.
func dependencies(list string, want []string) ([]string, error) {
	body, err := os.ReadFile(list)
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{}
	for line := range strings.Lines(string(body)) {
		name, rest, _ := strings.Cut(line, ":")
		needs[name] = strings.Fields(rest)
	}
	var all []string
	var add func(string) error
	add = func(m string) error {
		if slices.Contains(all, m) {
			return nil
		}
		below, ok := needs[m]
		if !ok {
			return fmt.Errorf("make core.img: GRUB has no module %s", m)
		}
		for _, b := range below {
			if err := add(b); err != nil {
				return err
			}
		}
		all = append(all, m)
		return nil
	}
	for _, m := range want {
		if err := add(m); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// packLZMA compresses as GRUB's loader unpacks: no header, no end mark, a dictionary of 64 KiB.
func packLZMA(plain []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := lzma.WriterConfig{
		Properties: &lzma.Properties{LC: 3, LP: 0, PB: 2}, DictCap: 1 << 16, Size: int64(len(plain)),
	}.NewWriter(&b)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes()[lzma.HeaderLen:], nil
}
