package native

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/internal/step"
)

// unpacker lays the files of packages into a root as dpkg does, several packages at a time. Every path is looked up
// by the kernel as if the root were "/": no link in a package leads out of it.
type unpacker struct {
	root int // the root's descriptor
	debs []*deb
	// usr says that the root has Debian's merged /usr: /bin and the like are links.
	usr bool
	// diverted is where a path goes instead, and whose diversion it is.
	diverted map[string]diversion

	mu sync.Mutex
	// owner is which package a path is from, by its place in debs. Paths are those behind Debian's merged /usr.
	owner map[string]int
	// dirs are the directories made here, with what the first package that has one says of it.
	dirs map[string]dir
	// newest is the time of the youngest file, in seconds.
	newest int64
}

type dir struct {
	header *tar.Header // nil: no package has it, only something below
	index  int
}

type diversion struct{ to, by string }

// conffileSuffix is what dpkg gives a configuration file until the package is configured.
const conffileSuffix = ".dpkg-new"

// unpack lays out the debs and returns the time of the youngest file. Directories in fresh were made for them.
func unpack(ctx context.Context, root string, debs []*deb, diverted map[string]diversion, fresh ...string) (newest int64, err error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(fd) //nolint:errcheck // only a path
	u := &unpacker{root: fd, debs: debs, diverted: diverted, owner: map[string]int{}, dirs: map[string]dir{}}
	var st unix.Stat_t
	if err := unix.Fstatat(fd, "lib", &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
		u.usr = st.Mode&unix.S_IFMT == unix.S_IFLNK
	}
	for _, name := range fresh {
		u.dirs[name] = dir{}
	}
	order := make([]int, len(debs))
	for i := range order {
		order[i] = i
	}
	// The longest first, so that none of them is left alone at the end.
	sortBy(order, func(a, b int) bool { return debs[a].size > debs[b].size })
	all, done := int64(0), atomic.Int64{}
	for _, d := range debs {
		all += d.size
	}
	err = parallel(ctx, workers(), order, func(ctx context.Context, i int) error {
		p := &place{u: u, index: i, deb: debs[i], buffer: make([]byte, 256<<10), parent: -1}
		defer p.close()
		defer func() { step.Progress(ctx, done.Add(debs[i].size), all) }()
		if err := debs[i].contents(ctx, p.put); err != nil {
			return fmt.Errorf("unpack %s: %w", debs[i].name, err)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return u.newest, u.finishDirs()
}

// finishDirs gives directories their owners, modes and times: by the package that comes first, however the packages raced.
func (u *unpacker) finishDirs() error {
	names := make([]string, 0, len(u.dirs))
	for name := range u.dirs {
		names = append(names, name)
	}
	sortBy(names, func(a, b string) bool { return a > b }) // children before their parents
	for _, name := range names {
		h := u.dirs[name].header
		if h == nil {
			continue
		}
		fd, err := u.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return fmt.Errorf("open directory %s: %w", name, err)
		}
		err = setMeta(fd, h)
		if err := errors.Join(err, unix.Close(fd)); err != nil {
			return fmt.Errorf("set mode of directory %s: %w", name, err)
		}
	}
	return nil
}

// open opens a path of the root.
func (u *unpacker) open(name string, flags uint64) (int, error) {
	return unix.Openat2(u.root, name, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
}

func setMeta(fd int, h *tar.Header) error {
	if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, uint32(h.Mode&0o7777)); err != nil { //nolint:gosec // twelve bits
		return err
	}
	tv := unix.NsecToTimeval(h.ModTime.UnixNano())
	return unix.Futimes(fd, []unix.Timeval{tv, tv})
}

// place is where one package is being unpacked.
type place struct {
	u      *unpacker
	index  int
	deb    *deb
	buffer []byte
	// parent is the directory of the latest file, open: files come sorted by directory.
	parent     int
	parentName string
}

func (p *place) close() {
	if p.parent >= 0 {
		unix.Close(p.parent) //nolint:errcheck // only a path
	}
}

// put lays out one member.
func (p *place) put(e entry) error {
	p.deb.files = append(p.deb.files, e.name)
	if e.Typeflag == tar.TypeDir {
		return p.directory(e)
	}
	to := e.name
	if d, ok := p.u.diverted[e.name]; ok && d.by != p.deb.name {
		to = d.to
	}
	if keep, err := p.claim(to, e.name, e.ModTime.Unix()); err != nil || !keep {
		return err
	}
	if p.deb.conffiles[e.name] {
		to += conffileSuffix
	}
	if err := p.enter(path.Dir(to)); err != nil {
		return err
	}
	base := path.Base(to)
	err := p.create(base, e)
	if errors.Is(err, unix.EEXIST) {
		// Another package's that this one replaces, or one that a link was made for beforehand (bin -> usr/bin).
		if same, sameErr := p.sameLink(base, e); same || sameErr != nil {
			return sameErr
		}
		if err := unix.Unlinkat(p.parent, base, 0); err != nil {
			return err
		}
		err = p.create(base, e)
	}
	return err
}

// claim notes whose a path is; false when another package's file stays in its place.
func (p *place) claim(to, name string, mtime int64) (bool, error) {
	key := p.u.merged(to)
	p.u.mu.Lock()
	defer p.u.mu.Unlock()
	p.u.newest = max(p.u.newest, mtime)
	other, taken := p.u.owner[key]
	if !taken || other == p.index {
		p.u.owner[key] = p.index
		return true, nil
	}
	o := p.u.debs[other]
	switch {
	case p.deb.replaces[o.name]:
		o.lost[name] = true
		p.u.owner[key] = p.index
		return true, nil
	case o.replaces[p.deb.name]:
		p.deb.lost[name] = true
		return false, nil
	}
	return false, fmt.Errorf("%s has it too, and neither replaces the other", o.name)
}

// merged is a path behind the links that Debian's merged /usr has for the old directories.
func (u *unpacker) merged(name string) string {
	first, _, _ := strings.Cut(name, "/")
	if u.usr && mergedDirs[first] {
		return "usr/" + name
	}
	return name
}

var mergedDirs = map[string]bool{"bin": true, "sbin": true, "lib": true, "lib32": true, "lib64": true, "libx32": true}

// enter makes the directory the parent of what comes next.
func (p *place) enter(name string) error {
	if p.parent >= 0 && name == p.parentName {
		return nil
	}
	fd, err := p.u.open(name, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) { // not every package names its directories
		if err = p.mkdir(name, nil); err != nil {
			return err
		}
		fd, err = p.u.open(name, unix.O_PATH|unix.O_DIRECTORY)
	}
	if err != nil {
		return fmt.Errorf("open directory %s: %w", name, err)
	}
	p.close()
	p.parent, p.parentName = fd, name
	return nil
}

func (p *place) directory(e entry) error {
	if e.name == "." {
		return nil // the root's own mode is 0755, whatever a package says
	}
	return p.mkdir(e.name, e.Header)
}

func (p *place) mkdir(name string, h *tar.Header) error {
	if err := p.enter(path.Dir(name)); err != nil {
		return err
	}
	err := unix.Mkdirat(p.parent, path.Base(name), 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	p.u.mu.Lock()
	defer p.u.mu.Unlock()
	key := p.u.merged(name)
	d, known := p.u.dirs[key]
	if err != nil && !known {
		return nil // it was there before: as with dpkg, its mode stays
	}
	if !known || h != nil && (d.header == nil || p.index < d.index) {
		p.u.dirs[key] = dir{h, p.index}
	}
	return nil
}

// create makes what the member is, in the parent; EEXIST when something is there.
func (p *place) create(base string, e entry) error {
	switch e.Typeflag {
	case tar.TypeReg:
		return p.regular(base, e)
	case tar.TypeLink:
		target := path.Clean("/" + e.Linkname)[1:]
		if p.deb.conffiles[target] {
			target += conffileSuffix
		}
		fd, err := p.u.open(path.Dir(target), unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		return errors.Join(unix.Linkat(fd, path.Base(target), p.parent, base, 0), unix.Close(fd))
	case tar.TypeSymlink:
		if err := unix.Symlinkat(e.Linkname, p.parent, base); err != nil {
			return err
		}
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		kind := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[e.Typeflag]
		dev := unix.Mkdev(uint32(e.Devmajor), uint32(e.Devminor))                                  //nolint:gosec // device numbers
		if err := unix.Mknodat(p.parent, base, kind|uint32(e.Mode&0o7777), int(dev)); err != nil { //nolint:gosec // twelve bits
			return err
		}
	default:
		return fmt.Errorf("member of unknown type %q", e.Typeflag)
	}
	if err := unix.Fchownat(p.parent, base, e.Uid, e.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	ts := unix.NsecToTimespec(e.ModTime.UnixNano())
	return unix.UtimesNanoAt(p.parent, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

func (p *place) regular(base string, e entry) error {
	fd, err := unix.Openat(p.parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), e.name)
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, e.body, p.buffer)
	if err == nil {
		err = setMeta(fd, e.Header)
	}
	return errors.Join(err, f.Close())
}

// sameLink tells whether the link is there already, or leads to the directory that is there.
func (p *place) sameLink(base string, e entry) (bool, error) {
	if e.Typeflag != tar.TypeSymlink {
		return false, nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(p.parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return true, nil // as dpkg does
	case unix.S_IFLNK:
		b := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(p.parent, base, b)
		return err == nil && string(b[:n]) == e.Linkname, err
	}
	return false, nil
}
