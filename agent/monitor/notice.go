package monitor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"strings"
	"time"
	"unicode"

	"github.com/pgbake/pgbake/cluster"
)

// Notice is one event of one alert, as receivers get it: the JSON object of webhooks and commands.
type Notice struct {
	// ID is the same for all copies of a notice: whoever gets one twice can tell.
	ID       string    `json:"id"`
	Cluster  string    `json:"cluster"`
	Event    Event     `json:"event"`
	Key      string    `json:"key"`
	Severity Severity  `json:"severity"`
	Machine  string    `json:"machine,omitempty"`
	Text     string    `json:"text"`
	Hint     string    `json:"hint,omitempty"`
	Since    time.Time `json:"since"`
	Over     time.Time `json:"over,omitzero"`
	// SentBy is the machine that sends it.
	SentBy string `json:"sent_by"`
}

// NoticeOf is what there is to tell of an alert.
func NoticeOf(a Alert, scope, self string) Notice {
	return Notice{
		ID:      fmt.Sprintf("%s/%s/%d/%s/%d", scope, a.Key, a.Since.Unix(), a.Event, a.Told.Unix()),
		Cluster: scope, Event: a.Event, Key: a.Key, Severity: a.Severity, Machine: a.Machine, Text: a.Text, Hint: a.Hint,
		Since: a.Since.UTC().Truncate(time.Second), Over: a.Over.UTC().Truncate(time.Second), SentBy: self,
	}
}

// testKey is the key of what Test returns.
const testKey = "test"

// Test is a notice of nothing.
func Test(scope, self string, now time.Time) Notice {
	now = now.UTC().Truncate(time.Second)
	return Notice{
		ID: fmt.Sprintf("%s/test/%d", scope, now.Unix()), Cluster: scope, Event: Fired, Key: testKey, Severity: Warning, Machine: self,
		Text: "this is a test: alerts of this cluster arrive here", Hint: "nothing is to be done", Since: now, SentBy: self,
	}
}

// Title is the notice in one line.
func (n Notice) Title() string {
	word := strings.ToUpper(string(n.Severity))
	switch n.Event {
	case Resolved:
		word = "RESOLVED"
	case Repeated:
		word += " (still)"
	}
	return fmt.Sprintf("[%s] %s: %s", n.Cluster, word, n.Text)
}

// Body is all of it, for people.
func (n Notice) Body() string {
	const layout = "2006-01-02 15:04:05 UTC"
	var b strings.Builder
	fmt.Fprintln(&b, n.Title())
	if n.Hint != "" && n.Event != Resolved {
		fmt.Fprintf(&b, "What to do: %s\n", n.Hint)
	}
	if n.Event == Resolved {
		fmt.Fprintf(&b, "It lasted %s, from %s to %s.", Span(n.Over.Sub(n.Since)), n.Since.Format(layout), n.Over.Format(layout))
	} else {
		fmt.Fprintf(&b, "Since %s.", n.Since.Format(layout))
	}
	fmt.Fprintf(&b, " Sent by %s.\n", n.SentBy)
	return b.String()
}

// JSON is the notice as programs get it.
func (n Notice) JSON() []byte {
	body, err := json.Marshal(n)
	if err != nil {
		panic(err) // texts and times
	}
	return append(body, '\n')
}

// Hook is the body that a webhook of a format gets.
func (n Notice) Hook(f cluster.AlertFormat, chat string) []byte {
	text := strings.TrimSpace(n.Body())
	var body []byte
	var err error
	switch f {
	case cluster.Slack:
		// https://api.slack.com/messaging/webhooks; these three are all that its text wants escaped.
		body, err = encode(map[string]string{"text": strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)})
	case cluster.Telegram:
		// https://core.telegram.org/bots/api#sendmessage, plain text, 4096 characters at most.
		if r := []rune(text); len(r) > 4000 {
			text = string(r[:4000]) + "…"
		}
		body, err = encode(map[string]any{"chat_id": chat, "text": text, "disable_web_page_preview": true})
	default:
		return n.JSON()
	}
	if err != nil {
		panic(err) // texts
	}
	return body
}

// encode is JSON that leaves <, > and & as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// Letter is the notice as a mail (RFC 5322).
func (n Notice) Letter(from string, to []string, now time.Time) []byte {
	host := from[strings.LastIndex(from, "@")+1:]
	var b strings.Builder
	for _, h := range [][2]string{
		{"From", from}, {"To", strings.Join(to, ", ")}, {"Subject", mime.QEncoding.Encode("utf-8", line(n.Title()))},
		{"Date", now.Format(time.RFC1123Z)},
		// The same for each copy: mail programs show it once.
		{"Message-ID", "<" + strings.Map(atom, n.ID) + "@" + host + ">"},
		// Whoever is away does not answer it (RFC 3834).
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "8bit"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n" + strings.ReplaceAll(n.Body(), "\n", "\r\n"))
	return []byte(b.String())
}

// line is a text without what would end it.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// atom keeps what a message's number may consist of.
func atom(r rune) rune {
	if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
		return r
	}
	return '.'
}
