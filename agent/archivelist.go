package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/archive"
)

// archived is the archive of one database in the repository, as pgBackRest shows it.
type archived struct {
	pgbackrest func(context.Context, ...string) ([]byte, error)
	// path is the archive's directory in the repository.
	path string
	// files are the names of what lies in it, with when it came there.
	files map[string]time.Time
}

// archivedIn opens the archive with pgBackRest's name for it, such as 17-1.
func archivedIn(ctx context.Context, pgbackrest func(context.Context, ...string) ([]byte, error), stanza, id string) (a archived, err error) {
	a = archived{pgbackrest: pgbackrest, path: "archive/" + stanza + "/" + id}
	a.files, err = a.list(ctx, "")
	return a, err
}

// list lists a directory of the archive, its subdirectories among them.
func (a archived) list(ctx context.Context, dir string) (map[string]time.Time, error) {
	out, err := a.pgbackrest(ctx, "repo-ls", "--output=json", strings.TrimSuffix(a.path+"/"+dir, "/"))
	if err != nil {
		return nil, fmt.Errorf("the repository does not answer: %w", err)
	}
	var files map[string]struct {
		Type string
		Time int64
	}
	if err := json.Unmarshal(out, &files); err != nil {
		return nil, fmt.Errorf("read what pgBackRest says of the archive: %w", err)
	}
	all := map[string]time.Time{}
	for name, is := range files {
		if is.Type == "file" || is.Type == "path" && name != "." {
			all[name] = time.Unix(is.Time, 0).UTC()
		}
	}
	return all, nil
}

// segments lists those in one directory, by the first 16 digits of their names, and when each was archived.
func (a archived) segments(ctx context.Context, dir string) (map[string]time.Time, error) {
	files, err := a.list(ctx, dir)
	held := map[string]time.Time{}
	for name, at := range files {
		if segment, ok := archive.SegmentOf(name); ok {
			held[segment] = at
		}
	}
	return held, err
}

// holeTo is what the archive lacks of the segments from one on to a moment, along timelines of which the last one leads there;
// nil when it lacks nothing. The facts are of a primary on that timeline; without them the archive ends with the newest segment
// that it has of it. A segment is needed while those before it were archived up to the moment.
func (a archived) holeTo(ctx context.Context, way []archive.Timeline, segmentBytes uint64, first archive.Segment, facts *archive.Facts, to time.Time) (*archive.Hole, error) {
	var last uint64
	if facts != nil {
		last = facts.Last()
	} else {
		newest, err := a.newest(ctx, way[len(way)-1].ID)
		if err != nil {
			return nil, err
		}
		if s, ok := archive.Parse(newest, segmentBytes); ok {
			last = s.Number + 1
		}
		last = max(last, way[len(way)-1].Fork/segmentBytes)
	}
	segments, ok := archive.Segments(way, segmentBytes, first, last)
	if !ok {
		return nil, nil //nolint:nilnil // nothing is known of it
	}
	held := map[string]time.Time{}
	var needed []archive.Segment
	for _, dir := range archive.Directories(segments, segmentBytes) {
		in, err := a.segments(ctx, dir)
		if err != nil {
			return nil, err
		}
		maps.Copy(held, in)
		for _, s := range segments[len(needed):] {
			name := s.Name(segmentBytes)
			if name[:16] != dir {
				break
			}
			needed = append(needed, s)
			if held[name].After(to) {
				return archive.Missing(needed, segmentBytes, held), nil
			}
		}
	}
	return archive.Missing(needed, segmentBytes, held), nil
}

// newest is the newest segment that the archive has of a timeline; empty when it has none.
func (a archived) newest(ctx context.Context, timeline uint32) (string, error) {
	dir := ""
	for name := range a.files {
		if len(name) == 16 && strings.HasPrefix(name, fmt.Sprintf("%08X", timeline)) {
			dir = max(dir, name)
		}
	}
	if dir == "" {
		return "", nil
	}
	in, err := a.segments(ctx, dir)
	newest := ""
	for name := range in {
		newest = max(newest, name)
	}
	return newest, err
}
