package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var now = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)

func TestCA(t *testing.T) {
	dir := initSecrets(t, example(t, "global"))
	ca, err := LoadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert := ca.cert
	if !cert.IsCA || !cert.MaxPathLenZero || cert.MaxPathLen != 0 || cert.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
		t.Errorf("CA %v, path length %d, key usage %b", cert.IsCA, cert.MaxPathLen, cert.KeyUsage)
	}
	for _, e := range cert.Extensions {
		if id := e.Id.String(); (id == "2.5.29.15" || id == "2.5.29.19") && !e.Critical {
			t.Errorf("the extension %s is not critical", id)
		}
	}
	if key := cert.PublicKey.(*ecdsa.PublicKey); key.Curve != elliptic.P256() {
		t.Errorf("the key is on %s", key.Curve.Params().Name)
	}
	if years := cert.NotAfter.Sub(now).Hours() / 24 / 365; years != 10 || !cert.NotBefore.Before(now) {
		t.Errorf("valid from %s for %.1f years", cert.NotBefore, years)
	}
	if diff := cmp.Diff([]string{"postgres-cluster"}, cert.Subject.Organization); diff != "" {
		t.Error(diff)
	}
	if string(readFile(t, dir+"/ca.crt")) != string(ca.Certificate()) {
		t.Error("Certificate is not ca.crt")
	}
}

// TestCAIsNeverReplaced: a lost key stops pgbake; a lost certificate is made anew of the same key, and what was
// issued before still holds.
func TestCAIsNeverReplaced(t *testing.T) {
	c := example(t, "global")
	dir := initSecrets(t, c)
	first, err := LoadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	id, err := EnsureIdentity(dir, first, c, c.Machines()[0], now)
	if err != nil {
		t.Fatal(err)
	}
	must(t, os.Remove(dir+"/ca.crt"))
	if _, err := LoadCA(dir); err == nil || !strings.Contains(err.Error(), "pgbake init") {
		t.Errorf("without its certificate: %v", err)
	}
	made, err := InitSecrets(dir, c, now.Add(time.Hour))
	if diff := cmp.Diff([]string{dir + "/ca.crt"}, made); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	second, err := LoadCA(dir)
	if err != nil || !second.key.Equal(first.key) {
		t.Fatalf("the key changed: %v", err)
	}
	verify(t, id["postgres.crt"], second, x509.ExtKeyUsageServerAuth, now)

	must(t, os.Remove(dir+"/ca.key"))
	if _, err := InitSecrets(dir, c, now); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("without its key: %v", err)
	}
	if exists(dir + "/ca.key") {
		t.Error("a lost key was replaced")
	}
}

func TestLoadCARefuses(t *testing.T) {
	other := initSecrets(t, example(t, "quickstart"))
	for name, c := range map[string]struct {
		damage func(dir string) error
		want   string
	}{
		"open key":    {func(d string) error { return os.Chmod(d+"/ca.key", 0o644) }, "chmod 600"},
		"other's key": {func(d string) error { return os.WriteFile(d+"/ca.key", readFile(t, other+"/ca.key"), 0o600) }, "does not belong"},
		"no key in it": {func(d string) error { return os.WriteFile(d+"/ca.key", []byte("hunter2"), 0o600) },
			"no private key in it"},
		"damaged key": {func(d string) error {
			return os.WriteFile(d+"/ca.key", []byte("-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n"), 0o600)
		}, "a damaged private key"},
		"no certificate in it": {func(d string) error { return os.WriteFile(d+"/ca.crt", nil, 0o600) }, "no certificate in it"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := initSecrets(t, example(t, "global"))
			must(t, c.damage(dir))
			if _, err := LoadCA(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestIdentity: every certificate of every machine is what its reader asks of it.
func TestIdentity(t *testing.T) {
	c := example(t, "two-proxies")
	dir := initSecrets(t, c)
	ca, err := LoadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	db := []struct {
		name  string
		cn    string
		usage []x509.ExtKeyUsage
		hosts []string
	}{
		{"etcd", "", []x509.ExtKeyUsage{server, client}, []string{"shop-db1", "localhost", "10.30.0.11", "127.0.0.1", "::1"}},
		{"etcd-client", "", []x509.ExtKeyUsage{client}, nil},
		{"rest", "shop-db1", []x509.ExtKeyUsage{server}, []string{"shop-db1", "localhost", "10.30.0.11", "127.0.0.1"}},
		{"postgres", "shop-db1", []x509.ExtKeyUsage{server}, []string{"shop-db1", "localhost", "shop-proxy1", "shop-proxy2",
			"10.30.0.11", "127.0.0.1", "10.30.0.20", "10.30.0.21", "10.30.0.22"}},
	}
	id, err := EnsureIdentity(dir, ca, c, c.Machines()[0], now)
	if err != nil {
		t.Fatal(err)
	}
	if len(id) != 1+2*len(db) {
		t.Errorf("%d files, want %d", len(id), 1+2*len(db))
	}
	for _, want := range db {
		t.Run(want.name, func(t *testing.T) {
			var cert *x509.Certificate
			for _, u := range want.usage {
				cert = verify(t, id[want.name+".crt"], ca, u, now)
			}
			for _, u := range []x509.ExtKeyUsage{server, client} {
				if _, err := cert.Verify(x509.VerifyOptions{Roots: pool(ca), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{u}}); (err == nil) != slices.Contains(want.usage, u) {
					t.Errorf("usage %v: %v", u, err)
				}
			}
			if cert.Subject.CommonName != want.cn {
				t.Errorf("common name %q, want %q", cert.Subject.CommonName, want.cn)
			}
			hosts := slices.Clone(cert.DNSNames)
			for _, ip := range cert.IPAddresses {
				hosts = append(hosts, ip.String())
			}
			slices.Sort(hosts)
			slices.Sort(want.hosts)
			if diff := cmp.Diff(want.hosts, hosts); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			if life := cert.NotAfter.Sub(now); life != leafLifetime || !cert.NotBefore.Before(now) || cert.IsCA {
				t.Errorf("from %s for %s, CA %v", cert.NotBefore, life, cert.IsCA)
			}
			key, err := parseKey(id[want.name+".key"])
			if err != nil || !key.PublicKey.Equal(cert.PublicKey) {
				t.Errorf("the key does not belong to the certificate (%v)", err)
			}
		})
	}
	proxy, err := EnsureIdentity(dir, ca, c, c.Machines()[5], now)
	if err != nil {
		t.Fatal(err)
	}
	if len(proxy) != 3 {
		t.Errorf("a proxy has %d files, want 3", len(proxy))
	}
	cert := verify(t, proxy["proxy.crt"], ca, server, now)
	for _, host := range []string{"shop-proxy1", "10.30.0.21", "10.30.0.20"} {
		if err := cert.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if cert.VerifyHostname("10.30.0.22") == nil {
		t.Error("one proxy's certificate answers for the other")
	}
	for _, id := range []Identity{id, proxy} {
		for name, body := range id {
			if string(body) == string(readFile(t, dir+"/ca.key")) {
				t.Errorf("%s is the authority's key", name)
			}
		}
	}
	for _, path := range dirFiles(dir + "/machines/*/*") {
		if mode := modeOf(t, path); mode != 0o600 {
			t.Errorf("%s has mode %#o", path, mode)
		}
	}
	if mode := modeOf(t, dir+"/machines/shop-db1"); mode != 0o700 {
		t.Errorf("the folder has mode %#o", mode)
	}
}

// TestIdentityIsKept: the same certificates as long as they hold, new ones when they do not, and only those.
func TestIdentityIsKept(t *testing.T) {
	day := 24 * time.Hour
	all := []string{"etcd.crt", "etcd-client.crt", "rest.crt", "postgres.crt"}
	for name, c := range map[string]struct {
		change func(t *testing.T, c *Cluster, dir string)
		later  time.Duration
		want   []string
		keys   []string
	}{
		"nothing":             {nil, 0, nil, nil},
		"two thirds are over": {nil, 549 * day, nil, nil},
		"and a day more":      {nil, 551 * day, all, nil},
		"years later":         {nil, 1000 * day, all, nil},
		"another address": {func(_ *testing.T, c *Cluster, _ string) { c.Nodes[0].Address = netip.MustParseAddr("192.168.184.200") }, 0,
			[]string{"etcd.crt", "rest.crt", "postgres.crt"}, nil},
		"another proxy": {func(_ *testing.T, c *Cluster, _ string) {
			c.Proxies = append(c.Proxies, Node{Name: "second", Address: netip.MustParseAddr("192.168.184.130")})
		}, 0, []string{"postgres.crt"}, nil},
		"another scope": {func(_ *testing.T, c *Cluster, _ string) { c.Scope = "other" }, 0, all, nil},
		"another authority": {func(t *testing.T, c *Cluster, dir string) {
			must(t, os.Remove(dir+"/ca.crt"))
			must(t, os.Remove(dir+"/ca.key"))
			_, err := InitSecrets(dir, c, now)
			must(t, err)
		}, 0, all, nil},
		"a key gone": {func(t *testing.T, _ *Cluster, dir string) { must(t, os.Remove(dir+"/machines/node1/rest.key")) }, 0,
			[]string{"rest.crt"}, []string{"rest.key"}},
		"a damaged key": {func(t *testing.T, _ *Cluster, dir string) {
			must(t, os.WriteFile(dir+"/machines/node1/rest.key", []byte("x"), 0o600))
		}, 0, []string{"rest.crt"}, []string{"rest.key"}},
		"a damaged certificate": {func(t *testing.T, _ *Cluster, dir string) {
			must(t, os.WriteFile(dir+"/machines/node1/etcd.crt", []byte("x"), 0o600))
		}, 0, []string{"etcd.crt"}, nil},
		"a key and a certificate of two runs": {func(t *testing.T, _ *Cluster, dir string) {
			must(t, os.WriteFile(dir+"/machines/node1/etcd.key", readFile(t, dir+"/machines/node1/rest.key"), 0o600))
		}, 0, []string{"etcd.crt"}, []string{"etcd.key"}},
	} {
		t.Run(name, func(t *testing.T) {
			cl := example(t, "global")
			dir := initSecrets(t, cl)
			ensure := func(at time.Time) Identity {
				ca, err := LoadCA(dir)
				must(t, err)
				id, err := EnsureIdentity(dir, ca, cl, cl.Machines()[0], at)
				must(t, err)
				return id
			}
			before := ensure(now)
			if c.change != nil {
				c.change(t, cl, dir)
			}
			after := ensure(now.Add(c.later))
			var reissued []string
			for _, crt := range all {
				if string(before[crt]) != string(after[crt]) {
					reissued = append(reissued, crt)
				}
			}
			if diff := cmp.Diff(c.want, reissued); diff != "" {
				t.Errorf("reissued (-want +got):\n%s", diff)
			}
			// A renewed certificate is for the key that the machine has.
			for _, key := range []string{"etcd.key", "etcd-client.key", "rest.key", "postgres.key"} {
				if kept := string(before[key]) == string(after[key]); kept == slices.Contains(c.keys, key) {
					t.Errorf("%s kept: %t", key, kept)
				}
			}
			ca, err := LoadCA(dir)
			must(t, err)
			for _, crt := range all {
				usage := x509.ExtKeyUsageServerAuth
				if crt == "etcd-client.crt" {
					usage = x509.ExtKeyUsageClientAuth
				}
				verify(t, after[crt], ca, usage, now.Add(c.later))
			}
			if string(after["ca.crt"]) != string(ca.Certificate()) || string(readFile(t, dir+"/machines/node1/ca.crt")) != string(ca.Certificate()) {
				t.Error("ca.crt is not the authority's")
			}
		})
	}
}

func TestIdentityRefuses(t *testing.T) {
	c := example(t, "global")
	dir := initSecrets(t, c)
	ca, err := LoadCA(dir)
	must(t, err)
	if _, err := EnsureIdentity(dir, ca, c, c.Machines()[0], now.Add(11*365*24*time.Hour)); err == nil || !strings.Contains(err.Error(), "ended on 2035-") {
		t.Errorf("an ended authority: %v", err)
	}
	late := now.Add(9 * 365 * 24 * time.Hour)
	id, err := EnsureIdentity(dir, ca, c, c.Machines()[0], late)
	must(t, err)
	if cert := verify(t, id["rest.crt"], ca, x509.ExtKeyUsageServerAuth, late); cert.NotAfter.After(ca.cert.NotAfter) {
		t.Error("a certificate outlives its authority")
	}
	must(t, os.Chmod(dir+"/machines/node1/rest.key", 0o644))
	if _, err := EnsureIdentity(dir, ca, c, c.Machines()[0], late); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("an open key: %v", err)
	}
}

func verify(t *testing.T, pemBytes []byte, ca CA, usage x509.ExtKeyUsage, at time.Time) *x509.Certificate {
	t.Helper()
	cert, err := parseCert(pemBytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool(ca), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		t.Error(err)
	}
	return cert
}

func pool(ca CA) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(ca.Certificate())
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkIdentities issues for 100 clusters of four machines: at most three seconds on two cores.
func BenchmarkIdentities(b *testing.B) {
	c := example(b, "global")
	for b.Loop() {
		dirs := make([]string, 100)
		for i := range dirs {
			dirs[i] = filepath.Join(b.TempDir(), fmt.Sprint(i))
			must(b, os.Mkdir(dirs[i], 0o700))
		}
		each(b, c, dirs)
	}
}

// BenchmarkIdentitiesKept reads them back.
func BenchmarkIdentitiesKept(b *testing.B) {
	c := example(b, "global")
	dirs := make([]string, 100)
	for i := range dirs {
		dirs[i] = filepath.Join(b.TempDir(), fmt.Sprint(i))
		must(b, os.Mkdir(dirs[i], 0o700))
		_, err := InitSecrets(dirs[i], c, now)
		must(b, err)
	}
	each(b, c, dirs)
	for b.Loop() {
		each(b, c, dirs)
	}
}

// each ensures every machine's identity in every folder, a few folders at a time.
func each(b *testing.B, c *Cluster, dirs []string) {
	b.Helper()
	ensure := func(dir string) error {
		if _, err := InitSecrets(dir, c, now); err != nil {
			return err
		}
		ca, err := LoadCA(dir)
		if err != nil {
			return err
		}
		for _, m := range c.Machines() {
			if _, err := EnsureIdentity(dir, ca, c, m, now); err != nil {
				return err
			}
		}
		return nil
	}
	errs := make([]error, len(dirs))
	free := make(chan struct{}, runtime.NumCPU())
	var wg sync.WaitGroup
	for i, dir := range dirs {
		free <- struct{}{}
		wg.Go(func() {
			errs[i] = ensure(dir)
			<-free
		})
	}
	wg.Wait()
	must(b, errors.Join(errs...))
}

func BenchmarkParse(b *testing.B) {
	for b.Loop() {
		if _, err := Parse("example.yaml", Example); err != nil {
			b.Fatal(err)
		}
	}
}
