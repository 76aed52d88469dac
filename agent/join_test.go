package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/agent/join"
	"github.com/pgbake/pgbake/cluster"
)

// What etcd 3.5.16 itself called the cluster of these members.
func TestEtcdClusterID(t *testing.T) {
	c, err := cluster.Parse("cluster.yaml", []byte("scope: joinlab\nnetwork: 10.20.0.0/24\nnodes:\n"+
		"- {name: db1, address: 10.20.0.11}\n- {name: db2, address: 10.20.0.12}\n- {name: db3, address: 10.20.0.13}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := etcdClusterID(c); got != 0xe16829ee3aee3d28 {
		t.Errorf("got %x", uint64(got))
	}
}

// record is one frame of etcd's log.
func record(kind byte, data []byte) []byte {
	body := append([]byte{0x08, kind, 0x10, 0x2a, 0x1a, byte(len(data))}, data...)
	padding := (8 - len(body)%8) % 8
	frame := uint64(len(body))
	if padding > 0 {
		frame |= uint64(0x80|padding) << 56 //nolint:gosec // positive
	}
	return append(append(binary.LittleEndian.AppendUint64(nil, frame), body...), make([]byte, padding)...)
}

func TestReadEtcdLog(t *testing.T) {
	metadata := record(logMetadata, []byte{0x08, 0x81, 0x01, 0x10, 0x07})
	checksum, snapshot, entry := record(4, nil), record(5, []byte{0x08, 0x00}), record(logEntry, []byte("anything"))
	space := make([]byte, 64)
	for _, tt := range []struct {
		name string
		body []byte
		want etcdLog
		ok   bool
	}{
		{"just made", bytes.Join([][]byte{checksum, metadata, snapshot, space}, nil), etcdLog{there: true, blank: true, member: 129, cluster: 7}, true},
		{"in use", bytes.Join([][]byte{checksum, metadata, snapshot, entry, space}, nil), etcdLog{there: true, member: 129, cluster: 7}, true},
		{"torn in its last record", bytes.Join([][]byte{checksum, metadata, entry, entry[:9]}, nil), etcdLog{there: true, member: 129, cluster: 7}, true},
		{"nothing but space", space, etcdLog{}, false},
	} {
		dir := t.TempDir()
		put(t, dir, "member/wal/0000000000000000-0000000000000000.wal", string(tt.body))
		got, err := readEtcdLog(dir)
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(etcdLog{})); diff != "" || (err == nil) != tt.ok {
			t.Errorf("%s: %v\n%s", tt.name, err, diff)
		}
	}
	if got, err := readEtcdLog(t.TempDir()); got.there || err != nil {
		t.Errorf("an empty directory: %+v, %v", got, err)
	}
}

// Etcd data of another cluster stops a first apply before it writes anything.
func TestForeignEtcdDataStopsEverything(t *testing.T) {
	w := testWork(t)
	const log = "/var/lib/etcd/pgha/member/wal/0-0.wal"
	put(t, w.Root, log, string(append(record(logMetadata, []byte{0x08, 0x01, 0x10, 0x07}), record(logEntry, nil)...)))
	if err := w.refuseForeignEtcd(t.Context()); err == nil || !strings.Contains(err.Error(), "foreign data") {
		t.Errorf("got %v", err)
	}
	// What an older pgha has let start is this cluster's, though its members have changed since.
	w.gateWasOpen = true
	if err := w.refuseForeignEtcd(t.Context()); err != nil {
		t.Error(err)
	}
	// A memory decides, whatever came before.
	put(t, w.Root, memoryFile, `{"etcd":"8","system":"1"}`)
	if err := w.refuseForeignEtcd(t.Context()); err == nil {
		t.Error("data of cluster 7 on a machine that remembers cluster 8 was accepted")
	}
}

func TestSetAsideKeepsEverything(t *testing.T) {
	root := t.TempDir()
	put(t, root, "data/file", "precious")
	to, err := setAside(filepath.Join(root, "data"))
	if err != nil || !strings.HasPrefix(to, filepath.Join(root, "data.aside-20")) {
		t.Fatal(to, err)
	}
	if body, err := os.ReadFile(filepath.Join(to, "file")); err != nil || string(body) != "precious" {
		t.Errorf("%q, %v", body, err)
	}
	if exists(filepath.Join(root, "data")) {
		t.Error("it is still there")
	}
}

// Two machines greet each other over TLS; whoever has no certificate of the cluster gets no answer.
func TestGreeting(t *testing.T) {
	s, pair := identity(t)
	var c counter
	heard := make(chan greeting, 1)
	c.show(greeting{Name: "node1", Cluster: "ab", Waiting: "for rain"})
	if err := c.open(s, pair, func(g greeting) { heard <- g }); err != nil {
		t.Fatal(err)
	}
	defer c.close()
	a, err := newAPI(s)
	if err != nil {
		t.Fatal(err)
	}
	state, theirs := a.look(t.Context(), s.Machine.Node, greeting{Name: "node2", Cluster: "ab"})
	if state != join.Fresh || theirs.Waiting != "for rain" {
		t.Errorf("got %d, %+v", state, theirs)
	}
	if g := <-heard; g.Name != "node2" {
		t.Errorf("heard %+v", g)
	}
	if state, _ := a.look(t.Context(), s.Machine.Node, greeting{Cluster: "cd"}); state != join.Stranger {
		t.Errorf("a machine with other members is %d", state)
	}
	<-heard

	nameless := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // the server is what is tested
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, peerURL(s.Cluster, s.Machine.Node)+greetPath, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := nameless.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Errorf("without a certificate the answer is %s", resp.Status)
	}
	c.close()
	if state, _ := a.look(t.Context(), s.Machine.Node, greeting{Cluster: "ab"}); state != join.Silent {
		t.Errorf("a closed counter is %d", state)
	}
}

// identity is the seed of a member on this host, on a port that is free.
func identity(t *testing.T) (*Seed, tls.Certificate) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	s := &Seed{Cluster: testWork(t).seed.Cluster}
	spec := *s.Cluster
	spec.Nodes = []cluster.Node{{Name: "node1", Address: netip.MustParseAddr("127.0.0.1")}}
	spec.Ports.EtcdPeer = port
	s.Cluster = &spec
	s.Machine = spec.Machines()[0]
	ca, err := cluster.NewCA("t", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if s.Identity, err = cluster.EnsureIdentity(dir, ca, &spec, s.Machine, time.Now()); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(s.Identity["etcd.crt"], s.Identity["etcd.key"])
	if err != nil {
		t.Fatal(err)
	}
	return s, pair
}

// The age of a cluster is that of its authority, which no new seed changes.
func TestAge(t *testing.T) {
	s, _ := identity(t)
	if got := age(s); got < 0 || got > 2*time.Hour {
		t.Errorf("a cluster made just now is %s old", got)
	}
	s.Identity["ca.crt"] = nil
	if got := age(s); got >= 0 {
		t.Errorf("without an authority it is %s old", got)
	}
}

// repeat ends with what was wrong, and with what was waited for.
func TestRepeat(t *testing.T) {
	w := testWork(t)
	wrong := errors.New("wrong")
	if err := w.repeat(t.Context(), "x", func(context.Context) (bool, error) { return false, wrong }, nil); !errors.Is(err, wrong) {
		t.Errorf("got %v", err)
	}
}

// What other members have written stands for itself in the file that etcd is started with.
func TestInitialCluster(t *testing.T) {
	self := cluster.Machine{Node: cluster.Node{Name: "db3", Address: netip.MustParseAddr("10.0.0.3")}}
	at := func(name, url string) etcdMember { return etcdMember{ID: 0xab, Name: name, PeerURLs: []string{url}} }
	one, me := at("db1", "https://10.0.0.1:2380"), at("", "https://10.0.0.3:2380")
	for name, c := range map[string]struct {
		other etcdMember
		want  string
	}{
		"plain":         {at("db2", "https://10.0.0.2:2380"), "db1=https://10.0.0.1:2380,db2=https://10.0.0.2:2380,db3=https://10.0.0.3:2380"},
		"IPv6":          {at("db2", "https://[fd00::2]:2380"), "db1=https://10.0.0.1:2380,db2=https://[fd00::2]:2380,db3=https://10.0.0.3:2380"},
		"no name":       {at("", "https://10.0.0.2:2380"), "db1=https://10.0.0.1:2380,never-ready-ab=https://10.0.0.2:2380,db3=https://10.0.0.3:2380"},
		"two lines":     {at("db2\nETCD_DATA_DIR=/", "https://10.0.0.2:2380"), "db1=https://10.0.0.1:2380,never-ready-ab=https://10.0.0.2:2380,db3=https://10.0.0.3:2380"},
		"two members":   {at("db2=https://10.0.0.9:2380,x", "https://10.0.0.2:2380"), "db1=https://10.0.0.1:2380,never-ready-ab=https://10.0.0.2:2380,db3=https://10.0.0.3:2380"},
		"two addresses": {at("db2", "https://10.0.0.2:2380\nETCD_DATA_DIR=/"), ""},
	} {
		got, err := initialCluster(memberList{Members: []etcdMember{one, c.other, me}}, self)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}
