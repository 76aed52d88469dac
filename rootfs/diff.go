package rootfs

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Change is one file that Write would write.
type Change struct {
	File File
	// Text says what would change, for people: a unified diff, or one sentence where the body must not be shown.
	Text string
}

// Diff returns what Write would change, in the files' order. It writes nothing.
//
// Bodies of files that not everybody may read are never shown, neither the old nor the new one.
func Diff(root string, files []File) ([]Change, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open the root: %w", err)
	}
	defer r.Close() //nolint:errcheck // only a directory handle
	owners, err := readOwners(r)
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, f := range files {
		text, err := diff(r, owners, f)
		if err != nil {
			return nil, fmt.Errorf("compare %s: %w", f.Path, err)
		}
		if text != "" {
			changes = append(changes, Change{f, text})
		}
	}
	return changes, nil
}

func diff(r *os.Root, owners owners, f File) (string, error) {
	now, err := read(r, strings.TrimPrefix(path.Clean(f.Path), "/"))
	if err != nil {
		return "", err
	}
	uid, gid, err := owners.lookup(f.Owner)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	switch {
	case !now.exists:
	case !now.regular:
		fmt.Fprintf(&b, "%s: is not a regular file, would be replaced by one\n", f.Path)
	default:
		if now.mode != f.Mode.Perm() {
			fmt.Fprintf(&b, "%s: mode %04o would be %04o\n", f.Path, now.mode, f.Mode.Perm())
		}
		if now.uid != uid || now.gid != gid {
			fmt.Fprintf(&b, "%s: owner %d:%d would be %d:%d\n", f.Path, now.uid, now.gid, uid, gid)
		}
	}
	switch {
	case now.regular && bytes.Equal(now.body, f.Body):
	case !now.exists && secret(f.Mode):
		fmt.Fprintf(&b, "%s: would be made (not shown: it may hold secrets)\n", f.Path)
	case secret(f.Mode) || now.exists && secret(now.mode):
		fmt.Fprintf(&b, "%s: content differs (not shown: it may hold secrets)\n", f.Path)
	default:
		from := f.Path
		if !now.exists {
			from = "/dev/null"
		}
		b.WriteString(unified(from, f.Path, string(now.body), string(f.Body)))
	}
	return b.String(), nil
}

// secret is a file that not everybody may read. The group's bits do not make it public: haproxy.cfg is 0640.
func secret(mode fs.FileMode) bool { return mode&0o007 == 0 }
