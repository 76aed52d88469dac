package monitor

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
)

func fired() Notice {
	return NoticeOf(Alert{
		Problem: Problem{Key: "lag/db2", Severity: Warning, Machine: "db2", Text: "db2 is behind db1 by 200 MB, 0 ms", Hint: "a <slow> disk & network?"},
		Event:   Fired, Told: noon, Since: noon, Times: 1,
	}, "shop", "proxy1")
}

func resolved() Notice {
	n := fired()
	n.Event, n.Over = Resolved, noon.Add(90*time.Minute)
	return n
}

// TestNotices: testdata/notices.golden has what each kind of receiver gets, byte for byte.
func TestNotices(t *testing.T) {
	var got strings.Builder
	for _, n := range []Notice{fired(), resolved()} {
		fmt.Fprintf(&got, "== json\n%s== slack\n%s== telegram\n%s== email\n%s", n.Hook(cluster.JSON, ""), n.Hook(cluster.Slack, ""), n.Hook(cluster.Telegram, "-100"),
			strings.ReplaceAll(string(n.Letter("pgha@example.org", []string{"dba@example.org", "on@example.org"}, noon)), "\r\n", "\n"))
	}
	const golden = "testdata/notices.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("run with -update and read the difference (-want +got):\n%s", d)
	}
}

func receiver(t *testing.T, a cluster.Alerts, s cluster.Secrets) Receiver {
	t.Helper()
	list := Receivers(a, s, "proxy1")
	if len(list) != 1 {
		t.Fatalf("%d receivers", len(list))
	}
	return list[0]
}

func TestWebhook(t *testing.T) {
	const token = "T0000000/B0000000/hunter2hunter2"
	var got Notice
	ok := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/"+token {
			_ = json.NewDecoder(r.Body).Decode(&got)
		}
	}))
	defer ok.Close()
	no := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no such hook: "+r.URL.Path, http.StatusNotFound)
	}))
	defer no.Close()
	elsewhere := httptest.NewServer(http.RedirectHandler(ok.URL+"/"+token, http.StatusTemporaryRedirect))
	defer elsewhere.Close()
	closed := httptest.NewServer(nil)
	closed.Close()

	if err := receiver(t, cluster.Alerts{Webhook: ok.URL + "/" + token}, cluster.Secrets{}).Deliver(t.Context(), fired()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(fired(), got); d != "" {
		t.Errorf("the webhook got (-want +got):\n%s", d)
	}
	for url, want := range map[string]string{
		no.URL:        "it answers 404 Not Found: no such hook:",
		elsewhere.URL: "it answers 307 Temporary Redirect",
		closed.URL:    "connection refused",
		"http://[::1": "its address is none",
	} {
		err := receiver(t, cluster.Alerts{Webhook: cluster.SecretWebhook}, cluster.Secrets{Webhook: url + "/" + token}).Deliver(t.Context(), fired())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the token is in the error: %v", err)
		}
		if refused := strings.HasPrefix(want, "it answers"); Refused(err) != refused {
			t.Errorf("%v: an answer that is no: %t, want %t", err, Refused(err), refused)
		}
	}
}

// TestAHangingReceiver: each kind of receiver that takes the connection and says nothing ends with its time.
func TestAHangingReceiver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()         //nolint:errcheck // ends with the test
	at := l.Addr().String() // the kernel takes connections, nobody answers
	late := filepath.Join(t.TempDir(), "late")
	for _, a := range []cluster.Alerts{
		{Webhook: "http://" + at + "/hunter2hunter2"},
		{Email: []string{"dba@example.org"}, Relay: at},
		{Command: []string{"/bin/sh", "-c", "(sleep 3; touch " + late + ") & sleep 60"}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		err := receiver(t, a, cluster.Secrets{}).Deliver(ctx, fired())
		cancel()
		if err == nil || !strings.Contains(err.Error(), "no answer within") {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

func TestCommand(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	r := receiver(t, cluster.Alerts{Command: []string{"/bin/sh", "-c", `cat >"$0"; echo "$PGHA_EVENT $PGHA_SEVERITY $PGHA_KEY" >>"$0"`, out}}, cluster.Secrets{})
	if err := r.Deliver(t.Context(), fired()); err != nil {
		t.Fatal(err)
	}
	if body, _ := os.ReadFile(out); string(body) != string(fired().JSON())+"fired warning lag/db2\n" {
		t.Errorf("the command got %s", body)
	}
	r = receiver(t, cluster.Alerts{Command: []string{"/bin/sh", "-c", "echo pager is down; exit 3"}}, cluster.Secrets{})
	if err := r.Deliver(t.Context(), fired()); err == nil || err.Error() != "/bin/sh: exit status 3: pager is down" {
		t.Errorf("%v", err)
	}
}

// relay speaks SMTP to one client, as a relay does, and returns what it was told.
func relay(t *testing.T, refuse string) (at string, told func() string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	all := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close() //nolint:errcheck // ends with the test
		var got strings.Builder
		in := bufio.NewReader(conn)
		say := func(s string) { _, _ = io.WriteString(conn, s+"\r\n") }
		say("220 relay.example.org ESMTP")
		for data := false; ; {
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			got.WriteString(line)
			switch word, _, _ := strings.Cut(strings.TrimSpace(line), " "); {
			case data && line == ".\r\n":
				data = false
				say("250 taken")
			case data:
			case refuse != "" && strings.HasPrefix(line, refuse):
				say("550 no such user")
			case word == "DATA":
				data = true
				say("354 go on")
			case word == "QUIT":
				say("221 bye")
			default:
				say("250 relay.example.org")
			}
		}
		all <- got.String()
	}()
	return l.Addr().String(), func() string { return <-all }
}

func TestRelay(t *testing.T) {
	at, told := relay(t, "")
	a := cluster.Alerts{Email: []string{"dba@example.org", "on@example.org"}, Relay: at, From: "pgha@example.org"}
	if err := receiver(t, a, cluster.Secrets{}).Deliver(t.Context(), fired()); err != nil {
		t.Fatal(err)
	}
	got := told()
	for _, want := range []string{"EHLO proxy1\r\n", "MAIL FROM:<pgha@example.org>", "RCPT TO:<dba@example.org>\r\nRCPT TO:<on@example.org>\r\n",
		"Subject: [shop] WARNING: db2 is behind db1 by 200 MB, 0 ms\r\n", "What to do: a <slow> disk & network?\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("the relay was not told %q:\n%s", want, got)
		}
	}
	a.Relay, told = relay(t, "RCPT TO:<on@")
	if err := receiver(t, a, cluster.Secrets{}).Deliver(t.Context(), fired()); err != nil || !strings.Contains(told(), "db2 is behind") {
		t.Errorf("one recipient that the relay does not know keeps the letter from the other: %v", err)
	}
	for refuse, n := range map[string]Notice{"RCPT TO:<on@": Test("shop", "proxy1", noon), "RCPT": fired()} {
		a.Relay, _ = relay(t, refuse)
		err := receiver(t, a, cluster.Secrets{}).Deliver(t.Context(), n)
		if err == nil || !strings.Contains(err.Error(), `recipient on@example.org: 550 "no such user"`) || !Refused(err) {
			t.Errorf("recipients that the relay does not know: %v", err)
		}
	}
	// The relay listens on this machine, where a password may go in the clear; but this one knows no log-in.
	a.Relay, _ = relay(t, "")
	a.RelayUser = "pgha"
	err := receiver(t, a, cluster.Secrets{Relay: "hunter2"}).Deliver(t.Context(), fired())
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a relay that knows no log-in: %v", err)
	}
}
