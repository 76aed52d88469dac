package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// LookupOwner turns "user" or "user:group" into numbers, by the root's own /etc/passwd and /etc/group: the
// machine's, not the host's. "user" alone stands for the user's own group, "" for root.
func LookupOwner(root, owner string) (uid, gid int, err error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return 0, 0, fmt.Errorf("open the root: %w", err)
	}
	defer r.Close() //nolint:errcheck // only a directory handle
	o, err := readOwners(r)
	if err != nil {
		return 0, 0, err
	}
	return o.lookup(owner)
}

// owners are a root's users and groups.
type owners struct {
	users  map[string][2]int // uid, gid
	groups map[string]int
}

func readOwners(r *os.Root) (owners, error) {
	// root is root even in a root that has no passwd yet.
	o := owners{users: map[string][2]int{"root": {0, 0}}, groups: map[string]int{"root": 0}}
	err := eachEntry(r, "etc/passwd", 4, func(f []string) error { // name:x:uid:gid:…
		uid, err1 := strconv.Atoi(f[2])
		gid, err2 := strconv.Atoi(f[3])
		o.users[f[0]] = [2]int{uid, gid}
		return errors.Join(err1, err2)
	})
	if err != nil {
		return o, err
	}
	return o, eachEntry(r, "etc/group", 3, func(f []string) error { // name:x:gid:…
		gid, err := strconv.Atoi(f[2])
		o.groups[f[0]] = gid
		return err
	})
}

func eachEntry(r *os.Root, name string, fields int, entry func([]string) error) error {
	body, err := r.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read /%s: %w", name, err)
	}
	for line := range strings.Lines(string(body)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < fields {
			continue
		}
		if err := entry(f); err != nil {
			return fmt.Errorf("read /%s: %s: %w", name, f[0], err)
		}
	}
	return nil
}

func (o owners) lookup(owner string) (uid, gid int, err error) {
	if owner == "" {
		return 0, 0, nil
	}
	user, group, hasGroup := strings.Cut(owner, ":")
	u, ok := o.users[user]
	if !ok {
		return 0, 0, fmt.Errorf("look up owner %s: no such user in /etc/passwd", user)
	}
	if !hasGroup {
		return u[0], u[1], nil
	}
	g, ok := o.groups[group]
	if !ok {
		return 0, 0, fmt.Errorf("look up owner %s: no such group in /etc/group", owner)
	}
	return u[0], g, nil
}
