package agent

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/pgbake/pgbake/agent/doctor"
	"github.com/pgbake/pgbake/internal/run"
)

// lastWords is why PostgreSQL of this machine ended or did not start, as it said itself, and its own hint; both are empty when it
// has begun to serve since, and when it said nothing. It is to be asked where PostgreSQL does not run.
func (a *Agent) lastWords(ctx context.Context) (words, hint string) {
	if a.Root != "/" {
		return "", ""
	}
	out, err := a.Runner.Output(ctx, run.Cmd{Args: []string{"journalctl", "--boot", "--unit=patroni.service", "--lines=500", "--output=cat", "--no-pager"}, Disposable: true})
	if err != nil {
		return "", "" // it is said elsewhere that it does not run
	}
	return parseLastWords(string(out))
}

var (
	detail = regexp.MustCompile(`(?:DETAIL|HINT):\s*(.+)`)
	// What is told to a client, or to a replica's receiver of WAL, and ends only its session.
	session = regexp.MustCompile(`^(the database system is |terminating |password authentication |certificate authentication |no pg_hba\.conf |pg_hba\.conf rejects |` +
		`role "|database "|permission denied for database |sorry, too many |too many connections |remaining connection slots |connection to client lost|connection requires |` +
		`unsupported frontend protocol |no PostgreSQL user name |invalid startup packet|expected |canceling |` +
		`could not connect to the primary server|could not receive data from WAL stream|could not start WAL streaming|could not send data to WAL stream|replication terminated )`)
)

const serves = "database system is ready to accept"

// parseLastWords finds them in what Patroni and PostgreSQL have written.
func parseLastWords(log string) (words, hint string) {
	open := false
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, serves) {
			words, hint, open = "", "", false
		} else if m := fatal.FindStringSubmatch(line); m != nil {
			if open = !session.MatchString(m[1]); open {
				words, hint = m[1], ""
			}
		} else if m := detail.FindStringSubmatch(line); m != nil && open {
			hint = strings.TrimSpace(hint + " " + m[1])
		} else {
			open = false
		}
	}
	return words, hint
}

func (w *work) examineLastWords(ctx context.Context, l *doctor.Look) {
	if _, err := w.localQuestion(ctx, l, "SELECT 1"); err != nil {
		l.LastWords, l.LastHint = w.lastWords(ctx)
	}
}

// because is why a machine waits for its PostgreSQL.
func because(why, words string) string {
	if words == "" {
		return why
	}
	return fmt.Sprintf("%s; PostgreSQL said: %s", why, words)
}
