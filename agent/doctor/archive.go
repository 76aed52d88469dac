package doctor

import (
	"fmt"
	"time"

	"github.com/pgbake/pgbake/agent/archive"
	"github.com/pgbake/pgbake/cluster"
)

// noBackup is the check of cluster.yaml: how old the newest backup is, `pgha status` says.
func noBackup(l *Look) []Finding {
	if !l.NoBackup {
		return nil
	}
	return []Finding{{
		What: "no backup is configured", Why: "replicas follow a DROP TABLE within milliseconds, and only a backup brings the table back", Warning: true,
		Mend: []string{"on the operator's machine: backup in cluster.yaml (" + cluster.NoBackupHint + "); pgbake seed"},
	}}
}

// archiving is the check of the primary's WAL on its way into the archive, and of what the repository lacks.
func archiving(l *Look) (found []Finding) {
	if l.Database != nil && l.Database.ArchiveFails != "" {
		found = append(found, Finding{What: "WAL is not archived: " + l.Database.ArchiveFails, Why: "archive_command fails; WAL stays on the disk until it does not, and fills it", Mend: []string{"journalctl -b -u patroni --grep archive -n 10", "pgha diff"}})
	}
	a := l.Archive
	if a == nil {
		return found
	}
	if a.IsLate() && len(found) == 0 {
		found = append(found, late(a))
	}
	switch r := a.Repository; {
	case r == nil:
	case r.Error != "":
		found = append(found, Finding{What: "the repository cannot be read: " + r.Error, Why: "no backup can be taken there, and none restored; PostgreSQL keeps its WAL meanwhile", Mend: []string{"pgha backup list    # once its file system is mounted, or its server answers"}})
	case r.Hole != nil:
		f := Finding{
			What: fmt.Sprintf("the archive has a hole: %d segments of WAL are not in the repository, the first one %s, the last one %s", r.Hole.Segments, r.Hole.First, r.Hole.Last),
			Why:  "no moment behind the hole can be restored from " + r.Backup + "; WAL was given up (archive-push-queue-max), a primary died before it had archived its last WAL, or somebody removed files",
			Mend: []string{"pgha backup    # at once: every moment after its end can be restored again"},
		}
		if !r.Hole.Reach.IsZero() {
			f.Why = "no moment after " + r.Hole.Reach.UTC().Format("2006-01-02 15:04:05 UTC") + f.Why[len("no moment behind the hole"):]
		}
		found = append(found, f)
	}
	return found
}

// late is of files that wait for too long, though nothing fails.
func late(a *archive.State) Finding {
	f := Finding{
		What: fmt.Sprintf("%d files of WAL (%d MiB) wait to be archived, the first of them for %s", a.Waiting, a.WaitingBytes>>20, (time.Duration(a.WaitingSeconds) * time.Second).Round(time.Second)),
		Why:  "the network to the repository or its disk are slower than the primary writes; above archive-push-queue-max the oldest is given up",
		Mend: []string{"pgha doctor    # in some minutes: when it is more then, look at the repository's network and disk"},
	}
	if a.Hangs {
		f.Why = "archive_command neither ends nor fails, as on a file system that does not answer; nothing limits the WAL meanwhile, and it fills the disk"
		f.Mend = []string{"ps -C pgbackrest -o pid,etime,stat,args", "pkill -f 'pgbackrest .*archive-push'    # once the repository answers: PostgreSQL tries again"}
	}
	return f
}
