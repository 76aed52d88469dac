package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// otherHistory tells that a segment of this size, by its name, holds WAL that the database's history does not: the newest
// history file in pg_wal says that its timeline ended in it, or before it.
//
// PostgreSQL takes such a segment while the archive does not have the next timeline's yet. An old primary archives its last
// segment though no replica has received all of it, and a replica that is far behind would replay what nobody else has. It
// gets the next timeline's segment by streaming, or here when the new primary has filled it.
func otherHistory(pgWAL, segment string, size int64) bool {
	all, err := filepath.Glob(filepath.Join(pgWAL, "????????.history"))
	var timeline, log, number uint32
	if _, bad := fmt.Sscanf(segment, "%8X%8X%8X", &timeline, &log, &number); bad != nil || err != nil || len(all) == 0 {
		return false
	}
	body, err := os.ReadFile(all[len(all)-1]) // by name: the newest timeline
	if err != nil {
		return false
	}
	end := uint64(log)<<32 + (uint64(number)+1)*uint64(size) //nolint:gosec // of a file
	for line := range strings.Lines(string(body)) {
		// Parent, where it ended, why: https://github.com/postgres/postgres/blob/REL_17_STABLE/src/backend/access/transam/timeline.c
		var parent, high, low uint32
		if _, err := fmt.Sscanf(line, "%d\t%X/%X", &parent, &high, &low); err == nil && parent == timeline {
			return uint64(high)<<32+uint64(low) < end
		}
	}
	return false
}
