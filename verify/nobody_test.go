package verify

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// Where every machine refuses, no check passes: silence is not safety.
func TestNobodyThere(t *testing.T) {
	r := checked(t, func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:1") // nobody listens there
	})
	for _, c := range r.Checks {
		switch {
		case c.Verdict == Passed:
			t.Errorf("%s passed: %q", c.Check, c.Found)
		case c.Verdict == Failed && !strings.Contains(strings.Join(c.Wrong, " "), "connection refused") && c.Check != "roles":
			t.Errorf("%s does not say why: %q", c.Check, c.Wrong)
		}
	}
	if r.Passed {
		t.Error("the report says that all is well")
	}
}

// Something listens everywhere that is no PostgreSQL and talks nonsense: it ends, and nothing passes that asks for an answer.
func TestStrangerThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // ends with the test
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "SSH-2.0-nonsense\r\n")
			_ = conn.Close()
		}
	}()
	r := checked(t, func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	})
	for _, c := range r.Checks {
		if c.Verdict == Passed {
			t.Errorf("%s passed: %q", c.Check, c.Found)
		}
	}
}

// checked makes all checks of the quickstart's cluster by a way to dial.
func checked(t *testing.T, dial func(context.Context, string, string) (net.Conn, error)) *Report {
	t.Helper()
	c, err := cluster.Load("../examples/quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "secrets")
	if _, err := cluster.InitSecrets(dir, c, time.Now()); err != nil {
		t.Fatal(err)
	}
	secrets, err := cluster.LoadSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := cluster.LoadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Open(Target{Cluster: c, Secrets: secrets, CA: ca.Certificate(), StatsUser: "admin", Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	r := v.Begin()
	if err := v.Checks(t.Context(), r, func(Result) {}); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(t.Context()); err != nil {
		t.Errorf("it made nothing, and wants to remove something: %v", err)
	}
	var text strings.Builder
	if err := r.WriteText(&text, true); err != nil {
		t.Fatal(err)
	}
	for _, p := range secrets.Users {
		if strings.Contains(text.String(), p) {
			t.Error("the report has a password")
		}
	}
	return r
}
