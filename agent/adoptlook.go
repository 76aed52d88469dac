package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/pgbake/pgbake/agent/adopt"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/rootfs"
)

const (
	// stockConf is where Debian's tools keep the configuration of their clusters; adoptedConf is where it is kept of one
	// that Patroni has taken over: they do not find it there, and neither start nor stop it.
	stockConf   = "/etc/postgresql"
	adoptedConf = "/etc/postgresql.adopted"
)

// lookAdoption finds out what there is to adopt. It changes nothing.
func (w *work) lookAdoption(ctx context.Context) (*adopt.Found, error) {
	c := w.seed.Cluster
	f := &adopt.Found{Place: c.Adopt.Cluster, Data: c.DataDir(), Release: w.debian()}
	if err := w.lookConf(f); err != nil {
		return nil, err
	}
	dir := w.databaseDir()
	major, err := readTheirs(filepath.Join(dir, "PG_VERSION"))
	if err != nil {
		return nil, fmt.Errorf("look for the database to adopt: %w\n      hint: %s is where it must lie; or take adopt out of %s on every machine", err, c.DataDir(), specFile)
	}
	f.Major = strings.TrimSpace(string(major))
	if f.Control, err = w.controlData(ctx); err != nil {
		return nil, err
	}
	if f.Unit, err = w.postmasterUnit(); err != nil {
		return nil, err
	}
	if err := w.lookFiles(f); err != nil {
		return nil, err
	}
	if f.Libraries, err = w.strangeLibraries(ctx, f.Settings); err != nil {
		return nil, err
	}
	if f.Unit != "" && f.Place != "" {
		f.Inside, err = w.lookInside(ctx, f)
	}
	return f, err
}

// debian is the number of this machine's Debian.
func (w *work) debian() string {
	body, _ := os.ReadFile(filepath.Join(w.Root, "/etc/os-release")) // an empty answer is refused
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_ID="); ok {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// lookConf reads the configuration, where it lies or where it is kept since.
func (w *work) lookConf(f *adopt.Found) error {
	home, now := f.Data, w.databaseDir()
	if f.Place != "" {
		home = filepath.Join(stockConf, f.Place)
		now = filepath.Join(w.Root, home)
		if !exists(now) {
			now = filepath.Join(w.Root, adoptedConf, f.Place)
		}
		if !exists(now) {
			return fmt.Errorf("look for the database to adopt: Debian's tools have no cluster %s on this machine\n      hint: pg_lsclusters; adopt.data: true is for a database without them", f.Place)
		}
	}
	a, err := w.begun()
	if err != nil {
		return err
	}
	// at is where a file is that had this path before the adoption.
	at := func(path string) string {
		if rest, ok := strings.CutPrefix(path, home+"/"); ok {
			path = filepath.Join(now, rest)
		} else {
			path = filepath.Join(w.Root, path)
		}
		if a != nil && exists(path+a.Kept) {
			return path + a.Kept
		}
		return path
	}
	f.Conf, f.Settings = now, adopt.Settings{}
	for _, path := range []string{filepath.Join(home, "postgresql.conf"), filepath.Join(f.Data, "postgresql.auto.conf")} {
		if !exists(at(path)) {
			continue // PostgreSQL's defaults
		}
		s, err := adopt.ReadConf(path, at)
		if err != nil {
			return err
		}
		f.Settings = f.Settings.Over(s)
	}
	body, err := os.ReadFile(at(filepath.Join(home, "pg_hba.conf")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(body)) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			f.Access = append(f.Access, strings.Join(words, " "))
		}
	}
	return nil
}

// controlData is what PostgreSQL's control file says, by pg_controldata's words.
func (w *work) controlData(ctx context.Context) (map[string]string, error) {
	out, err := w.Runner.Output(ctx, run.Cmd{
		Args: []string{filepath.Join(w.seed.Cluster.BinDir(), "pg_controldata"), w.databaseDir()}, Env: []string{"LC_ALL=C"},
	})
	if err != nil {
		return nil, fmt.Errorf("look at the database to adopt: %w", err)
	}
	control := map[string]string{}
	for line := range bytes.Lines(out) {
		if key, value, ok := strings.Cut(string(line), ":"); ok {
			control[key] = strings.TrimSpace(value)
		}
	}
	return control, nil
}

// postmasterUnit names the systemd unit that PostgreSQL runs in on the data directory; empty when it does not run.
func (w *work) postmasterUnit() (string, error) {
	body, err := readTheirs(filepath.Join(w.databaseDir(), "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	pid, _, _ := strings.Cut(string(body), "\n")
	proc := filepath.Join(w.Root, "/proc", strings.TrimSpace(pid))
	if comm, err := os.ReadFile(filepath.Join(proc, "comm")); err != nil || strings.TrimSpace(string(comm)) != "postgres" {
		return "", nil //nolint:nilerr // what a power cut left: nobody has that number, or somebody else
	}
	cgroup, err := os.ReadFile(filepath.Join(proc, "cgroup"))
	if err != nil {
		return "", err
	}
	return filepath.Base(strings.TrimSpace(string(cgroup))), nil
}

// lookFiles looks at what lies in the data directory.
func (w *work) lookFiles(f *adopt.Found) error {
	dir := w.databaseDir()
	var info syscall.Stat_t
	if err := syscall.Stat(dir, &info); err != nil {
		return err
	}
	uid, _, err := rootfs.LookupOwner(w.Root, "postgres")
	if err != nil {
		return err
	}
	if int(info.Uid) != uid || info.Mode&0o027 != 0 {
		f.Owner = fmt.Sprintf("of user %d with mode %04o", info.Uid, info.Mode&0o7777)
	}
	for _, name := range []string{"standby.signal", "recovery.signal", "backup_label"} {
		if exists(filepath.Join(dir, name)) {
			f.Recovery = append(f.Recovery, name)
		}
	}
	links, err := below(dir, "pg_tblspc")
	if err != nil {
		return err
	}
	for _, link := range links {
		to, err := os.Readlink(filepath.Join(dir, "pg_tblspc", link))
		if err != nil {
			return err
		}
		f.Tablespaces = append(f.Tablespaces, to)
	}
	if f.Slots, err = below(dir, "pg_replslot"); err != nil {
		return err
	}
	prepared, err := below(dir, "pg_twophase")
	if err != nil {
		return err
	}
	f.Prepared = len(prepared)
	// While it runs, the segment of the last checkpoint may be gone: PostgreSQL itself looks after them.
	if segment := f.Control["Latest checkpoint's REDO WAL file"]; f.Unit == "" && !exists(filepath.Join(dir, "pg_wal", segment)) {
		f.LostWAL = segment
	}
	var room syscall.Statfs_t
	if err := syscall.Statfs(dir, &room); err != nil {
		return err
	}
	f.Free = room.Bavail * uint64(room.Bsize) //nolint:gosec // a block size is positive
	return nil
}

// below lists a directory of the data directory.
func below(dir, name string) (names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, name))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}
