// Package cloudinit is the seed of a machine: all that differs from the next one, in the forms that first-boot
// programs read.
//
// In come a cluster, one of its machines, its secrets and its certificates; out come the documents of cloud-init's
// NoCloud source, as bytes, as a folder and as an ISO image. It runs nothing and reads no clock: the same inputs give
// the same bytes. What a seed contains is said once, by Files, from which every form is made.
package cloudinit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
)

// Seed is the three documents of a machine. UserData holds its secrets: a Seed prints as nothing.
type Seed struct {
	Machine string
	// UserData is text, or gzip of it where the text is larger than some cloud takes.
	UserData      []byte
	MetaData      []byte
	NetworkConfig []byte

	content content // what they say, for the other forms
}

// String hides the seed.
func (Seed) String() string { return "(seed)" }

// Format hides the seed from every format verb.
func (s Seed) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// Options are what a seed depends on beside the specification.
type Options struct {
	// Interface is the name of the card that gets the address, such as "host0" in systemd-nspawn. When it is empty,
	// the machine's mac tells the card, and without one every Ethernet card is meant: a machine with several
	// cards needs either.
	Interface string
}

// New makes the seed of m. spec is what was signed in w, byte for byte; s may hold more than m's own share.
func New(c *cluster.Cluster, m cluster.Machine, spec []byte, s cluster.Sealed, id cluster.Identity, w cluster.Word, o Options) (Seed, error) {
	if err := s.Check(c, m.Role); err != nil {
		return Seed{}, fmt.Errorf("make seed of %s: %w", m.Name, err)
	}
	if len(id) == 0 {
		return Seed{}, fmt.Errorf("make seed of %s: no certificates", m.Name)
	}
	all := newContent(c, m, Files(c, m, spec, s, id, w), o)
	text := userData(all)
	seed := Seed{Machine: m.Name, NetworkConfig: networkConfig(all), content: all}
	// Of the text: another compressor makes no other instance.
	seed.MetaData = metaData(all, text, seed.NetworkConfig)
	var err error
	if seed.UserData, err = fit(text); err != nil {
		return Seed{}, fmt.Errorf("make seed of %s: %w", m.Name, err)
	}
	return seed, nil
}

// files are the documents as they lie in a folder or on a volume. meta-data comes last: it names the instance, and a
// new instance must not be seen before its user-data is.
func (s Seed) files() []rootfs.File {
	return []rootfs.File{
		{Path: "/user-data", Mode: 0o600, Body: s.UserData},
		{Path: "/network-config", Mode: 0o600, Body: s.NetworkConfig},
		{Path: "/meta-data", Mode: 0o600, Body: s.MetaData},
	}
}

// WriteFolder writes the seed as cloud-init reads it from /var/lib/cloud/seed/nocloud: dir with 0700, the files with
// 0600, each at once and only when it differs.
func (s Seed) WriteFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write seed of %s: %w", s.Machine, err)
	}
	// The folder may be older than we are.
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its x
		return fmt.Errorf("write seed of %s: %w", s.Machine, err)
	}
	for _, f := range s.files() {
		if err := write(filepath.Join(dir, f.Path), f.Body); err != nil {
			return fmt.Errorf("write seed of %s: %w", s.Machine, err)
		}
	}
	return nil
}

// seedTime stands for the time in a seed's volume, where nobody reads it: the bytes must not depend on a clock.
var seedTime = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// WriteISO writes the seed as a volume "cidata", which cloud-init finds on any disk or CD of the machine, 0600.
func (s Seed) WriteISO(path string) error {
	image, err := ISO("cidata", seedTime, s.files())
	if err == nil {
		err = write(path, image)
	}
	if err != nil {
		return fmt.Errorf("write seed of %s: %w", s.Machine, err)
	}
	return nil
}

// write makes path hold body with 0600. rootfs.Write is for machines, where root owns what is written; here it is
// the operator. The temporary name is fixed, so that a killed run leaves at most one behind, for the next to take.
func write(path string, body []byte) (err error) {
	if info, err := os.Lstat(path); err == nil && info.Mode() == 0o600 {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, body) {
			return nil
		}
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".pgbake-new")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
	}
	return err
}
