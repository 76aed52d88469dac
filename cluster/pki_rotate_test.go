package cluster

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// rotation is an operator's folder, and what each machine has been given last.
type rotation struct {
	*testing.T
	dir     string
	cluster *Cluster
	given   map[string]Identity
}

func (r *rotation) seed(machines ...Machine) {
	r.Helper()
	ca, err := LoadCA(r.dir)
	must(r, err)
	for _, m := range machines {
		r.given[m.Name], err = EnsureIdentity(r.dir, ca, r.cluster, m, now)
		must(r, err)
	}
}

// said is what the machines say of what they were given.
func (r *rotation) said() (all []Trust) {
	r.Helper()
	for _, m := range r.cluster.Machines() {
		trust, err := r.given[m.Name].Check(r.cluster, m)
		must(r, err)
		all = append(all, trust)
	}
	return all
}

// everyoneTrusts is what no step may break: each machine's certificates hold for every other machine and for a client
// that has any ca.crt that was in force since the machines had all of the same.
func (r *rotation) everyoneTrusts(clients ...[]byte) {
	r.Helper()
	for name, id := range r.given {
		for _, bundle := range slices.Concat(clients, r.bundles()) {
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(bundle)
			for file, body := range id {
				if !strings.HasSuffix(file, ".crt") || file == caCertFile {
					continue
				}
				cert, err := parseCert(body)
				must(r, err)
				if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
					r.Errorf("%s of %s: %v", file, name, err)
				}
			}
		}
	}
}

func (r *rotation) bundles() (all [][]byte) {
	for _, id := range r.given {
		all = append(all, id[caCertFile])
	}
	return all
}

func (r *rotation) rotate(want Rotation) {
	r.Helper()
	got, err := RotateCA(r.dir, r.cluster, r.said(), now)
	if err != nil || got != want {
		r.Fatalf("rotated to %d, want %d: %v", got, want, err)
	}
}

// The authority is rotated while the machines get their seeds one after the other: nobody ever meets a certificate that
// it does not trust, and no step comes before all have the one before.
func TestRotateCA(t *testing.T) {
	c := example(t, "quickstart")
	r := &rotation{t, initSecrets(t, c), c, map[string]Identity{}}
	machines := c.Machines()
	r.seed(machines...)
	first := readFile(t, r.dir+"/ca.crt")
	firstKey := readFile(t, r.dir+"/ca.key")
	keys := slices.Clone(r.given["db1"]["etcd.key"])

	for _, step := range []struct {
		to Rotation
		// missing is what the refusal says as long as a machine has not the step before.
		missing string
	}{
		{Announced, ""},
		{Succeeded, "trust both authorities; proxy1: it trusts only "},
		{Single, "proxy1: its are from "},
	} {
		if step.missing != "" {
			before := readFile(t, r.dir+"/ca.crt")
			for _, said := range [][]Trust{nil, r.said()} {
				if _, err := RotateCA(r.dir, c, said, now); err == nil || said != nil && !strings.Contains(err.Error(), step.missing) {
					t.Errorf("before all machines have the last step: %v", err)
				}
			}
			if string(readFile(t, r.dir+"/ca.crt")) != string(before) {
				t.Error("a refusal has changed something")
			}
			r.seed(machines[len(machines)-1])
		}
		r.rotate(step.to)
		client := readFile(t, r.dir+"/ca.crt")
		for i, m := range machines[:len(machines)-1] {
			r.seed(m)
			r.everyoneTrusts(client)
			if step.to == Announced && i == 0 {
				r.everyoneTrusts(first) // clients need the new ca.crt only before the second step
			}
		}
	}
	r.seed(machines[len(machines)-1])
	r.everyoneTrusts(readFile(t, r.dir+"/ca.crt"))

	last, err := LoadCA(r.dir)
	must(t, err)
	old, err := Authorities(first)
	must(t, err)
	if signed(old[0], last.cert) || string(last.Certificate()) == string(first) {
		t.Error("the authority is the same")
	}
	if !last.cert.NotBefore.Equal(old[0].NotBefore) {
		t.Errorf("the cluster's age has changed: %s, was %s", last.cert.NotBefore, old[0].NotBefore)
	}
	if string(r.given["db1"]["etcd.key"]) != string(keys) {
		t.Error("a machine's key has changed")
	}
	id := AuthorityID(old[0])
	if string(readFile(t, filepath.Join(r.dir, "ca-"+id+".key"))) != string(firstKey) || string(readFile(t, filepath.Join(r.dir, "ca-"+id+".crt"))) != string(first) {
		t.Error("the old authority is not set aside")
	}
	for _, path := range dirFiles(r.dir + "/ca*") {
		if mode := modeOf(t, path); mode != 0o600 {
			t.Errorf("%s has mode %#o", path, mode)
		}
	}
	r.rotate(Announced) // and again
}

// A step that was stopped between two files is completed by the next run, and nothing signs with a key that is not trusted.
func TestRotateCAIsInterrupted(t *testing.T) {
	c := example(t, "quickstart")
	r := &rotation{t, initSecrets(t, c), c, map[string]Identity{}}
	r.seed(c.Machines()...)
	first := readFile(t, r.dir+"/ca.crt")
	r.rotate(Announced)
	next := readFile(t, r.dir+"/ca-next.key")

	must(t, os.WriteFile(r.dir+"/ca.crt", first, 0o600)) // as if stopped before it
	r.seed(c.Machines()...)
	r.rotate(Announced)
	if string(readFile(t, r.dir+"/ca-next.key")) != string(next) {
		t.Error("a second key was made")
	}
	r.seed(c.Machines()...)
	ca, err := LoadCA(r.dir)
	must(t, err)
	must(t, os.Link(r.dir+"/ca.key", r.dir+"/ca-"+AuthorityID(ca.cert)+".key")) // as if stopped after it
	r.rotate(Succeeded)
	r.everyoneTrusts()
}

// Check finds what is not of one piece.
func TestIdentityCheck(t *testing.T) {
	c := example(t, "quickstart")
	m := c.Machines()[0]
	r := &rotation{t, initSecrets(t, c), c, map[string]Identity{}}
	r.seed(c.Machines()...)
	other := &rotation{t, initSecrets(t, c), c, map[string]Identity{}}
	other.seed(m)
	for name, tt := range map[string]struct {
		file string
		body []byte
		want string
	}{
		"another cluster's authority": {"ca.crt", other.given[m.Name]["ca.crt"], "etcd.crt is signed by another authority than those in ca.crt"},
		"another key":                 {"rest.key", other.given[m.Name]["rest.key"], "rest.crt: it is for another key"},
		"another machine":             {"etcd.crt", nil, "not for"},
		"no certificate":              {"postgres.crt", []byte("x"), "postgres.crt: no certificate in it"},
		"no key":                      {"postgres.key", []byte("hunter2"), "no private key in it"},
		"a leaf as the authority":     {"ca.crt", r.given[m.Name]["etcd.crt"], "ca.crt: not the certificate of an authority"},
	} {
		t.Run(name, func(t *testing.T) {
			id := Identity{}
			for file, body := range r.given[m.Name] {
				id[file] = body
			}
			id[tt.file] = tt.body
			if name == "another machine" {
				second := r.given[c.Machines()[1].Name]
				id["etcd.crt"], id["etcd.key"] = second["etcd.crt"], second["etcd.key"]
			}
			_, err := id.Check(c, m)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
	trust, err := r.given[m.Name].Check(c, m)
	if err != nil || len(trust.Trusts) != 1 || len(trust.SignedBy) != 1 || trust.Trusts[0] != trust.SignedBy[0] ||
		!trust.From.Equal(now.Add(-backdate)) || !trust.To.Equal(now.Add(leafLifetime)) || !strings.HasSuffix(trust.First, ".crt") {
		t.Errorf("%+v, %v", trust, err)
	}
	if trust.To.Sub(now) < 30*24*time.Hour {
		t.Error("it ends at once")
	}
}
