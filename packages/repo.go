package packages

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ulikunitz/xz"
)

// Suite and Component stand behind the address in an apt source: "deb [signed-by=…] ADDRESS stable main".
const (
	Suite     = "stable"
	Component = "main"
)

// KeyFile is the repository's public key, at its top.
const KeyFile = "pgbake.asc"

// Repository makes dir an apt repository of the packages debs, signed by key. A web server or a file: address serves
// it as it is, to every release of Debian. What other versions left in pool/ and by-hash/ stays, for machines that
// read the old index at this moment; the signature is written last. The same inputs give the same bytes.
func Repository(ctx context.Context, dir string, debs []string, key *Key, now time.Time) error {
	now = now.UTC().Truncate(time.Second)
	pool := make([]debFile, 0, len(debs))
	for _, file := range debs {
		d, err := readDeb(file)
		if err != nil {
			return err
		}
		pool = append(pool, d)
	}
	slices.SortFunc(pool, func(a, b debFile) int { return strings.Compare(a.name, b.name) })
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, d := range pool {
		if err := write(dir, "pool/"+d.name, d.body); err != nil {
			return err
		}
	}
	return publish(dir, pool, key, now)
}

// publish writes the indices, and then what vouches for them.
func publish(dir string, pool []debFile, key *Key, now time.Time) error {
	dists := "dists/" + Suite + "/"
	var sums strings.Builder
	for _, arch := range Architectures {
		all, err := indices(pool, arch)
		if err != nil {
			return fmt.Errorf("compress index: %w", err)
		}
		for _, index := range all {
			place := Component + "/binary-" + arch + "/"
			sum := sha256.Sum256(index.body)
			fmt.Fprintf(&sums, " %x %d %s\n", sum, len(index.body), place+index.name)
			// By its hash, so that a machine never gets an index newer than the signature it holds.
			for _, name := range []string{fmt.Sprintf("by-hash/SHA256/%x", sum), index.name} {
				if err := write(dir, dists+place+name, index.body); err != nil {
					return err
				}
			}
		}
	}
	release := fmt.Appendf(nil, "Origin: pgbake\nLabel: pgbake\nSuite: %s\nCodename: %s\nDate: %s\nArchitectures: %s\nComponents: %s\n"+
		"Acquire-By-Hash: yes\nDescription: pgha-common, pgha-node and pgha-proxy\nSHA256:\n%s",
		Suite, Suite, now.Format("Mon, 02 Jan 2006 15:04:05 UTC"), strings.Join(Architectures, " "), Component, sums.String())
	public, err := key.Public()
	if err != nil {
		return fmt.Errorf("write public key: %w", err)
	}
	detached, err := key.Detached(release, now)
	if err != nil {
		return fmt.Errorf("sign Release: %w", err)
	}
	inline, err := key.clear(release, now)
	if err != nil {
		return fmt.Errorf("sign InRelease: %w", err)
	}
	for _, f := range []struct {
		name string
		body []byte
	}{
		{KeyFile, public},
		{dists + "Release", release},
		{dists + "Release.gpg", detached},
		{dists + "InRelease", inline},
	} {
		if err := write(dir, f.name, f.body); err != nil {
			return err
		}
	}
	return nil
}

type index struct {
	name string
	body []byte
}

// indices are the index of one architecture, plain and in the forms that apt prefers.
func indices(pool []debFile, arch string) ([]index, error) {
	var stanzas []string
	for _, d := range pool {
		if d.arch == arch || d.arch == "all" {
			stanzas = append(stanzas, d.stanza())
		}
	}
	plain := []byte(strings.Join(stanzas, "\n"))
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return []index{{"Packages", plain}, {"Packages.gz", compress(plain)}, {"Packages.xz", b.Bytes()}}, nil
}

// write puts a file into place at once: nobody reads half of it, nor finds half of it after a full disk.
func write(dir, name string, body []byte) error {
	file := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // a repository is for everybody
		return err
	}
	next := file + ".new"
	err := os.WriteFile(next, body, 0o644) //nolint:gosec // packages are for everybody
	if err == nil {
		err = os.Rename(next, file)
	}
	if err != nil {
		_ = os.Remove(next) // it may not be there
	}
	return err
}
