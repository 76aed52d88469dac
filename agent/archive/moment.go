package archive

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Backup is one of the repository's, as far as it matters where it leads.
type Backup struct {
	Name     string
	Timeline uint32
	// Began and Ended are in whole seconds, as the repository has them; End is the position behind the last WAL that it needs.
	Began, Ended time.Time
	End          uint64
	// Good tells that it may be chosen when none is named.
	Good bool
}

// Past is what a repository holds of a database.
type Past struct {
	Backups []Backup
	// Timelines are those that history files tell of, each once.
	Timelines []Timeline
	// Live is the timeline that the database is on now.
	Live uint32
}

// Choice is how a moment is reached.
type Choice struct {
	// Backup is what is restored; recovery goes from it to Timeline.
	Backup   Backup
	Timeline uint32
	// Way are the timelines that lead there, the oldest first and Timeline the last.
	Way []Timeline
	// Left says which timeline that is, and when the cluster left it; empty when that is the one it is on now.
	Left string
}

// To chooses the timeline and the backup that lead to a moment: the backup of that name, or the newest good one when none is named.
//
// The database had at that moment what the timeline has that the cluster was on then. A failover's timeline has all of that, too,
// and is preferred: the last segment of its parent is often archived only as a .partial one, which recovery does not read. A
// restore's timeline is never gone on to: it left out what its parent wrote behind the fork.
func (p Past) To(to time.Time, name string) (Choice, error) {
	k := p.known()
	k.zone = to.Location()
	periods := k.periods()
	at := -1
	for i, each := range periods {
		if !each.Since.After(to) {
			at = i
		}
	}
	if at < 0 {
		return Choice{}, fmt.Errorf("%s is before the first timeline that the repository knows of%s", k.clock(to), k.reach(periods))
	}
	target := k.follow(periods[at].ID)
	c := Choice{Timeline: target, Way: k.way(target)}
	if target != p.Live {
		c.Left = k.left(c.Way, periods[at+1:])
	}
	found := false
	for _, b := range p.Backups {
		switch {
		case name != "" && b.Name != name, name == "" && !b.Good:
		case !leads(b, c.Way):
			if name != "" {
				return c, fmt.Errorf("%s is of timeline %d, and does not lead to timeline %d, which the cluster was on at %s%s", name, b.Timeline, target, k.clock(to), k.reach(periods))
			}
		case b.Ended.After(to):
			if name != "" {
				return c, fmt.Errorf("%s is before the end of %s, %s%s", k.clock(to), name, k.clock(b.Ended), k.reach(periods))
			}
		case !found || b.Ended.After(c.Backup.Ended):
			c.Backup, found = b, true
		}
	}
	if !found && name != "" {
		return c, fmt.Errorf("there is no backup %s in the repository\n      hint: pgha backup list", name)
	}
	if !found {
		return c, fmt.Errorf("%s is before the end of the oldest backup that could lead there, on timeline %d%s", k.clock(to), target, k.reach(periods))
	}
	return c, nil
}

// Newest is the name of the newest good backup that leads to the database of now and had begun by then; empty when none does. One that
// began later was taken by a clock that was wrong.
func (p Past) Newest(then time.Time) string {
	way := p.known().way(p.Live)
	var newest Backup
	for _, b := range p.Backups {
		if b.Good && !b.Began.After(then) && leads(b, way) && (newest.Name == "" || b.Ended.After(newest.Ended)) {
			newest = b
		}
	}
	return newest.Name
}

// LeftOf is Choice.Left of a backup: empty when it leads to the database of now.
func (p Past) LeftOf(name string, zone *time.Location) string {
	at := slices.IndexFunc(p.Backups, func(b Backup) bool { return b.Name == name })
	if at < 0 {
		return ""
	}
	k, b := p.known(), p.Backups[at]
	if leads(b, k.way(p.Live)) {
		return ""
	}
	k.zone = zone
	periods := k.periods()
	own := slices.IndexFunc(periods, func(t Timeline) bool { return t.ID == b.Timeline })
	return k.left(k.way(b.Timeline), periods[own+1:])
}

// clock is a time for people, in the zone of the moment that they asked for.
func (k known) clock(t time.Time) string { return t.In(k.zone).Format(Moment) }

// Moment is the layout of a moment, for people and for PostgreSQL.
const Moment = "2006-01-02 15:04:05.999999-07:00"

// leads tells whether recovery from a backup comes to the end of a way: its timeline is on it, and was not left before its end.
func leads(b Backup, way []Timeline) bool {
	for i, t := range way {
		if t.ID == b.Timeline {
			return i+1 == len(way) || b.End <= way[i+1].Fork
		}
	}
	return false
}

// known is what a past comes to: every timeline by its number.
type known struct {
	Past
	timelines map[uint32]Timeline
	zone      *time.Location
}

// known adds the timelines without a history file, and says since when the cluster was on each of them, at the latest.
func (p Past) known() known {
	k := known{Past: p, timelines: map[uint32]Timeline{}}
	for _, t := range p.Timelines {
		k.timelines[t.ID] = t
	}
	earlier := func(id uint32, than time.Time) {
		t := k.timelines[id]
		if t.ID = id; t.Since.IsZero() || !than.IsZero() && than.Before(t.Since) {
			t.Since = than
		}
		k.timelines[id] = t
	}
	earlier(p.Live, time.Time{})
	for _, b := range p.Backups {
		earlier(b.Timeline, b.Began) // also where the repository was copied, and with it every file became new
	}
	// A timeline's number is higher than its parent's.
	ids := k.ids()
	for _, id := range slices.Backward(ids) {
		if t := k.timelines[id]; t.Parent != 0 {
			earlier(t.Parent, t.Since)
		}
	}
	if first := k.timelines[ids[0]]; !slices.ContainsFunc(p.Timelines, func(t Timeline) bool { return t.ID == first.ID && !t.Since.IsZero() }) {
		first.Since = always // the oldest one has no history file: nothing is older
		k.timelines[first.ID] = first
	}
	return k
}

// always is earlier than any moment.
var always = time.Unix(0, 0).UTC()

func (k known) ids() (ids []uint32) {
	for id := range k.timelines {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// periods are the timelines that the cluster was on, one after the other. The newest one is left out while nothing of it is archived.
func (k known) periods() (all []Timeline) {
	for _, id := range k.ids() {
		if t := k.timelines[id]; !t.Since.IsZero() {
			all = append(all, t)
		}
	}
	slices.SortStableFunc(all, func(a, b Timeline) int { return a.Since.Compare(b.Since) }) // at the same time: by number
	return all
}

// way lists a timeline and those it descends from, the oldest first.
func (k known) way(id uint32) (way []Timeline) {
	for id != 0 {
		t := k.timelines[id]
		t.ID = id
		way = append(way, t)
		id = t.Parent
	}
	slices.Reverse(way)
	return way
}

// follow is the last timeline that goes on where this one ended. Of two the one goes on that has more of it, then the one that
// leads to the database of now, then the older one.
func (k known) follow(id uint32) uint32 {
	live := k.way(k.Live)
	isLive := func(t Timeline) int {
		if slices.ContainsFunc(live, func(l Timeline) bool { return l.ID == t.ID }) {
			return 1
		}
		return 0
	}
	for {
		var next []Timeline
		for _, each := range k.ids() {
			if t := k.timelines[each]; t.Parent == id && !t.Restored {
				next = append(next, t)
			}
		}
		if len(next) == 0 {
			return id
		}
		slices.SortStableFunc(next, func(a, b Timeline) int {
			return cmp.Or(cmp.Compare(b.Fork, a.Fork), cmp.Compare(isLive(b), isLive(a)))
		})
		id = next[0].ID
	}
}

// left says when the cluster left a way, of the timelines that it came onto later.
func (k known) left(way []Timeline, later []Timeline) string {
	id := way[len(way)-1].ID
	for _, t := range later {
		switch {
		case slices.ContainsFunc(way, func(on Timeline) bool { return on.ID == t.ID }):
		case t.Restored:
			return fmt.Sprintf("timeline %d, which the cluster left at %s when it was restored to %s", id, k.clock(t.Since), t.To)
		default:
			return fmt.Sprintf("timeline %d, which the cluster left at %s for timeline %d", id, k.clock(t.Since), t.ID)
		}
	}
	return fmt.Sprintf("timeline %d, which is not the one of now, %d", id, k.Live)
}

// reach says, as a hint, what can be restored.
func (k known) reach(periods []Timeline) string {
	var all []string
	for i, each := range periods {
		way := k.way(k.follow(each.ID))
		var from time.Time
		for _, b := range k.Backups {
			if b.Good && leads(b, way) && (from.IsZero() || b.Ended.Before(from)) {
				from = b.Ended
			}
		}
		if from.IsZero() {
			continue
		}
		if from.Before(each.Since) {
			from = each.Since
		}
		switch {
		case i+1 == len(periods):
			all = append(all, fmt.Sprintf("from %s on (timeline %d)", k.clock(from), each.ID))
		case from.Before(periods[i+1].Since):
			all = append(all, fmt.Sprintf("from %s to %s (timeline %d)", k.clock(from), k.clock(periods[i+1].Since), each.ID))
		}
	}
	if all == nil {
		return "\n      hint: there is no good backup that any moment could be reached from: pgha backup"
	}
	return "\n      hint: what can be restored: " + strings.Join(all, ", ")
}
