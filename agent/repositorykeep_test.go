package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/cluster"
)

// history is a stanza of which each letter is a day, the last of them today: F a good full backup, f one with bad pages, d a
// differential one, . none.
func history(days string, now time.Time) (s stanza) {
	for i, kind := range days {
		if kind == '.' {
			continue
		}
		at := now.Add(-time.Duration(len(days)-1-i) * day)
		var info string
		switch kind {
		case 'F', 'f':
			info = fmt.Sprintf(`{"label": "%s", "type": "full", "error": %t, "timestamp": {"start": %d, "stop": %d}}`, at.Format("20060102"), kind == 'f', at.Unix()-7200, at.Unix()-3600)
		case 'd':
			info = fmt.Sprintf(`{"label": "%sD", "type": "diff", "timestamp": {"start": %d, "stop": %d}}`, at.Format("20060102"), at.Unix()-7200, at.Unix()-3600)
		}
		s.add(info)
	}
	return s
}

// add puts a backup in, as pgBackRest would say it.
func (s *stanza) add(info string) {
	var one stanza
	if err := json.Unmarshal([]byte(`{"backup": [`+info+`]}`), &one); err != nil {
		panic(err)
	}
	s.Backup = append(s.Backup, one.Backup...)
}

// spared are the good full backups that pgBackRest's expire leaves.
func (s stanza) spared(days bool, retention int, now time.Time) (labels []string) {
	kept := 0
	for _, b := range slices.Backward(s.Backup) {
		if b.Type != "full" {
			continue
		}
		switch older := time.Unix(b.Timestamp.Stop, 0).Before(now.Add(-time.Duration(retention) * day)); {
		case !days && kept == retention:
			return labels
		case days && older && kept > 0: // the newest one before
			if !b.Error {
				labels = append(labels, b.Label)
			}
			return labels
		}
		kept++
		if !b.Error {
			labels = append(labels, b.Label)
		}
	}
	return labels
}

func TestBadBackupsCostNoGoodOne(t *testing.T) {
	now := time.Date(2026, 11, 30, 4, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		history    string
		keep, days int
		want       int
	}{
		{"FFF", 2, 0, 2}, {"FfF", 2, 0, 3}, {"FfffF", 2, 0, 5}, {"FFfF", 2, 0, 3}, {"FFFf", 2, 0, 3}, {"F", 2, 0, 2}, {"fF", 2, 0, 3}, {"FdddfdddF", 2, 0, 3},
		{"FFFFF", 0, 2, 2}, {"FfFFF", 0, 2, 2}, {"FFffF", 0, 1, 3}, {"F.fff.F", 0, 3, 5}, {"FFFFfFF", 0, 2, 3}, {"F", 0, 7, 7}, {"FfffffffffF", 0, 3, 10}, {"fffF", 0, 1, 1},
	} {
		s := history(tt.history, now)
		got := s.retention(tt.keep, tt.days, now)
		if got != tt.want {
			t.Errorf("%s, keep %d, days %d: %d, want %d", tt.history, tt.keep, tt.days, got, tt.want)
		}
		// As if there were no bad ones.
		clean := history(strings.ReplaceAll(tt.history, "f", "."), now)
		for _, label := range clean.spared(tt.days > 0, max(tt.keep, tt.days), now) {
			if !slices.Contains(s.spared(tt.days > 0, got, now), label) {
				t.Errorf("%s, keep %d, days %d: %s goes", tt.history, tt.keep, tt.days, label)
			}
		}
	}
}

func TestWhatDiffersFromABadBackupIsNone(t *testing.T) {
	now := time.Date(2026, 11, 30, 4, 0, 0, 0, time.UTC)
	b := cluster.Backup{At: "02:00"}
	for days, want := range map[string]string{"": "full", "F": "diff", "Fd": "diff", "Ff": "full", "f": "full", "F.......": "full"} {
		if got := history(days, now).nextKind(b, now.Add(time.Hour)); got != want {
			t.Errorf("%q: %s, want %s", days, got, want)
		}
	}
}

// Bad pages make a failed backup, nothing is removed then, and a tablespace is refused before one is begun.
func TestBackupIntoTheRepository(t *testing.T) {
	for _, tt := range []struct {
		name, tablespaces string
		bad               bool
		expire            error
		counts            bool
		ran               []string // of pgBackRest's commands
		want              string
	}{
		{"a good one", "0", false, nil, true, []string{"stanza-create", "info --output=json", "backup --type=full --no-expire-auto", "info --output=json", "expire --repo1-retention-full=2"}, ""},
		{"bad pages", "0", true, nil, false, []string{"stanza-create", "info --output=json", "backup --type=full --no-expire-auto", "info --output=json"}, "pages with wrong checksums"},
		{"nothing can be removed", "0", false, errors.New("it is read-only"), true, []string{"stanza-create", "info --output=json", "backup --type=full --no-expire-auto", "info --output=json", "expire --repo1-retention-full=2"}, "it is read-only"},
		{"a tablespace", "1", false, nil, false, nil, "the database has tablespaces outside of its directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _ := backupWork(t, "backup: {repository: {type: path, path: /repository}, keep: 2}\n")
			var ran []string
			taken := false
			r := &answering{do: func(line string) error {
				if _, args, ours := strings.Cut(line, "pgbackrest --stanza=t "); ours {
					ran = append(ran, args)
					taken = taken || strings.HasPrefix(args, "backup ")
					if strings.HasPrefix(args, "expire") {
						return tt.expire
					}
				}
				return nil
			}}
			r.answer = func(line string) string {
				switch {
				case strings.Contains(line, "psql"):
					return "1000000|f|7442000000000000000|3|17|" + tt.tablespaces + "\n"
				case taken:
					return fmt.Sprintf(`[{"name": "t", "status": {"code": 0}, "backup": [{"label": "20261130-020000F", "type": "full", "error": %t, "timestamp": {"start": 1, "stop": 2}}]}]`, tt.bad)
				}
				return `[{"name": "t", "status": {"code": 2}, "backup": []}]`
			}
			w.Runner = r
			_, err := w.backupToRepository(t.Context(), time.Now())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if counts := err == nil || errors.As(err, new(beside)); counts != tt.counts {
				t.Errorf("it counts: %t, want %t", counts, tt.counts)
			}
			if !slices.Equal(ran, tt.ran) {
				t.Errorf("ran %q, want %q", ran, tt.ran)
			}
		})
	}
	var bad stanza
	bad.add(`{"label": "x", "type": "full", "error": true}`)
	if bad.held("t", backup.Proof{})[0].Good() {
		t.Error("a backup with bad pages counts as good")
	}
}
