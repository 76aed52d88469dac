package native

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// deb is a package on its way into a root.
type deb struct {
	path string
	tar  string // decompressed already, where that file exists
	size int64
	// name is the package's; info how dpkg calls its files below info/: with the architecture where several may be installed.
	name, info, version, arch string
	control                   map[string]controlFile
	conffiles                 map[string]bool // without the first slash
	replaces                  map[string]bool
	files                     []string        // as in the archive, filled in by unpack
	lost                      map[string]bool // those that another package replaced
}

// readDebs reads the control files of packages, in the order in which they count: base-files first, as it decides the
// modes of the directories that many have, then by name.
func readDebs(ctx context.Context, paths []string) ([]*deb, error) {
	debs := make([]*deb, len(paths))
	at := make([]int, len(paths))
	for i := range at {
		at[i] = i
	}
	err := parallel(ctx, 2*workers(), at, func(ctx context.Context, i int) (err error) {
		debs[i], err = readDeb(ctx, paths[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(debs, func(a, b *deb) int {
		first := func(d *deb) int {
			if d.name == "base-files" {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(first(a), first(b)), strings.Compare(a.name, b.name))
	})
	return debs, nil
}

func readDeb(ctx context.Context, path string) (*deb, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	files, err := control(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	d := &deb{path: path, size: info.Size(), control: files, conffiles: map[string]bool{}, replaces: map[string]bool{}, lost: map[string]bool{}}
	d.name, d.version, d.arch = d.field("Package"), d.field("Version"), d.field("Architecture")
	if d.name == "" || d.version == "" || d.arch == "" {
		return nil, fmt.Errorf("read %s: its control file has no name, version or architecture", path)
	}
	d.info = d.name
	if d.field("Multi-Arch") == "same" {
		d.info += ":" + d.arch
	}
	for _, f := range d.lines("conffiles") {
		if !strings.Contains(f, " ") { // else a flag comes first: remove-on-upgrade
			d.conffiles[strings.TrimPrefix(f, "/")] = true
		}
	}
	for r := range strings.SplitSeq(d.field("Replaces"), ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(r), " ")
		name, _, _ = strings.Cut(name, ":")
		d.replaces[name] = true
	}
	return d, nil
}

// field is a field of one line in the control file.
func (d *deb) field(name string) string {
	for _, line := range d.lines("control") {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func (d *deb) lines(file string) []string {
	body := strings.TrimRight(string(d.control[file].body), "\n")
	if body == "" {
		return nil
	}
	return strings.Split(body, "\n")
}

// database is dpkg's, below var/lib/dpkg of a root: https://manpages.debian.org/dpkg(1) and deb-triggers(5).
type database struct{ dir string }

func (d database) path(name ...string) string {
	return filepath.Join(append([]string{d.dir}, name...)...)
}

// prepare makes an empty one where there is none.
func (d database) prepare() error {
	for _, name := range []string{"info", "updates", "triggers", "alternatives"} {
		if err := os.MkdirAll(d.path(name), 0o755); err != nil { //nolint:gosec // as dpkg has it
			return err
		}
	}
	for name, body := range map[string]string{"status": "", "info/format": "1\n"} {
		if _, err := os.Lstat(d.path(name)); errors.Is(err, fs.ErrNotExist) {
			if err := os.WriteFile(d.path(name), []byte(body), 0o644); err != nil { //nolint:gosec // as dpkg has it
				return err
			}
		}
	}
	return nil
}

// addControl puts the packages' scripts and other control files where dpkg looks for them.
func (d database) addControl(debs []*deb) error {
	for _, p := range debs {
		for name, f := range p.control {
			if name == "control" {
				continue // that is the package's part of status
			}
			at := d.path("info", p.info+"."+name)
			if err := os.WriteFile(at, f.body, 0o600); err != nil {
				return err
			}
			if err := errors.Join(os.Chmod(at, f.mode), os.Chtimes(at, f.time, f.time)); err != nil {
				return err
			}
		}
	}
	return nil
}

// addUnpacked makes dpkg know the packages as unpacked, with their lists of files and their triggers.
func (d database) addUnpacked(debs []*deb) error {
	status, err := os.ReadFile(d.path("status"))
	if err != nil {
		return err
	}
	all := bytes.NewBuffer(status)
	for _, p := range debs {
		var list strings.Builder
		for _, f := range p.files {
			if !p.lost[f] {
				list.WriteString("/" + f + "\n")
			}
		}
		if err := os.WriteFile(d.path("info", p.info+".list"), []byte(list.String()), 0o644); err != nil { //nolint:gosec // as dpkg has it
			return err
		}
		all.WriteString(stanza(p))
	}
	if err := os.WriteFile(d.path("status"), all.Bytes(), 0o644); err != nil { //nolint:gosec // as dpkg has it
		return err
	}
	return d.addTriggers(debs)
}

// stanza is a package's part of status; dpkg writes it in its own order of fields later.
func stanza(p *deb) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Package: %s\nStatus: install ok unpacked\n", p.name)
	for _, line := range p.lines("control") {
		if !strings.HasPrefix(line, "Package:") {
			b.WriteString(line + "\n")
		}
	}
	if len(p.conffiles) > 0 {
		b.WriteString("Conffiles:\n")
		for _, f := range p.lines("conffiles") {
			if p.conffiles[strings.TrimPrefix(f, "/")] {
				b.WriteString(" " + f + " newconffile\n")
			}
		}
	}
	return b.String() + "\n"
}

// addTriggers notes what the packages are interested in, and wakes the interest of installed ones in paths that the
// packages brought. dpkg itself wakes what is activated by name, when it configures.
func (d database) addTriggers(debs []*deb) error {
	for _, p := range debs {
		for _, line := range p.lines("triggers") {
			f := strings.Fields(line)
			if len(f) != 2 || !strings.HasPrefix(f[0], "interest") {
				continue
			}
			who := p.info
			if strings.HasSuffix(f[0], "-noawait") {
				who += "/noawait"
			}
			file, line := d.path("triggers", f[1]), who
			if strings.HasPrefix(f[1], "/") {
				file, line = d.path("triggers/File"), f[1]+" "+who
			}
			if err := appendLine(file, line); err != nil {
				return err
			}
		}
	}
	woken, err := d.woken(debs)
	if err != nil {
		return err
	}
	for _, path := range woken {
		if err := appendLine(d.path("triggers/Unincorp"), path+" -"); err != nil {
			return err
		}
	}
	return nil
}

// woken are the paths somebody is interested in that the packages have something at or below.
func (d database) woken(debs []*deb) ([]string, error) {
	body, err := os.ReadFile(d.path("triggers/File"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var woken []string
	for line := range strings.Lines(string(body)) {
		path, _, _ := strings.Cut(line, " ")
		if !slices.Contains(woken, path) && slices.ContainsFunc(debs, func(p *deb) bool {
			return slices.ContainsFunc(p.files, func(f string) bool {
				return "/"+f == path || strings.HasPrefix("/"+f, path+"/")
			})
		}) {
			woken = append(woken, path)
		}
	}
	return woken, nil
}

func appendLine(file, line string) error {
	body, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if slices.Contains(strings.Split(string(body), "\n"), line) {
		return nil
	}
	return os.WriteFile(file, append(body, line+"\n"...), 0o644) //nolint:gosec // as dpkg has it
}

// diversions are those that dpkg-divert wrote down: three lines each, from, to, by whom.
func (d database) diversions() (map[string]diversion, error) {
	body, err := os.ReadFile(d.path("diversions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := map[string]diversion{}
	lines := strings.Split(strings.TrimSpace(string(body)), "\n")
	for i := 0; i+2 < len(lines); i += 3 {
		all[strings.TrimPrefix(lines[i], "/")] = diversion{strings.TrimPrefix(lines[i+1], "/"), lines[i+2]}
	}
	return all, nil
}

// unconfigured are the packages that are not installed as they should be, with their state.
func (d database) unconfigured() ([]string, error) {
	body, err := os.ReadFile(d.path("status"))
	if err != nil {
		return nil, err
	}
	var bad []string
	name := ""
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSuffix(line, "\n")
		if n, ok := strings.CutPrefix(line, "Package: "); ok {
			name = n
		}
		if s, ok := strings.CutPrefix(line, "Status: "); ok && s != "install ok installed" {
			bad = append(bad, name+" ("+s+")")
		}
	}
	return bad, nil
}

func sortBy[T any](s []T, less func(a, b T) bool) {
	slices.SortFunc(s, func(a, b T) int {
		switch {
		case less(a, b):
			return -1
		case less(b, a):
			return 1
		}
		return 0
	})
}
