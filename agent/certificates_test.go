package agent

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"io/fs"
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
	"github.com/pgbake/pgbake/internal/run"
)

const oneSpec = "scope: t\nnetwork: 10.0.0.0/24\nnodes: [{name: node1, address: 10.0.0.1}]\n" +
	"postgres: {version: 17, source: debian, users: [{name: app}]}\ndebian: 13\n"

// userData puts what a seed brings below root; the certificates were made at a time.
func userData(t *testing.T, root string, made time.Time) {
	t.Helper()
	c, err := cluster.Parse("cluster.yaml", []byte(oneSpec))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "secrets")
	if _, err := cluster.InitSecrets(dir, c, made); err != nil {
		t.Fatal(err)
	}
	ca, err := cluster.LoadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	id, err := cluster.EnsureIdentity(dir, ca, c, c.Machines()[0], made)
	if err != nil {
		t.Fatal(err)
	}
	s, err := cluster.LoadSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	put(t, root, specFile, oneSpec)
	put(t, root, machineFile, "node1\n")
	put(t, root, secretsFile, string(cluster.Sealed{Secrets: s}.For(cluster.DB).Encode()))
	for name, body := range id {
		put(t, root, tlsDir+"/"+name, string(body))
	}
}

// Whatever is wrong with what a machine was given, it is one clear message, which `pgha status` has too, and nothing is
// touched: no file written, no unit started.
func TestBadInput(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, tt := range map[string]struct {
		made time.Time
		with func(t *testing.T, root string)
		want []string
	}{
		"no user-data": {time.Now(), func(t *testing.T, root string) {
			if err := os.RemoveAll(filepath.Join(root, seedDir)); err != nil {
				t.Fatal(err)
			}
		}, []string{"/etc/pgha/cluster.yaml is missing", "hint: boot this machine with the user-data"}},
		"a name that is not in the specification": {time.Now(), func(t *testing.T, root string) { put(t, root, machineFile, "node9\n") },
			[]string{`has no machine "node9", it has node1`}},
		"a clock one year behind":     {time.Now().Add(year), nil, []string{"this machine's clock says ", "its certificates are valid from ", "timedatectl"}},
		"a clock years ahead":         {time.Now().Add(-3 * year), nil, []string{"this machine's clock says ", ".crt ended on ", "timedatectl", "pgbake seed"}},
		"another cluster's authority": {time.Now(), foreign("ca.crt"), []string{"etcd.crt is signed by another authority than those in ca.crt", "hint: give this machine the user-data"}},
		"another cluster's key":       {time.Now(), foreign("rest.key"), []string{"rest.crt: it is for another key than the one beside it"}},
		"etcd data of another cluster": {time.Now(), func(t *testing.T, root string) {
			put(t, root, "/var/lib/etcd/pgha/member/wal/0-0.wal", string(append(record(logMetadata, []byte{0x08, 0x01, 0x10, 0x07}), record(logEntry, nil)...)))
		}, []string{"etcd data: foreign data: the etcd data on this machine is of cluster 7", "pgha member set-aside etcd"}},
		"a PostgreSQL of Debian's own": {time.Now(), func(t *testing.T, root string) {
			put(t, root, "/etc/postgresql/17/main/postgresql.conf", "port = 5432\n")
		}, []string{"is left alone"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			userData(t, root, tt.made)
			if tt.with != nil {
				tt.with(t, root)
			}
			before := allFiles(t, root)
			var ran bytes.Buffer
			a := Agent{Root: root, Runner: run.Recorder{W: &ran}, Say: t.Logf, Patience: time.Second}
			_, err := a.Apply(t.Context())
			if err == nil {
				t.Fatal("it was applied")
			}
			state, _ := ReadState(root)
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) || !strings.Contains(state.Error, want) {
					t.Errorf("%q is not in %q, noted as %q", want, err, state.Error)
				}
			}
			if diff := cmp.Diff(before, allFiles(t, root)); diff != "" {
				t.Errorf("it was touched:\n%s", diff)
			}
			if ran.Len() > 0 {
				t.Errorf("ran %s", &ran)
			}
		})
	}
}

// foreign takes one file from another cluster of the same name.
func foreign(name string) func(*testing.T, string) {
	return func(t *testing.T, root string) {
		other := t.TempDir()
		userData(t, other, time.Now())
		body, err := os.ReadFile(filepath.Join(other, tlsDir, name))
		if err != nil {
			t.Fatal(err)
		}
		put(t, root, tlsDir+"/"+name, string(body))
	}
}

// allFiles is every file below root but pgha's own notes of the boot, with what is in it.
func allFiles(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(path, filepath.Join(root, "run")) {
			return err
		}
		body, err := os.ReadFile(path)
		info, infoErr := d.Info()
		if infoErr != nil {
			return infoErr
		}
		sum := sha256.Sum256(body)
		files[path] = info.Mode().String() + string(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A broken seed does not silence `pgha status`: it says so, and what the last apply ended with.
func TestStatusOfABrokenSeed(t *testing.T) {
	root := t.TempDir()
	put(t, root, specFile, "scoop: t\n")
	put(t, root, machineFile, "node1\n")
	a := Agent{Root: root, Say: t.Logf}
	_, _ = a.Apply(t.Context()) // refused
	s := a.Status(t.Context())
	if !strings.Contains(s.Seed, `unknown key "scoop"`) || s.Machine != "node1" || s.Healthy() || s.Apply == nil || !strings.Contains(s.Apply.Error, "scoop") {
		t.Errorf("got %+v", s)
	}
}

// A clock that is off is told from a certificate that has ended by what the others say.
func TestClockOrEnd(t *testing.T) {
	s, pair := identity(t)
	other := s.Machine.Node
	other.Name = "node2"
	s.Cluster.Nodes = append(s.Cluster.Nodes, other)
	var clock time.Time
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", clock.UTC().Format(http.TimeFormat))
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}} //nolint:gosec // the client's minimum counts
	server.StartTLS()
	defer server.Close()
	s.Cluster.Ports.PGHA = server.Listener.Addr().(*net.TCPAddr).Port
	api, err := newAPI(s)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := s.trust()
	if err != nil {
		t.Fatal(err)
	}
	w := &work{Agent: &Agent{Root: t.TempDir(), Say: t.Logf}, seed: s, api: api, trust: trust}
	now := time.Now()

	// Ended, and the others' clocks agree. Their certificates are judged by a time at which this machine's own were valid.
	w.trust.From, w.trust.To = trust.From, now.Add(-time.Minute)
	clock = now
	if why := w.clockOrEnd(t.Context(), outOfTime(w.trust, now)); !strings.Contains(why, "ended on") || !strings.Contains(why, "the clock agrees with node2's") || !strings.Contains(why, "pgbake seed") {
		t.Errorf("got %s", why)
	}

	// Not valid yet by this machine's clock alone.
	w.trust = trust
	clock = trust.From.Add(time.Hour * 24)
	why := w.clockOrEnd(t.Context(), outOfTime(w.trust, trust.From.Add(-8760*time.Hour)))
	if !strings.Contains(why, "the clock is wrong: node2's says "+clock.UTC().Format("2006-01-02")) || !strings.Contains(why, "timedatectl") {
		t.Errorf("got %s", why)
	}
}

func TestTrustProblem(t *testing.T) {
	now := time.Now()
	for left, want := range map[time.Duration]string{
		31 * 24 * time.Hour:           "",
		29*24*time.Hour + time.Minute: "rest.crt of db1 ends in 29 days",
		-time.Minute:                  "rest.crt of db1 ended on ",
	} {
		problem, over := TrustProblem(cluster.Trust{Machine: "db1", First: "rest.crt", To: now.Add(left)}, now)
		if !strings.HasPrefix(problem, want) || (want == "") != (problem == "") || over != (left < 0) {
			t.Errorf("%s left: %q, over %t", left, problem, over)
		}
	}
}

// A machine that answers with another authority's certificate is not merely silent.
func TestStrangeAuthority(t *testing.T) {
	s, pair := identity(t)
	var c counter
	if err := c.open(s, pair, func(greeting) {}); err != nil {
		t.Fatal(err)
	}
	defer c.close()
	mine, _ := identity(t)
	mine.Cluster = s.Cluster
	api, err := newAPI(mine)
	if err != nil {
		t.Fatal(err)
	}
	_, theirs := api.look(t.Context(), s.Machine.Node, greeting{})
	if !strings.Contains(theirs.strange, "a certificate of another authority") {
		t.Errorf("got %q", theirs.strange)
	}
}
