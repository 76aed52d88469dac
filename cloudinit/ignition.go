package cloudinit

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/clarketm/json" // as Butane does: encoding/json knows no empty structs
	"github.com/coreos/butane/config/common"
	fcos "github.com/coreos/butane/config/fcos/v1_4"
	ignition "github.com/coreos/ignition/v2/config/v3_3"
	"github.com/coreos/ignition/v2/config/v3_3/types"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
)

// Ignition is a machine's seed for Debian's ignition. Both documents hold its secrets: an Ignition prints as nothing.
type Ignition struct {
	Machine string
	// Butane is the source, for people.
	Butane []byte
	// Config is Ignition 3.3.0, JSON: what the machine reads, the operator's snippets merged in.
	Config []byte
}

// String hides the seed.
func (Ignition) String() string { return "(seed)" }

// Format hides the seed from every format verb.
func (i Ignition) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, i.String()) }

// Ignition is the seed in that form: the same content as cloud-init's documents. The same inputs give the same bytes.
// A snippet that claims what the seed says is refused, with its place.
func (s Seed) Ignition(snippets Snippets) (Ignition, error) {
	source := butane(s.content)
	translated, err := translate(fcos.ToIgn3_3Bytes, source, s.Machine+".bu")
	if err != nil {
		return Ignition{}, fmt.Errorf("make seed of %s: %w", s.Machine, err)
	}
	config, _, err := ignition.Parse(translated)
	if err != nil {
		return Ignition{}, fmt.Errorf("make seed of %s: %w", s.Machine, err)
	}
	own := map[string]string{}
	for _, f := range s.content.ignitionFiles() {
		own[f.Path] = "pgbake"
	}
	var problems cluster.Problems
	for _, one := range snippets {
		problems = append(problems, one.refused(own)...)
		config = ignition.Merge(config, one.config)
	}
	if err := inOrder(problems); err != nil {
		return Ignition{}, err
	}
	body, err := encode(config)
	return Ignition{Machine: s.Machine, Butane: source, Config: body}, err
}

// translator is one of Butane's.
type translator func([]byte, common.TranslateBytesOptions) ([]byte, report, error)

// translate is Butane's translation of a source of ours. Whatever it has to say of it is an error. Nothing is
// compressed: the bytes must not depend on a compressor's version.
func translate(t translator, source []byte, name string) ([]byte, error) {
	out, r, err := t(source, common.TranslateBytesOptions{TranslateOptions: common.TranslateOptions{NoResourceAutoCompression: true}})
	if problems := complaints(name, r, nil); len(problems) > 0 {
		return nil, problems
	}
	return out, err
}

// encode is a configuration as it is written: one line, since some clouds count its bytes.
func encode(c types.Config) ([]byte, error) {
	body, err := json.Marshal(c)
	return append(body, '\n'), err
}

// files are what a folder gets. The ISO is a config drive (https://docs.openstack.org/nova/latest/user/metadata.html),
// for hypervisors that hand nothing to a machine but disks.
func (i Ignition) files() ([]rootfs.File, error) {
	drive, err := ISO("config-2", seedTime, []rootfs.File{{Path: "/openstack/latest/user_data", Mode: 0o600, Body: i.Config}})
	return []rootfs.File{
		{Path: i.Machine + ".bu", Body: i.Butane}, {Path: i.Machine + ".ign", Body: i.Config}, {Path: i.Machine + ".ign.iso", Body: drive},
	}, err
}

// Write writes the seed into dir, which it makes: the Butane source NAME.bu, NAME.ign, and NAME.ign.iso, a config
// drive; 0600 each, and only when it differs. It returns the paths.
func (i Ignition) Write(dir string) (paths []string, err error) {
	files, err := i.files()
	if err == nil {
		err = os.MkdirAll(dir, 0o755) //nolint:gosec // as that of cloud-init's seeds; the secrets are in the files
	}
	for _, f := range files {
		if err == nil {
			paths = append(paths, filepath.Join(dir, f.Path))
			err = write(paths[len(paths)-1], f.Body)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write seed of %s: %w", i.Machine, err)
	}
	return paths, nil
}
