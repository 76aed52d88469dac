package agent

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// memory is what this machine may use, in bytes: the smaller of what is built in and what its control group allows;
// 0 when it cannot be told.
func memory(root string) uint64 {
	var total uint64
	info, _ := os.ReadFile(filepath.Join(root, "/proc/meminfo"))
	for line := range bytes.Lines(info) {
		if f := strings.Fields(string(line)); len(f) > 1 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseUint(f[1], 10, 64)
			total = kib << 10
		}
	}
	limit, _ := os.ReadFile(filepath.Join(root, "/sys/fs/cgroup/memory.max"))
	if n, err := strconv.ParseUint(strings.TrimSpace(string(limit)), 10, 64); err == nil && n < total {
		return n
	}
	return total
}

// disk is the size of the file system that dir lies on, in bytes; 0 when it cannot be told.
func disk(dir string) uint64 {
	var s syscall.Statfs_t
	if syscall.Statfs(dir, &s) != nil {
		return 0
	}
	return s.Blocks * uint64(s.Bsize) //nolint:gosec // a block size is positive
}

// card names the network card that has the address; empty when none does.
func card(want netip.Addr) string {
	cards, _ := net.Interfaces()
	for _, c := range cards {
		if hasAddress(c, want) {
			return c.Name
		}
	}
	return ""
}

// has tells whether the card of that name has the address.
func has(name string, want netip.Addr) bool {
	c, err := net.InterfaceByName(name)
	return err == nil && hasAddress(*c, want)
}

func hasAddress(c net.Interface, want netip.Addr) bool {
	addrs, _ := c.Addrs()
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr() == want
	})
}
