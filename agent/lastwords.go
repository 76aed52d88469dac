package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"unicode"

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
	// severity is the first one of a line, behind log_line_prefix, whatever that is: what comes after it may be anybody's words.
	// Without a prefix it is more of the line before, of which the journal keeps no tab.
	severity = regexp.MustCompile(`.\b(PANIC|FATAL|ERROR|WARNING|NOTICE|LOG|INFO|DEBUG[1-5]?|DETAIL|HINT|CONTEXT|QUERY|STATEMENT|LOCATION):\s*(.*)`)
	// What ends only a client's session, a replica's receiver of WAL, or the archiver.
	session = regexp.MustCompile(`^(the database system is |terminating |password authentication |certificate authentication |no pg_hba\.conf |pg_hba\.conf rejects |` +
		`role "|database "|permission denied for database |sorry, too many |too many connections |remaining connection slots |connection to client lost|connection requires |` +
		`unsupported frontend protocol |no PostgreSQL user name |invalid startup packet|expected |canceling |` +
		`could not connect to the primary server|could not receive data from WAL stream|could not start WAL streaming|could not send data to WAL stream|replication terminated |archive command )`)
)

// serves begins what PostgreSQL says when it takes connections.
const serves = "database system is ready to accept"

// parseLastWords finds them in what Patroni and PostgreSQL have written. They are shown on a terminal, and are what PostgreSQL
// was given in part: nothing in them controls one.
func parseLastWords(log string) (words, hint string) {
	open := false
	for line := range strings.Lines(log) {
		m := severity.FindStringSubmatch(line)
		switch {
		case m == nil:
			open = false
		case strings.HasPrefix(m[2], serves):
			words, hint, open = "", "", false
		case m[1] == "FATAL" || m[1] == "PANIC":
			if open = !session.MatchString(m[2]); open {
				words, hint = printable(m[2]), ""
			}
		case open && (m[1] == "DETAIL" || m[1] == "HINT"):
			hint = strings.TrimSpace(hint + " " + printable(m[2]))
		default:
			open = false
		}
	}
	return words, hint
}

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.TrimSpace(text))
}

func (w *work) examineLastWords(ctx context.Context, l *doctor.Look) {
	socket := filepath.Join(w.Root, fmt.Sprintf("%s/.s.PGSQL.%d", socketDir, l.Ports.Postgres))
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	switch {
	case err == nil: // it runs
		_ = conn.Close()
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		l.LastWords, l.LastHint = w.lastWords(ctx)
	}
}

// withWords is why a machine waits for its PostgreSQL, with what that said.
func withWords(why, words string) string {
	if words == "" {
		return why
	}
	return fmt.Sprintf("%s; PostgreSQL said: %s", why, words)
}
