package images

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pgbake/pgbake/internal/suggest"
	"github.com/pgbake/pgbake/rootfs"
)

// Init is what applies the machine's seed at its first boot.
type Init string

// The inits. Ignition is Debian's package of it, on the running root: see ignition/.
const (
	CloudInit Init = "cloud-init"
	Ignition  Init = "ignition"
)

// Inits are those that an image can have, the usual one first.
var Inits = []Init{CloudInit, Ignition}

// InitNamed is the init of that name.
func InitNamed(name string) (Init, error) {
	var known []string
	for _, i := range Inits {
		if string(i) == name {
			return i, nil
		}
		known = append(known, string(i))
	}
	return "", fmt.Errorf("init %q is none\n      hint: %s", name, suggest.Hint(name, known))
}

// With is the image with another init. configs are Ignition's, of the operator's own: every machine's configuration is
// merged over them.
func (i Image) With(init Init, configs [][]byte) (Image, error) {
	if len(configs) > 0 && init != Ignition {
		return i, fmt.Errorf("make image: %s reads no Butane\n      hint: --init ignition", init)
	}
	i.Init, i.configs = "", configs
	if init == Ignition {
		i.Init = init
	}
	return i, nil
}

// Takes tells what keeps the image from having a format.
func (i Image) Takes(f Format) error {
	if i.Init == Ignition && f.Name == "tar" {
		return fmt.Errorf("make image: a container has neither fw_cfg nor a config drive for Ignition\n      hint: --init %s", CloudInit)
	}
	return nil
}

// Layers are the names of the image's package layers, in a lock and in the cache: each init has its own base, and what
// a role needs over it.
func (i Image) Layers() (base, role string) {
	if i.Init == Ignition {
		return "base-ignition", string(i.Role) + "-ignition"
	}
	return "base", string(i.Role)
}

// initPackages are those that the init brings into the base.
func (i Image) initPackages() []string {
	switch {
	case i.Init != Ignition:
		return []string{"cloud-guest-utils", "cloud-init"}
	case i.Release == 12:
		return []string{"ignition"}
	}
	return []string{"ignition", "systemd-repart"} // part of systemd before
}

//go:embed all:ignition
var ignitionTree embed.FS

// initFiles are those that make the init do its work.
func (i Image) initFiles() []rootfs.File {
	repartFiles := []rootfs.File{
		text("/etc/repart.d/50-root.conf", repart), text("/etc/systemd/system/systemd-repart.service.d/50-pgbake.conf", repartUnit),
	}
	if i.Init != Ignition {
		if i.Release != 12 {
			// Debian 13 has systemd-repart in a package of its own.
			return []rootfs.File{text(cloudConfigPath, fmt.Sprintf(cloudConfig, "growpart, "))}
		}
		return append(repartFiles, text(cloudConfigPath, fmt.Sprintf(cloudConfig, "")))
	}
	files := repartFiles
	_ = fs.WalkDir(ignitionTree, "ignition", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		body, err := ignitionTree.ReadFile(name)
		f := rootfs.File{Path: "/" + name[len("ignition/"):], Mode: 0o644, Body: body}
		if bytes.HasPrefix(body, []byte("#!")) {
			f.Mode = 0o755
		}
		files = append(files, f)
		return err
	}) // of what is in this program
	for n, c := range i.configs {
		// Ignition reads them in this order, before the machine's own. They may have hashes of passwords.
		files = append(files, rootfs.File{Path: fmt.Sprintf("/usr/lib/ignition/base.d/%02d-pgbake.ign", n+1), Mode: 0o600, Body: c})
	}
	return files
}

// initUnits is what systemctl is told for the init.
func (i Image) initUnits() [][]string {
	switch {
	case i.Init == Ignition:
		return [][]string{{"enable", "pgbake-ignition.service", "pgbake-grow.service"}}
	case i.Release == 12:
		// A stage without modules still is a Python that starts. From Debian 13 on one process has all stages, and waits
		// for each of them.
		return [][]string{{"mask", "cloud-config.service"}}
	}
	return nil
}
