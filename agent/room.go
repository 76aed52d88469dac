package agent

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/rootfs"
)

// How much WAL a dead member's slot, or a repository that does not answer, may keep follows what the data leaves of the disk. An apply
// is too seldom for that: pgha-follow sees that the room has changed, and roomUnit writes the new limit.

const (
	roomUnit = "pgha-room.service"
	// roomPause is how far two looks at the room are apart.
	roomPause = time.Minute
)

// walRoom is what is free for WAL on the file system of dir, and what it has there now, in bytes; 0 when it cannot be told. wal may be a
// link to another disk, as an adopted database may have it: then that one counts.
func walRoom(dir, wal string) uint64 {
	entries, err := os.ReadDir(wal)
	if err == nil {
		dir = wal
	}
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil {
		return 0
	}
	sum := fs.Bavail * uint64(fs.Bsize) //nolint:gosec // a block size is positive
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			sum += uint64(info.Size()) //nolint:gosec // a size is positive
		}
	}
	return max(sum, 1) // a full disk is known
}

// The limits that follow the room, by their keys.
const (
	slotLimitKey  = "max_slot_wal_keep_size"
	walLimitKey   = "max_wal_size"
	queueLimitKey = "archive-push-queue-max"
)

var limitLine = regexp.MustCompile(`(?m)^( *)(` + slotLimitKey + `|` + walLimitKey + `|` + queueLimitKey + `)(: |=)"?(\d+)(MB|GB)"?$`)

// limitOf reads a limit, in bytes, in a file that pgha has written; 0 when it has none.
func limitOf(path, key string) uint64 {
	body, _ := os.ReadFile(path) // one that is not there has none
	for _, m := range limitLine.FindAllSubmatch(body, -1) {
		if string(m[2]) != key {
			continue
		}
		n, _ := strconv.ParseUint(string(m[4]), 10, 32)
		if string(m[5]) == "GB" {
			return n << 30
		}
		return n << 20
	}
	return 0
}

// onlyLimits tells whether two versions of a file differ in nothing but those limits.
func onlyLimits(a, b []byte) bool {
	with := []byte("${1}${2}")
	return string(limitLine.ReplaceAll(a, with)) == string(limitLine.ReplaceAll(b, with))
}

// FollowRoom writes the limits anew where they are not right any more, and has Patroni read them. What else an apply would change it
// leaves to an apply; it takes no lock, since an apply may wait for days, and would write the same.
func (a *Agent) FollowRoom(ctx context.Context) error {
	w, err := a.prepare()
	if err != nil {
		return err
	}
	var files []rootfs.File
	for _, f := range w.files {
		had, err := os.ReadFile(filepath.Join(w.Root, f.Path))
		if err == nil && limitLine.Match(f.Body) && onlyLimits(had, f.Body) {
			files = append(files, f)
		}
	}
	changed, err := rootfs.Write(w.Root, files)
	for _, f := range changed {
		for _, m := range limitLine.FindAllSubmatch(f.Body, -1) {
			w.Say("wrote %s: %s is %s%s now, for the room that is left", f.Path, m[2], m[4], m[5])
		}
		if f.Path == cluster.PatroniConfig && w.Runner.Run(ctx, run.Command("systemctl", "is-active", "-q", "patroni.service")) == nil {
			if err := w.systemctl(ctx, "reload", "patroni.service"); err != nil {
				return err
			}
		}
	}
	return err
}

// room has the limits looked at when what is free has changed by a tenth. Not here: it needs more rights than this service has.
func (f *follower) room(ctx context.Context) {
	if f.seed.Machine.Role != cluster.DB || time.Since(f.roomAt) < roomPause {
		return
	}
	f.roomAt = time.Now()
	free := walRoom(filepath.Join(f.Root, dataPath), "")
	if free > f.free/10*9 && free < f.free/9*10 {
		return
	}
	if err := f.Runner.Run(ctx, run.Command("systemctl", "start", "--no-block", roomUnit)); err != nil && ctx.Err() == nil {
		f.Say("%v", err)
		return
	}
	f.free = free
}
