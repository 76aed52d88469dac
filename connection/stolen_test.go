package connection

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Who has stolen a proxy has a certificate that clients trust, at the address where they knock. A server that asks for the
// password in clear does not get it: PostgreSQL's own clients want the server to prove that it knows the password, too.
func TestStolenProxy(t *testing.T) {
	psql, err := exec.LookPath("psql")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	const secret = "the application's password"
	dir := t.TempDir()
	thief := steal(t, filepath.Join(dir, caFile))
	elsewhere := regexp.MustCompile(`host=\S+ port=\S+`)
	for _, l := range Logins(specs(t)["quickstart"]) {
		conninfo := elsewhere.ReplaceAllString(Libpq(specs(t)["quickstart"], l, dir), "host=127.0.0.1 port="+thief.port)
		for name, c := range map[string]struct {
			conninfo string
			gets     bool
		}{
			"as pgbake connect writes it": {conninfo, false},
			// That the thief is a good one.
			"without channel binding": {conninfo + " channel_binding=disable target_session_attrs=any", true},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			cmd := exec.CommandContext(ctx, psql, "-X", "-d", c.conninfo, "-c", "SELECT 1")
			cmd.Env = append(os.Environ(), "PGPASSWORD="+secret, "LC_ALL=C")
			out, err := cmd.CombinedOutput()
			cancel()
			if err == nil {
				t.Errorf("%s: %s: it got in: %s", l.title(), name, out)
			}
			if got := thief.took(); strings.Contains(got, secret) != c.gets {
				t.Errorf("%s: %s: the thief got %q\n%s", l.title(), name, got, out)
			} else if !c.gets && !strings.Contains(string(out), "channel binding") {
				t.Errorf("%s: %s: psql says %s", l.title(), name, out)
			}
		}
	}
}

// thief is a server with a good certificate that asks for passwords in clear.
type thief struct {
	port string
	got  chan string
}

// took is what it heard from the last client.
func (s thief) took() string {
	select {
	case got := <-s.got:
		return got
	case <-time.After(10 * time.Second):
		return "nobody came"
	}
}

// steal makes the server, and the authority that clients trust, at ca.
func steal(t *testing.T, ca string) thief {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := thief{strconv.Itoa(l.Addr().(*net.TCPAddr).Port), make(chan string, 16)}
	conf := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.got <- harvest(conn, conf)
		}
	}()
	return s
}

// harvest plays the server of PostgreSQL's protocol (https://www.postgresql.org/docs/current/protocol-flow.html) up to the
// password, and returns what came then.
func harvest(conn net.Conn, conf *tls.Config) string {
	defer conn.Close() //nolint:errcheck // nothing is written that counts
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := message(conn); err != nil { // SSLRequest
		return err.Error()
	}
	if _, err := conn.Write([]byte("S")); err != nil {
		return err.Error()
	}
	c := tls.Server(conn, conf)
	if _, err := message(c); err != nil { // the user, the database
		return err.Error()
	}
	if _, err := c.Write([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 3}); err != nil { // the password, in clear
		return err.Error()
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return err.Error()
	}
	body, err := message(c)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimRight(body, "\x00"))
}

// message is a body after its length.
func message(r io.Reader) ([]byte, error) {
	var n uint32
	if err := binary.Read(r, binary.BigEndian, &n); err != nil {
		return nil, err
	}
	body := make([]byte, min(max(n, 4), 10_000)-4)
	_, err := io.ReadFull(r, body)
	return body, err
}
