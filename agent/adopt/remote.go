package adopt

import (
	"fmt"
	"strings"

	"github.com/pgbake/pgbake/cluster"
)

// Remote is a primary elsewhere, as it describes itself to the role that streams.
type Remote struct {
	// Major is its version, 17; Control what its control file says, by the words of pg_controldata.
	Major   string            `json:"major"`
	Control map[string]string `json:"control"`
	// Bytes is the size of all its databases; Free is how much room this machine has for them.
	Bytes uint64 `json:"bytes"`
	Free  uint64 `json:"-"`
	// Tablespaces are the directories of its own ones; Slots are its replication slots.
	Tablespaces []string `json:"tablespaces"`
	Slots       []string `json:"slots"`
	Prepared    int      `json:"prepared"`
	// Parameters are the settings that somebody has made.
	Parameters map[string]string `json:"parameters"`
	// Libraries are those that are loaded at the start and are of no package of PostgreSQL itself on this machine.
	Libraries []string `json:"-"`
	// Inside is what it says of its databases. Passwords are not for the role that streams to see.
	Inside *Inside `json:"inside"`
}

// JudgeRemote says what becomes of a primary elsewhere in the cluster, before anything is copied.
func JudgeRemote(c *cluster.Cluster, f *Remote, ours map[string]any) *Report {
	r := &Report{Parameters: map[string]string{}}
	settings := Settings{}
	for name, value := range f.Parameters {
		settings[name] = Setting{Value: value}
	}
	found := &Found{
		Data: fmt.Sprintf("%s:%d", c.Adopt.Remote.Host, c.Adopt.Remote.Port), Major: f.Major, Release: fmt.Sprint(int(c.Debian)),
		Control: f.Control, Unit: "there", Inside: f.Inside, Settings: settings, Libraries: f.Libraries,
	}
	r.state(c, found)
	if len(f.Tablespaces) > 0 {
		r.add(Refuse, "move what is in them: ALTER DATABASE … SET TABLESPACE pg_default, ALTER TABLE ALL IN TABLESPACE …; then DROP TABLESPACE",
			"tablespaces outside of its data directory, which the members cannot clone: "+strings.Join(f.Tablespaces, ", "))
	}
	if f.Free < f.Bytes+leastRoom {
		r.add(Refuse, "a larger disk", fmt.Sprintf("this machine has room for %d MB, and the copy needs %d MB and %d MB for its log", f.Free>>20, f.Bytes>>20, leastRoom>>20))
	}
	if f.Prepared > 0 {
		r.add(Change, "COMMIT PREPARED or ROLLBACK PREPARED: pg_prepared_xacts", fmt.Sprintf("%d prepared transactions stay prepared, and hold their locks", f.Prepared))
	}
	if len(f.Slots) > 0 {
		r.add(Change, "make them anew on the new primary, after the cut-over", "its replication slots are not taken along: "+strings.Join(f.Slots, ", "))
	}
	r.inside(c, found)
	r.settings(c, found, ours)
	return r
}

// JudgeCopy says who will notice the cut-over, by what the copy says of itself. What it says of who streams and of being
// in recovery is not news.
func JudgeCopy(c *cluster.Cluster, in *Inside) *Report {
	r := &Report{}
	copied := *in
	copied.Recovery, copied.Standbys, copied.Roles = false, nil, nil
	r.inside(c, &Found{Inside: &copied, Settings: Settings{}})
	for _, d := range in.Databases {
		if len(d.Unlogged) > 0 {
			r.add(Change, "before it: ALTER TABLE … SET LOGGED", fmt.Sprintf("database %s: unlogged tables are empty in the copy: %s", d.Name, strings.Join(d.Unlogged, ", ")))
		}
	}
	return r
}
