// Package archive judges how a primary's WAL comes into its archive, and finds the segments that the archive lacks.
//
// In come what PostgreSQL says of its WAL and what the repository holds; out come a State and the holes. It only computes.
package archive

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Facts are what a primary says of its WAL, at one moment.
type Facts struct {
	// SegmentBytes is wal_segment_size.
	SegmentBytes uint64 `json:"segment_bytes"`
	// Current is the segment that is written, History the text of its timeline's history file, empty on the first timeline.
	Current string `json:"current"`
	History string `json:"history"`
	// Oldest is the first segment that waits, by the last 16 digits of its name; empty when none waits.
	Oldest string `json:"oldest"`
	// Fails is the file that archive_command failed with last, when it has archived none since.
	Fails string `json:"fails"`
	// Waiting is how many files wait, WaitingSeconds how long the first of them has.
	Waiting        int     `json:"waiting"`
	WaitingSeconds float64 `json:"waiting_seconds"`
	// ArchivedSeconds is how long ago the last file was archived; negative when none was since PostgreSQL counts.
	ArchivedSeconds float64 `json:"archived_seconds"`
}

// State is what is known of a primary's archive.
type State struct {
	// Fails is the file that archive_command failed with last, when it has archived none since.
	Fails string `json:"fails,omitempty"`
	// Waiting is how many files wait, WaitingBytes how much WAL that is, WaitingSeconds how long the first of them has waited.
	Waiting        int     `json:"waiting"`
	WaitingBytes   int64   `json:"waiting_bytes"`
	WaitingSeconds float64 `json:"waiting_seconds"`
	// Hangs tells that nothing was archived since the first of them waits, and nothing failed.
	Hangs bool `json:"hangs,omitempty"`
	// Repository is what was found there; nil where none is named, and before it was read.
	Repository *Repository `json:"repository,omitempty"`
}

// Repository is what it holds of the WAL that PostgreSQL counts as archived.
type Repository struct {
	// Error is why it could not be read.
	Error string `json:"error,omitempty"`
	// Backup is the newest one that leads to the database of now; Hole what is missing behind it, nil when nothing is. Without
	// such a backup nothing is known.
	Backup string `json:"backup,omitempty"`
	Hole   *Hole  `json:"hole,omitempty"`
}

// Hole is WAL that the archive lacks.
type Hole struct {
	// First and Last are the names of the first segment and of the last one that are missing, Segments how many there are;
	// between them there may be some that are not.
	First    string `json:"first"`
	Last     string `json:"last"`
	Segments int    `json:"segments"`
	// Reach is when the segment before the first was archived: no moment after it can be restored. Zero when that is not known.
	Reach time.Time `json:"reach,omitzero"`
	// Names are those of the segments that are missing, for who brings them; they may be many.
	Names []string `json:"-"`
}

// Late is how long a file may wait before it is worth a word.
const Late = 5 * time.Minute

// IsLate tells whether files wait for too long.
func (s State) IsLate() bool { return s.WaitingSeconds > Late.Seconds() }

// State is what the facts come to, without the repository.
func (f Facts) State() State {
	return State{
		Fails: f.Fails, Waiting: f.Waiting, WaitingBytes: int64(f.Waiting) * int64(f.SegmentBytes), WaitingSeconds: f.WaitingSeconds, //nolint:gosec // bytes
		Hangs: f.Fails == "" && f.Waiting > 0 && (f.ArchivedSeconds < 0 || f.ArchivedSeconds > f.WaitingSeconds),
	}
}

// Segment is one file of WAL: its timeline, and its place, counted from the first one.
type Segment struct {
	Timeline uint32
	Number   uint64
}

// Name is what PostgreSQL calls its file.
func (s Segment) Name(bytes uint64) string {
	each := uint64(1<<32) / bytes
	return fmt.Sprintf("%08X%08X%08X", s.Timeline, s.Number/each, s.Number%each)
}

// Parse reads the name of a segment.
func Parse(name string, bytes uint64) (s Segment, ok bool) {
	if len(name) != 24 || bytes == 0 || bytes > 1<<32 {
		return s, false
	}
	timeline, err1 := strconv.ParseUint(name[:8], 16, 32)
	high, err2 := strconv.ParseUint(name[8:16], 16, 32)
	low, err3 := strconv.ParseUint(name[16:], 16, 32)
	return Segment{uint32(timeline), high*(1<<32/bytes) + low}, err1 == nil && err2 == nil && err3 == nil
}

// Way lists the segments that recovery reads from one to the last that PostgreSQL counts as archived, in their order. False
// when it is not on the way to the database of now: it is of a timeline that was left before.
func (f Facts) Way(from string) ([]Segment, bool) {
	current, ok := Parse(f.Current, f.SegmentBytes)
	first, valid := Parse(from, f.SegmentBytes)
	if !ok || !valid {
		return nil, false
	}
	way, err := ReadHistory(current.Timeline, f.History)
	if err != nil {
		return nil, false
	}
	for _, t := range way {
		if t.Parent == first.Timeline && first.Number >= t.Fork/f.SegmentBytes {
			// In the segment in which its timeline ended it may lie before that place or behind it: the next timeline has both.
			return nil, false
		}
	}
	return Segments(way, f.SegmentBytes, first, f.Last())
}

// Last is the number of the first segment that PostgreSQL does not count as archived: the one that is written, or one that waits.
func (f Facts) Last() uint64 {
	current, ok := Parse(f.Current, f.SegmentBytes)
	if !ok {
		return 0
	}
	if oldest, ok := Parse(f.Current[:8]+f.Oldest, f.SegmentBytes); ok {
		return min(current.Number, oldest.Number)
	}
	return current.Number
}

// Directories are those of the repository that the segments lie in, by the first 16 digits of their names.
func Directories(way []Segment, bytes uint64) (all []string) {
	for _, s := range way {
		if dir := s.Name(bytes)[:16]; len(all) == 0 || all[len(all)-1] != dir {
			all = append(all, dir)
		}
	}
	return all
}

// file is a segment's in a pgBackRest repository: the checksum of what is in it, and how it is compressed. A partial one, and
// one that is being written, are none.
var file = regexp.MustCompile(`^([0-9A-F]{24})-[0-9a-f]{40}(\.(gz|bz2|lz4|zst))?$`)

// SegmentOf is the segment that a file of the repository holds.
func SegmentOf(name string) (segment string, ok bool) {
	m := file.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// Missing is the hole in a way; held are the segments that there are, and when they were archived.
func Missing(way []Segment, bytes uint64, held map[string]time.Time) *Hole {
	var h *Hole
	var before time.Time
	for _, s := range way {
		name := s.Name(bytes)
		at, there := held[name]
		switch {
		case there && h == nil:
			before = at
		case !there && h == nil:
			h = &Hole{First: name, Last: name, Segments: 1, Reach: before, Names: []string{name}}
		case !there:
			h.Last = name
			h.Segments++
			h.Names = append(h.Names, name)
		}
	}
	return h
}
