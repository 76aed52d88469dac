package native

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
)

// LockName is the file that a lock is kept in, beside cluster.yaml.
const LockName = "pgbake.lock"

// Lock says which packages an image consists of, to the byte: with it alone an image can be built again.
type Lock struct {
	Format  int             `json:"format"`
	Release cluster.Release `json:"release"`
	Arch    string          `json:"arch"`
	Sources []Source        `json:"sources"`
	Layers  []Packages      `json:"layers"`
}

// lockFormat is raised when older locks can no longer be read.
const lockFormat = 1

// Source is an archive that packages come from, and that machines get their upgrades from.
type Source struct {
	URI   string `json:"uri"`
	Suite string `json:"suite"`
	// Key is the archive's, armored; empty means Debian's own keyring.
	Key string `json:"key,omitempty"`
}

// Packages are those of one layer.
type Packages struct {
	// Name is loaders, or one of images.Image.Layers: base, or the role of an image, db, proxy, all.
	Name string `json:"name"`
	// Want are the names that were asked for; the rest is what they need and the base does not have.
	Want     []string  `json:"want"`
	Packages []Package `json:"packages"`
}

// Package is one .deb.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	URI     string `json:"uri"`
}

// Layer returns the packages of a layer; false when the lock has none of that name.
func (l *Lock) Layer(name string) (Packages, bool) {
	i := slices.IndexFunc(l.Layers, func(p Packages) bool { return p.Name == name })
	if i < 0 {
		return Packages{}, false
	}
	return l.Layers[i], true
}

// secured tells whether packages come from an archive of security fixes, too.
func (l *Lock) secured() bool {
	return slices.ContainsFunc(l.Sources, func(s Source) bool { return strings.HasSuffix(s.Suite, "-security") })
}

// Inits are those that the lock has packages for.
func (l *Lock) Inits() []images.Init {
	var all []images.Init
	for _, init := range images.Inits {
		base, _ := images.Image{Init: init}.Layers()
		if _, ok := l.Layer(base); ok {
			all = append(all, init)
		}
	}
	return all
}

// LoadLock reads a lock; the error is fs.ErrNotExist when there is none.
func LoadLock(name string) (*Lock, error) {
	body, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	l := &Lock{}
	if err := d.Decode(l); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return l, nil
}

// check is what a lock must be before anything is fetched or unpacked by its word.
func (l *Lock) check() error {
	if l.Format != lockFormat {
		return fmt.Errorf("format %d is not %d: make it anew with \"pgbake lock\"", l.Format, lockFormat)
	}
	for _, layer := range l.Layers {
		for _, p := range layer.Packages {
			if len(p.SHA256) != 64 || strings.Trim(p.SHA256, "0123456789abcdef") != "" {
				return fmt.Errorf("%s: %q is no sha256", p.Name, p.SHA256)
			}
			if p.Name == "" || p.Version == "" || p.Size <= 0 || !strings.Contains(p.URI, ":") {
				return fmt.Errorf("package %q: a field is missing", p.Name)
			}
		}
	}
	if len(l.Layers) == 0 {
		return errors.New("it names no packages")
	}
	return nil
}

// Bytes is the lock as it lies in a file: JSON with one line for each package, so that a diff of two locks reads well.
func (l *Lock) Bytes() []byte {
	var b bytes.Buffer
	line := func(v any) string {
		var one bytes.Buffer
		e := json.NewEncoder(&one)
		e.SetEscapeHTML(false)
		_ = e.Encode(v) // strings and numbers only
		return strings.TrimSuffix(one.String(), "\n")
	}
	fmt.Fprintf(&b, "{\"format\": %d, \"release\": %d, \"arch\": %s,\n", l.Format, l.Release, line(l.Arch))
	fmt.Fprintf(&b, " \"sources\": [%s],\n \"layers\": [\n", list(l.Sources, "\n  ", line))
	for i, layer := range l.Layers {
		comma := ","
		if i == len(l.Layers)-1 {
			comma = ""
		}
		fmt.Fprintf(&b, "  {\"name\": %s, \"want\": %s, \"packages\": [%s]}%s\n",
			line(layer.Name), line(layer.Want), list(layer.Packages, "\n   ", line), comma)
	}
	b.WriteString(" ]}\n")
	return b.Bytes()
}

func list[T any](all []T, before string, line func(any) string) string {
	parts := make([]string, len(all))
	for i, v := range all {
		parts[i] = before + line(v)
	}
	return strings.Join(parts, ",")
}

// Save writes the lock, whole or not at all.
func (l *Lock) Save(name string) error {
	return writeWhole(name, l.Bytes())
}

// newMark is in the name of a file that is not whole yet, as in disk's: a hidden one beside the final name.
const newMark = ".new-"

func writeWhole(name string, body []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+newMark+"*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone when all went well
	_, err = f.Write(body)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// Change is a package that two locks have differently: added when Old is empty, gone when New is.
type Change struct{ Layer, Name, Old, New string }

func (c Change) String() string {
	switch {
	case c.Old == "":
		return fmt.Sprintf("%s: + %s %s", c.Layer, c.Name, c.New)
	case c.New == "":
		return fmt.Sprintf("%s: - %s %s", c.Layer, c.Name, c.Old)
	}
	return fmt.Sprintf("%s: %s %s -> %s", c.Layer, c.Name, c.Old, c.New)
}

// Diff is what changes from the old lock to the new one, by layer and name; archives are of the layer "sources". A nil
// lock has nothing in it.
func Diff(before, after *Lock) []Change {
	changes := map[[2]string]*Change{}
	change := func(layer, name string) *Change {
		k := [2]string{layer, name}
		if changes[k] == nil {
			changes[k] = &Change{Layer: layer, Name: name}
		}
		return changes[k]
	}
	each := func(l *Lock, put func(c *Change, version, sum string)) {
		if l == nil {
			return
		}
		for _, s := range l.Sources {
			put(change("sources", s.Suite), s.URI, s.Key)
		}
		for _, layer := range l.Layers {
			for _, p := range layer.Packages {
				put(change(layer.Name, p.Name), p.Version, p.SHA256)
			}
		}
	}
	sums := map[*Change]string{}
	each(before, func(c *Change, version, sum string) { c.Old, sums[c] = version, sum })
	each(after, func(c *Change, version, sum string) {
		c.New = version
		if c.Old == c.New && sums[c] != sum {
			c.New += " (built anew)"
			if c.Layer == "sources" {
				c.New = version + " (another key)"
			}
		}
	})
	var all []Change
	for _, c := range changes {
		if c.Old != c.New {
			all = append(all, *c)
		}
	}
	slices.SortFunc(all, func(a, b Change) int {
		if c := strings.Compare(a.Layer, b.Layer); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}
