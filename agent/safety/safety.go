// Package safety says of every operation on a cluster what cannot be taken back, what protects it, and what to do when it was cut short.
//
// It is one table. docs/safety.md is made of it, and the help of each command of pgha.
package safety

import (
	"fmt"
	"strings"
)

// Operation is one that changes a cluster.
type Operation struct {
	// Name is a heading; Command what is typed, without its arguments, empty for what the agent does by itself.
	Name, Command string
	// Final is what cannot be taken back; "nothing" where all can be.
	Final string
	// Protects are what stands before that.
	Protects []string
	// CutShort is what to do when it was killed, or a machine lost its power.
	CutShort string
	// Shown are the tests that show it.
	Shown string
}

// Operations lists them, those that change most first.
var Operations = []Operation{
	{
		Name: "Restore", Command: "pgha restore --yes",
		Final: "the replicas' data: each copies the restored database. What applications write to that one is not in the one of before",
		Protects: []string{
			"the restored database is made ready and has recovered before anything is stopped; the one of before is renamed, not removed",
			"the backup is verified, or the WAL of this moment awaited in the archive; what was reached is compared with what was asked for",
			"one restore at a time, by etcd, where it stands without a limit in time; switchovers, maintenance, backups and applies keep off",
			"the restored database is started only while nobody leads, and on a timeline that nobody has had; the pause ends when no member could lead with the one of before",
		},
		CutShort: "before the pause: `pgha restore --yes` goes on, `pgha restore --give-up` clears up. After it: it goes on by itself; `pgha restore` says where it stands. Its machine is lost: `pgha restore --give-up` on another member",
		Shown:    "`TestModel` in `agent/restore`; `TestBackup`, `TestPointInTime`",
	},
	{
		Name: "Backup into a directory", Command: "pgha backup",
		Final: "the oldest backups of this database, after a good one",
		Protects: []string{
			"it counts when it is whole, verified and renamed to its final name; half a one never does",
			"a replica is copied only while the primary sends it WAL, and when it has replayed what that had",
			"a dump that fails costs no base backup",
			"as many good ones as are kept stay, those of another database and those that seem to come from the future always",
		},
		CutShort: "nothing: the next one on that machine removes what was begun",
		Shown:    "`TestSurplus`; `TestBackup`, `TestADumpThatFailsCostsNoBackup`",
	},
	{
		Name: "Backup into a repository", Command: "pgha backup",
		Final: "the oldest backups, and the WAL that only they need, after a good one",
		Protects: []string{
			"pgBackRest checks every page as it reads it, and waits for the WAL that makes it whole; one with wrong checksums has failed, and the oldest go only after a good one",
			"such a one costs no good one: what is kept is counted without it, and nothing is built on it",
			"who takes over brings the WAL that the primary before had not archived; the monitor tells of a hole",
		},
		CutShort: "nothing: the next one goes on",
		Shown:    "`TestPointInTime`, `TestArchiveRead`, `TestBadBackupsCostNoGoodOne`",
	},
	{
		Name: "Proof of a backup", Command: "pgha backup prove",
		Final:    "nothing",
		Protects: []string{"it works on a copy, on no network, as a role that may read and do nothing else"},
		CutShort: "nothing: the next one removes the copy",
		Shown:    "`TestBackup`, `TestPointInTime`",
	},
	{
		Name: "Cut-over from a primary elsewhere", Command: "pgha cutover --yes",
		Final: "this cluster leads itself: what the other primary writes after that is not in it",
		Protects: []string{
			"the other one's shutdown is the last thing in its WAL, and all of it is here; it has refused connections for some seconds, which a restart does not",
			"one task at a time, by etcd",
		},
		CutShort: "`pgha cutover` says whether this cluster follows or leads; once more when it follows",
		Shown:    "`TestAdoptRemote`, `TestWhoIsShutDownForGood`",
	},
	{
		Name:  "Adoption of a database",
		Final: "nothing but the time: PostgreSQL is restarted under Patroni. What the database's settings were is kept beside",
		Protects: []string{
			"`pgha adopt --check` says what would change, and changes nothing",
			"a noted step at a time; the database's files stay where they are",
		},
		CutShort: "nothing: the next `pgha apply`, or the next boot, goes on",
		Shown:    "`TestAdopt`",
	},
	{
		Name: "Removal of a member", Command: "pgha member remove",
		Final: "its vote in etcd. The machine keeps its data, and does not come back by itself",
		Protects: []string{
			"refused for the primary, for a member that cluster.yaml lists, and where the voters that are left could not agree on anything",
			"refused where the last replica that could take over would go, unless `--even-the-last-copy` says so",
		},
		CutShort: "once more: it does nothing twice",
		Shown:    "`TestGrow`, `TestWhoMayLeave`",
	},
	{
		Name: "Setting data aside", Command: "pgha member set-aside",
		Final:    "nothing: the directory gets another name",
		Protects: []string{"what uses it is ended first, and no PostgreSQL works there any more; nothing is deleted", "refused for a primary in maintenance, and during a restore"},
		CutShort: "once more, or rename the directory back while Patroni and etcd are stopped",
		Shown:    "`TestUpkeep`, `TestADatabaseIsEndedBeforeItsDirectoryMoves`",
	},
	{
		Name: "A new copy of a replica", Command: "pgha reinit",
		Final: "the data of that replica",
		Protects: []string{
			"refused for the primary, where nobody leads, and for the last copy that could take over, or that there is beside the primary's, unless `--even-the-last-copy` says so",
			"one task at a time, by etcd",
		},
		CutShort: "the copy goes on when the command is ended; `pgha status` shows it",
		Shown:    "`TestUpkeep`, `TestWhoseDataMayGo`, `TestLargeIsNormal`",
	},
	{
		Name:  "A replica that cannot start, or cannot follow",
		Final: "nothing: its data gets another name, and is copied anew",
		Protects: []string{
			"PostgreSQL itself says that it ends for its data, or the history that it has left the cluster",
			"once a day at most; with room for both; while a primary of the same database leads",
		},
		CutShort: "nothing: Patroni copies into the empty directory",
		Shown:    "`TestUpkeep`",
	},
	{
		Name: "Switchover", Command: "pgha switchover",
		Final:    "nothing: every connection is cut, and no acknowledged write lost",
		Protects: []string{"only to a replica that has every acknowledged write, or where none is synchronous to one that has nearly all; the old primary hands over when it has the rest"},
		CutShort: "`pgha status`: Patroni goes through with it, or the old primary leads as before",
		Shown:    "`TestUpkeep`, `TestSwitchoverThatPatroniDeclines`",
	},
	{
		Name: "Rolling restart and upgrade", Command: "pgha restart",
		Final:    "nothing; an upgrade of packages is not taken back",
		Protects: []string{"the replicas first, one at a time, the next only when the cluster is whole; the primary by a switchover"},
		CutShort: "once more: what was restarted since is left alone",
		Shown:    "`TestUpkeep`",
	},
	{
		Name: "Upgrade of packages", Command: "pgha upgrade",
		Final:    "the older packages",
		Protects: []string{"one machine at a time, by etcd; only while the cluster is whole; the primary last, by a switchover"},
		CutShort: "`dpkg --configure -a`, then once more",
		Shown:    "`TestUpkeep`",
	},
	{
		Name: "Maintenance", Command: "pgha maintenance on",
		Final:    "nothing; while it lasts a primary that dies is not replaced",
		Protects: []string{"announced before the pause, with an end that every member keeps; refused during a task or a restore"},
		CutShort: "it ends by itself; `pgha maintenance off`",
		Shown:    "`TestUpkeep`",
	},
	{
		Name: "A new cluster where all data is gone", Command: "pgha bootstrap",
		Final:    "the wait for machines with data: one that comes back later is another cluster",
		Protects: []string{"refused while a machine that answers has data"},
		CutShort: "once more",
		Shown:    "`TestQuickstartDebian12/replaced`, `TestModel` in `agent/join`",
	},
	{
		Name:  "The data disk",
		Final: "a file system on a disk that was blank",
		Protects: []string{
			"the disk is read before, at both ends and at hundreds of places between, and has nothing but zeros; one that cannot be read is not formatted, nor any other then",
			"a machine that has had a data disk, or remembers a cluster, formats none; its disk is known by its UUID, and a copy or another one is not mounted",
		},
		CutShort: "nothing: the next boot looks again",
		Shown:    "`TestDiskThatCannotBeRead`, `TestStock`",
	},
}

// Help is what the help of a command says of its operations; empty where it has none.
func Help(command string) string {
	var b strings.Builder
	for _, o := range Operations {
		if o.Command == "" || strings.TrimSuffix(o.Command, " --yes") != command {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n  What cannot be taken back: %s.\n  When it was cut short: %s.\n", o.Name, o.Final, o.CutShort)
	}
	return b.String()
}

// Markdown is the table as docs/safety.md has it.
func Markdown() string {
	var b strings.Builder
	for _, o := range Operations {
		fmt.Fprintf(&b, "\n## %s\n\n", o.Name)
		if o.Command != "" {
			fmt.Fprintf(&b, "`%s`\n\n", o.Command)
		} else {
			b.WriteString("The agent does it by itself.\n\n")
		}
		fmt.Fprintf(&b, "- **Cannot be taken back:** %s.\n- **Protects it:**\n", o.Final)
		for _, p := range o.Protects {
			fmt.Fprintf(&b, "  - %s\n", p)
		}
		fmt.Fprintf(&b, "- **Cut short:** %s.\n- **Shown by:** %s.\n", o.CutShort, o.Shown)
	}
	return b.String()
}
