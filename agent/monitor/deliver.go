package monitor

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// deliveryTime is how long a receiver may take over one notice.
const deliveryTime = 15 * time.Second

// Receiver is one place that hears of alerts.
type Receiver struct {
	// Name is webhook, email or command.
	Name string
	// To says which one for people, and holds no secret.
	To   string
	send func(context.Context, Notice) error
}

// Deliver hands over a notice. Its error never holds the receiver's address or password, which may be one.
func (r Receiver) Deliver(ctx context.Context, n Notice) error {
	ctx, cancel := context.WithTimeout(ctx, deliveryTime)
	defer cancel()
	err := r.send(ctx, n)
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("no answer within %s", deliveryTime)
	}
	return err
}

// Receivers are those that the specification names, with what the secrets add to it. host is this machine's name.
func Receivers(a cluster.Alerts, s cluster.Secrets, host string) (list []Receiver) {
	if at := a.Webhook; at != "" {
		if at == cluster.SecretWebhook {
			at = s.Webhook
		}
		list = append(list, Receiver{"webhook", string(a.Format), func(ctx context.Context, n Notice) error {
			return post(ctx, at, n.Hook(a.Format, a.Chat))
		}})
	}
	if len(a.Email) > 0 {
		m := mail{relay: a.Relay, user: a.RelayUser, password: s.Relay, from: a.Sender(), to: a.Email, host: host}
		list = append(list, Receiver{"email", strings.Join(a.Email, ", ") + " by " + a.Relay, m.send})
	}
	if len(a.Command) > 0 {
		list = append(list, Receiver{"command", a.Command[0], func(ctx context.Context, n Notice) error {
			return execute(ctx, a.Command, n)
		}})
	}
	return list
}

// refusal is an answer that is no: the next notice may be taken all the same.
type refusal string

func (r refusal) Error() string { return string(r) }

// Refused tells whether a receiver answered, and did not take what it was given.
func Refused(err error) bool {
	var hook refusal
	var relay *textproto.Error
	return errors.As(err, &hook) || errors.As(err, &relay)
}

// hooks follows no redirection: it would carry the notice to somebody nobody named.
var hooks = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func post(ctx context.Context, address string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return errors.New("its address is none\n      hint: webhook in " + cluster.SeedDir + "/secrets.yaml")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "pgha")
	resp, err := hooks.Do(req)
	if err != nil {
		var with *url.Error
		if errors.As(err, &with) {
			err = with.Err // without the address
		}
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return refusal("it answers " + resp.Status + ": " + redact(line(strings.TrimSpace(string(answer))), address))
	}
	return nil
}

// redact takes out what an answer repeats of the address.
func redact(text, address string) string {
	text = strings.ReplaceAll(text, address, "…")
	if u, err := url.Parse(address); err == nil {
		for _, part := range append(strings.FieldsFunc(u.Path, func(r rune) bool { return r == '/' || r == ':' }), u.RawQuery) {
			if len(part) > 7 {
				text = strings.ReplaceAll(text, part, "…")
			}
		}
	}
	return text
}

// mail is a relay and who writes to whom.
type mail struct {
	relay, user, password, from, host string
	to                                []string
}

func (m mail) send(ctx context.Context, n Notice) error {
	name, port, err := net.SplitHostPort(m.relay)
	if err != nil {
		return err
	}
	// Where there is no password to lose, a relay whose certificate nobody knows is still better than plain text, or silence.
	secure := &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12, InsecureSkipVerify: m.user == "" && port != "465"} //nolint:gosec // opportunistic, see above
	var conn net.Conn
	if port == "465" { // TLS from the start (RFC 8314)
		conn, err = (&tls.Dialer{Config: secure}).DialContext(ctx, "tcp", m.relay)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", m.relay)
	}
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // Quit has said good-bye
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	c, err := smtp.NewClient(conn, name)
	if err != nil {
		return err
	}
	if err := c.Hello(m.host); err != nil {
		return err
	}
	if offered, _ := c.Extension("STARTTLS"); offered && port != "465" {
		if err := c.StartTLS(secure); err != nil {
			return fmt.Errorf("begin TLS: %w", err)
		}
	}
	if m.user != "" { // never without TLS, but to this machine itself: PlainAuth refuses it
		if err := c.Auth(smtp.PlainAuth("", m.user, m.password, name)); err != nil {
			return fmt.Errorf("log in as %s: %w", m.user, err)
		}
	}
	if err := c.Mail(m.from); err != nil {
		return fmt.Errorf("sender %s: %w", m.from, err)
	}
	var refused []error
	for _, to := range m.to {
		if err := c.Rcpt(to); err != nil {
			refused = append(refused, fmt.Errorf("recipient %s: %w", to, err))
		}
	}
	if len(refused) == len(m.to) {
		return errors.Join(refused...)
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(n.Letter(m.from, m.to, time.Now())); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // the letter is taken
	if n.Key == testKey {
		return errors.Join(refused...) // an alert that has reached somebody is not sent to all of them again
	}
	return nil
}

// execute runs a program with the notice as its input. Whatever it has started ends with it when time is over.
func execute(ctx context.Context, args []string, n Notice) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdin = "/", bytes.NewReader(n.JSON())
	cmd.Env = append(os.Environ(), "PGHA_EVENT="+string(n.Event), "PGHA_SEVERITY="+string(n.Severity), "PGHA_KEY="+n.Key, "PGHA_TITLE="+line(n.Title()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if len(out) > 300 {
			out = out[len(out)-300:]
		}
		return refusal(fmt.Sprintf("%s: %v: %s", args[0], err, line(strings.TrimSpace(string(out)))))
	}
	return nil
}
