package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/cloudinit"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/scram"
)

const townSpec = `scope: t
network: 10.20.0.0/24
nodes:
- {name: db1, address: 10.20.0.11}
- {name: db2, address: 10.20.0.12}
- {name: db3, address: 10.20.0.13}
postgres: {users: [{name: app}]}
`

// town is an operator and the machines that were seeded.
type town struct {
	*testing.T
	dir, spec string
}

func newTown(t *testing.T) *town {
	t.Helper()
	return &town{t, filepath.Join(t.TempDir(), "secrets"), townSpec}
}

// seed is what `pgbake seed` does.
func (w *town) seed() (c *cluster.Cluster, word cluster.Word, s cluster.Sealed, ids map[string]cluster.Identity) {
	w.Helper()
	c, err := cluster.Parse("cluster.yaml", []byte(w.spec))
	if err != nil {
		w.Fatal(err)
	}
	now := time.Now()
	if _, err := cluster.InitSecrets(w.dir, c, now); err != nil {
		w.Fatal(err)
	}
	ca, err := cluster.LoadCA(w.dir)
	if err != nil {
		w.Fatal(err)
	}
	ids = map[string]cluster.Identity{}
	for _, m := range c.Machines() {
		if ids[m.Name], err = cluster.EnsureIdentity(w.dir, ca, c, m, now); err != nil {
			w.Fatal(err)
		}
	}
	plain, err := cluster.LoadSecrets(w.dir)
	if err != nil {
		w.Fatal(err)
	}
	if s, err = plain.Seal(w.dir, scram.Verifier); err != nil {
		w.Fatal(err)
	}
	if word, _, err = cluster.NewGeneration(w.dir, c, []byte(w.spec), ids, now); err != nil {
		w.Fatal(err)
	}
	if err := cluster.CountGeneration(w.dir, word.Generation, func() error { return nil }); err != nil {
		w.Fatal(err)
	}
	return c, word, s, ids
}

// boot gives a machine its user-data, at its first boot or a later one.
func (w *town) boot(root, name string) *Agent {
	w.Helper()
	c, word, s, ids := w.seed()
	m, ok := c.Machine(name)
	if !ok {
		w.Fatal("no machine " + name)
	}
	for _, f := range cloudinit.Files(c, m, []byte(w.spec), s, ids[name], word) {
		put(w.T, root, f.Path, string(f.Body))
	}
	return &Agent{Root: root, Runner: run.Recorder{W: io.Discard}, Say: w.Logf}
}

func (w *town) generation() []byte {
	w.Helper()
	_, word, _, _ := w.seed()
	return word.Generation.Encode()
}

func (w *town) edit(old, by string) {
	w.Helper()
	if strings.Count(w.spec, old) != 1 {
		w.Fatalf("%q is there %d times", old, strings.Count(w.spec, old))
	}
	w.spec = strings.Replace(w.spec, old, by, 1)
}

const twoMore = "- {name: db3, address: 10.20.0.13}\n- {name: db4, address: 10.20.0.14}\n- {name: db5, address: 10.20.0.15}\n"

func (w *town) grow() { w.edit("- {name: db3, address: 10.20.0.13}\n", twoMore) }

// A newer generation outlives a boot with the older user-data; one with newer user-data outdoes it.
func TestGenerationIsTaken(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: files below /etc belong to it")
	}
	w := newTown(t)
	a := w.boot(t.TempDir(), "db1")
	old := *w
	w.grow()
	g, news, err := a.take(w.generation())
	if err != nil || !news || g.Number != 2 || !g.Grown {
		t.Fatalf("generation %d, news: %t, %v", g.Number, news, err)
	}
	sees := func(members, generation int) {
		t.Helper()
		if err := a.unpack(); err != nil {
			t.Fatal(err)
		}
		s, err := ReadSeed(a.Root)
		if err != nil {
			t.Fatal(err)
		}
		g, err := readGeneration(a.Root)
		if err != nil || len(s.Cluster.Nodes) != members || g.Number != generation || len(g.Lacks("db1")) > 0 {
			t.Errorf("it has %d members and generation %d, lacking %q: %v", len(s.Cluster.Nodes), g.Number, g.Lacks("db1"), err)
		}
	}
	sees(5, 2)
	p := pending{file: filepath.Join(a.Root, pendingFile)}
	if err := p.load(); err != nil || !p.restart(followUnit) {
		t.Errorf("the follower does not hear of it: %v, %v", p.units(), err)
	}
	if err := os.Remove(filepath.Join(a.Root, pendingFile)); err != nil {
		t.Fatal(err)
	}
	sees(5, 2)
	if exists(filepath.Join(a.Root, pendingFile)) {
		t.Error("the second time something is to be done")
	}
	if _, news, err := a.take(w.generation()); news || err != nil {
		t.Errorf("the same once more: news %t, %v", news, err)
	}

	// cloud-init writes the old files again: a copy of secrets/ from before the second seed is the older operator.
	put(t, a.Root, specFile, old.spec)
	body, err := os.ReadFile(filepath.Join(a.Root, takenFile))
	if err != nil {
		t.Fatal(err)
	}
	operator, err := os.ReadFile(filepath.Join(a.Root, operatorFile))
	if err != nil {
		t.Fatal(err)
	}
	first, err := cluster.ReadGeneration(firstOf(t, &old), operator)
	if err != nil {
		// The operator of old is the one of w: its key is in the same folder.
		t.Fatal(err)
	}
	put(t, a.Root, generationFile, string(first.Bare().Encode()))
	sees(5, 2)
	if again, err := os.ReadFile(filepath.Join(a.Root, takenFile)); err != nil || !bytes.Equal(body, again) {
		t.Errorf("what was taken has changed: %v", err)
	}

	w.edit("users: [{name: app}]", "users: [{name: app}, {name: second}]")
	w.boot(a.Root, "db1")
	sees(5, 3)
}

// firstOf is generation 1 as it was, signed again by the same operator: secrets/ without its count.
func firstOf(t *testing.T, w *town) []byte {
	t.Helper()
	if err := os.Rename(filepath.Join(w.dir, "generation.json"), filepath.Join(w.dir, "later.json")); err != nil {
		t.Fatal(err)
	}
	body := w.generation()
	if err := os.Rename(filepath.Join(w.dir, "later.json"), filepath.Join(w.dir, "generation.json")); err != nil {
		t.Fatal(err)
	}
	return body
}

func TestGenerationIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		offered func(w *town, a *Agent) []byte
		want    string
	}{
		"older": {func(w *town, a *Agent) []byte {
			first := w.generation()
			w.grow()
			w.boot(a.Root, "db1")
			return first
		}, "generation 1 is older than the one that db1 has, 2"},
		"another operator's": {func(w *town, _ *Agent) []byte {
			other := newTown(w.T)
			other.grow()
			return other.generation()
		}, "does not bear the signature of this cluster's operator"},
		"another cluster's": {func(w *town, _ *Agent) []byte {
			w.edit("scope: t\n", "scope: u\n")
			return w.generation()
		}, "generation 2 is of cluster u, not of t"},
		"a secret that is not here": {func(w *town, _ *Agent) []byte {
			w.edit("users: [{name: app}]", "users: [{name: app}, {name: second}]")
			return w.generation()
		}, `the password of user "second" missing here, and secrets do not travel`},
		"another address": {func(w *town, _ *Agent) []byte {
			w.edit("10.20.0.11", "10.20.0.99")
			return w.generation()
		}, "it makes a db at 10.20.0.99 of the db at 10.20.0.11"},
		"another major version": {func(w *town, _ *Agent) []byte {
			w.edit("postgres: {users", "postgres: {version: 18, source: pgdg, users")
			return w.generation()
		}, "postgres.version: the cluster is PostgreSQL 17, and cannot become PostgreSQL 18"},
		"another major version, by default": {func(w *town, _ *Agent) []byte {
			w.edit("scope: t\n", "scope: t\ndebian: 12\n")
			return w.generation()
		}, "postgres.version: the cluster is PostgreSQL 17, and cannot become PostgreSQL 15"},
		"another path in etcd": {func(w *town, _ *Agent) []byte {
			w.edit("scope: t\n", "scope: t\nnamespace: /other/\n")
			return w.generation()
		}, "namespace: it cannot change in a cluster that runs"},
		"another port of etcd": {func(w *town, _ *Agent) []byte {
			w.edit("scope: t\n", "scope: t\nports: {etcd_peer: 3380}\n")
			return w.generation()
		}, "ports.etcd_peer: it cannot change in a cluster that runs"},
		"another disk for a database that is there": {func(w *town, a *Agent) []byte {
			put(w.T, a.Root, "/var/lib/postgresql/17/main/PG_VERSION", "17\n")
			w.edit("scope: t\n", "scope: t\nstorage: {data_disk: /dev/vdb}\n")
			return w.generation()
		}, "its database stays on the disk that it is on"},
		"a key that is not here": {func(w *town, _ *Agent) []byte {
			w.grow()
			if err := os.RemoveAll(filepath.Join(w.dir, "machines", "db1")); err != nil {
				w.Fatal(err)
			}
			return w.generation()
		}, "is for a key that this machine does not have"},
		"a copy without this machine's new certificates": {func(w *town, a *Agent) []byte {
			w.grow()
			if err := os.Remove(filepath.Join(w.dir, "machines", "db1", "rest.crt")); err != nil {
				w.Fatal(err)
			}
			newcomer := w.boot(w.TempDir(), "db4")
			g, err := readGeneration(newcomer.Root)
			if err != nil {
				w.Fatal(err)
			}
			return g.Encode()
		}, "this copy of it lacks the certificates of db1"},
		"a specification changed on the way": {func(w *town, a *Agent) []byte {
			w.edit("scope: t\n", "scope: t # next\n")
			body := w.generation()
			operator, err := os.ReadFile(filepath.Join(a.Root, operatorFile))
			if err != nil {
				w.Fatal(err)
			}
			g, err := cluster.ReadGeneration(body, operator)
			if err != nil {
				w.Fatal(err)
			}
			return bytes.Replace(g.Encode(), []byte("# next"), []byte("next: 1"), 1)
		}, "the specification is not what the operator has signed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			a := w.boot(t.TempDir(), "db1")
			body := c.offered(w, a)
			before, err := readGeneration(a.Root)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := a.take(body); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			after, err := readGeneration(a.Root)
			if err != nil || after.Number != before.Number || exists(filepath.Join(a.Root, takenFile)) {
				t.Errorf("generation %d became %d: %v", before.Number, after.Number, err)
			}
		})
	}
}

// Another member was removed, and came again at another address, while this machine was away.
func TestGenerationOfAReturnedMember(t *testing.T) {
	w := newTown(t)
	a := w.boot(t.TempDir(), "db1")
	w.edit("10.20.0.13", "10.20.0.99")
	if g, news, err := a.take(w.generation()); err != nil || !news || g.Number != 2 {
		t.Errorf("generation %d, news: %t, %v", g.Number, news, err)
	}
}

// Before there is a database, its disk may still be chosen.
func TestGenerationWithADataDisk(t *testing.T) {
	w := newTown(t)
	a := w.boot(t.TempDir(), "db1")
	w.edit("scope: t\n", "scope: t\nstorage: {data_disk: /dev/vdb}\n")
	if g, news, err := a.take(w.generation()); err != nil || !news || g.Number != 2 {
		t.Errorf("generation %d, news: %t, %v", g.Number, news, err)
	}
}

// A machine that the newest generation does not list goes on until it is removed, and then starts nothing.
func TestLeftOut(t *testing.T) {
	w := newTown(t)
	w.grow()
	a := w.boot(t.TempDir(), "db4")
	w.edit(twoMore, "- {name: db3, address: 10.20.0.13}\n")
	if _, news, err := a.take(w.generation()); err != nil || !news {
		t.Fatal(news, err)
	}
	if err := errors.Join(a.refuseRemoved(), a.unpack()); err != nil {
		t.Fatal(err)
	}
	prepared, err := a.prepare()
	if err != nil {
		t.Fatal(err)
	}
	if !prepared.isLeftOut() || len(prepared.seed.Cluster.Nodes) != 5 {
		t.Errorf("left out: %t, with %d members", prepared.isLeftOut(), len(prepared.seed.Cluster.Nodes))
	}
	put(t, a.Root, removedFile, "removed")
	_, err = a.Apply(t.Context())
	var seed *SeedError
	if !errors.As(err, &seed) || !strings.Contains(err.Error(), "db4 was removed from cluster t, and generation 2 of its specification does not list it") {
		t.Errorf("got %v", err)
	}
	w.edit("- {name: db3, address: 10.20.0.13}\n", twoMore)
	w.boot(a.Root, "db4")
	if err := a.refuseRemoved(); err != nil || exists(filepath.Join(a.Root, removedFile)) {
		t.Errorf("listed again: %v", err)
	}
}

// door is a machine's, open on the loopback.
type door struct {
	*town
	agent *Agent
	ran   *bytes.Buffer
	api   *api
	addr  netip.Addr
}

func newDoor(t *testing.T) door {
	t.Helper()
	w := newTown(t)
	d := door{town: w, agent: w.boot(t.TempDir(), "db1"), ran: &bytes.Buffer{}, addr: netip.MustParseAddr("127.0.0.1")}
	d.agent.Runner = run.Recorder{W: d.ran}
	seed, err := ReadSeed(d.agent.Root)
	if err != nil {
		t.Fatal(err)
	}
	// The machine's certificates are for its loopback address, too.
	here := *seed.Cluster
	seed.Machine.Address, seed.Cluster = d.addr, &here
	here.Ports.PGHA = freePort(t)
	if d.api, err = newAPI(seed); err != nil {
		t.Fatal(err)
	}
	f := newFollower(d.agent, seed, d.api)
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // t's ends too late: the server's end is awaited
	served := make(chan error, 1)
	go func() { served <- f.serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	var state doorState
	for end := time.Now().Add(10 * time.Second); state.Number == 0 && time.Now().Before(end); {
		state, err = d.api.doorState(t.Context(), d.addr)
	}
	if err != nil || state.Number != 1 || state.Machine != "db1" {
		t.Fatalf("%+v, %v", state, err)
	}
	return d
}

// Two machines at one door, over TLS: what is offered is taken, or refused with its reason, and applied.
func TestDoor(t *testing.T) {
	d := newDoor(t)
	w, ran, api, addr, ctx := d.town, d.ran, d.api, d.addr, t.Context()
	old := w.generation()
	w.edit("users: [{name: app}]", "users: [{name: app}, {name: second}]")
	if err := api.offer(ctx, addr, w.generation()); err == nil || !strings.HasPrefix(err.Error(), `generation 2 is not for db1: the password of user "second" missing here`) {
		t.Errorf("got %v", err)
	}
	if state, err := api.doorState(ctx, addr); err != nil || state.Number != 1 || !strings.Contains(state.Refused, "secrets do not travel") {
		t.Errorf("%+v, %v", state, err)
	}
	w.edit("users: [{name: app}, {name: second}]", "users: [{name: app}]")
	w.grow()
	newcomer := w.boot(t.TempDir(), "db5")
	theirs, err := readGeneration(newcomer.Root)
	if err != nil {
		t.Fatal(err)
	}
	if err := api.offer(ctx, addr, theirs.Encode()); err != nil {
		t.Error(err)
	}
	if got := ran.String(); got != "systemctl restart --no-block pgha-apply.service\n" {
		t.Errorf("it ran %q", got)
	}
	if state, err := api.doorState(ctx, addr); err != nil || state.Number != 3 || state.Refused != "" {
		t.Errorf("%+v, %v", state, err)
	}
	if body, err := api.generation(ctx, addr); err != nil || !strings.Contains(string(body), "10.20.0.15") {
		t.Errorf("%s, %v", body, err)
	}
	if err := api.offer(ctx, addr, old); err == nil || err.Error() != "generation 1 is older than the one that db1 has, 3" {
		t.Errorf("got %v", err)
	}
	if err := api.offer(ctx, addr, []byte(`{}`)); err == nil || !strings.Contains(err.Error(), "it is none") {
		t.Errorf("got %v", err)
	}
	if _, err := api.ask(ctx, api.peers, http.MethodGet, api.doorURL(addr, membersPath), nil); err == nil || !strings.Contains(err.Error(), "no quorum here") {
		t.Errorf("got %v", err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // only its number was wanted
	return l.Addr().(*net.TCPAddr).Port
}
