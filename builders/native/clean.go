package native

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/images"
)

// clean leaves in a layer only what an image has, with no time after t: two builds of it then are the same.
// It runs on the layer itself, without the ones below.
func clean(dir string, t time.Time) error {
	var dirs []string // their times last: removing from them changes them
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir)
		if images.Absent(name, e.IsDir()) || absentToo(path, name) {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		if name == "/etc/machine-id" { // systemd makes one at first boot
			if err := os.Truncate(path, 0); err != nil {
				return err
			}
		}
		return clamp(path, t)
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		err = errors.Join(err, clamp(dirs[i], t))
	}
	if err == nil {
		err = clamp(dir, t)
	}
	if err != nil {
		return fmt.Errorf("clean the layer: %w", err)
	}
	return nil
}

// absentToo is what else differs from one build to the next.
func absentToo(path, name string) bool {
	if name == "/var/lib/dpkg/triggers/Lock" {
		return true
	}
	// The link by hash to ssl-cert's own certificate, which no image has.
	target, _ := os.Readlink(path)
	return target == "ssl-cert-snakeoil.pem"
}

// clamp makes a time that is later than t to be t.
func clamp(path string, t time.Time) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	if st.Mtim.Sec < t.Unix() || st.Mtim.Sec == t.Unix() && st.Mtim.Nsec == 0 {
		return nil
	}
	ts := unix.NsecToTimespec(t.UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}
