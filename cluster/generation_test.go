package cluster

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// operator is a person with secrets, a specification and every machine's certificates.
type operator struct {
	*testing.T
	dir  string
	ca   CA
	spec string
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	spec := string(readFile(t, "../examples/quickstart.yaml"))
	o := &operator{T: t, dir: initSecrets(t, example(t, "quickstart")), spec: spec}
	var err error
	if o.ca, err = LoadCA(o.dir); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *operator) seed() (w Word, news []string, identities map[string]Identity) {
	o.Helper()
	c, err := Parse("cluster.yaml", []byte(o.spec))
	if err != nil {
		o.Fatal(err)
	}
	identities = map[string]Identity{}
	for _, m := range c.Machines() {
		if identities[m.Name], err = EnsureIdentity(o.dir, o.ca, c, m, now); err != nil {
			o.Fatal(err)
		}
	}
	if w, news, err = NewGeneration(o.dir, c, []byte(o.spec), identities, now); err != nil {
		o.Fatal(err)
	}
	if err := CountGeneration(o.dir, w.Generation, func() error { return nil }); err != nil {
		o.Fatal(err)
	}
	return w, news, identities
}

func (o *operator) edit(old, by string) {
	o.Helper()
	if strings.Count(o.spec, old) != 1 {
		o.Fatalf("%q is there %d times", old, strings.Count(o.spec, old))
	}
	o.spec = strings.Replace(o.spec, old, by, 1)
}

// What machines would not take from each other is refused at home, and no number is counted for it.
func TestGenerationTooLarge(t *testing.T) {
	o := newOperator(t)
	first, _, identities := o.seed()
	c, err := Parse("cluster.yaml", []byte(o.spec))
	if err != nil {
		t.Fatal(err)
	}
	large := o.spec + strings.Repeat("# a long story\n", MaxGeneration/15)
	if _, _, err := NewGeneration(o.dir, c, []byte(large), identities, now); err == nil || !strings.Contains(err.Error(), "128 at most") || !strings.Contains(err.Error(), "hint: ") {
		t.Errorf("got %v", err)
	}
	if again, _, _ := o.seed(); again.Generation.Number != first.Generation.Number {
		t.Errorf("number %d", again.Generation.Number)
	}
	if n := len(first.Generation.Encode()); n > MaxGeneration/2 {
		t.Errorf("the quick start's has %d bytes", n)
	}
}

// An older pgbake signed the comments: what is new then is said, and it is new once.
func TestGenerationWithoutComments(t *testing.T) {
	o := newOperator(t)
	o.spec += "# a note\n"
	o.seed()
	o.spec = string(Bare([]byte(o.spec)))
	second, news, _ := o.seed()
	if diff := cmp.Diff([]string{"the specification without its comments, and else the same"}, news); diff != "" || second.Generation.Number != 2 || second.Generation.Grown {
		t.Errorf("generation %d (-want +got):\n%s", second.Generation.Number, diff)
	}
	o.spec = string(Bare([]byte("# another note\n" + o.spec)))
	if third, news, _ := o.seed(); news != nil || third.Generation.Number != 2 {
		t.Errorf("generation %d, with news %q", third.Generation.Number, news)
	}
}

func TestNewGeneration(t *testing.T) {
	o := newOperator(t)
	first, news, _ := o.seed()
	if first.Generation.Number != 1 || news != nil || first.Generation.Grown {
		t.Errorf("the first is %d, with news %q", first.Generation.Number, news)
	}
	again, news, _ := o.seed()
	if news != nil || !bytes.Equal(again.Generation.Encode(), first.Generation.Encode()) {
		t.Errorf("nothing has changed, and yet: %q", news)
	}

	o.edit("    - name: app\n", "    - name: app\nfailover: fast\n")
	second, news, _ := o.seed()
	if diff := cmp.Diff([]string{"the specification"}, news); diff != "" || second.Generation.Number != 2 || second.Generation.Grown {
		t.Errorf("generation %d (-want +got):\n%s", second.Generation.Number, diff)
	}
	o.edit("\nproxies:\n", "\n  - {name: db4, address: 10.20.0.14}\n  - {name: db5, address: 10.20.0.15}\nproxies:\n")
	third, news, _ := o.seed()
	if diff := cmp.Diff([]string{"db4 is new", "db5 is new", "the specification"}, news); diff != "" || third.Generation.Number != 3 || !third.Generation.Grown {
		t.Errorf("generation %d (-want +got):\n%s", third.Generation.Number, diff)
	}
	if mode := modeOf(t, filepath.Join(o.dir, generationFile)); mode != 0o600 {
		t.Errorf("%s has mode %#o", generationFile, mode)
	}
}

// TestCountGeneration: what nobody was given is not counted, be it the first generation or a later one.
func TestCountGeneration(t *testing.T) {
	o := newOperator(t)
	c, err := Parse("cluster.yaml", []byte(o.spec))
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left on device")
	_, _, identities := o.seed()
	path := filepath.Join(o.dir, generationFile)
	for _, counted := range []bool{false, true} {
		if !counted {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else {
			o.seed()
			o.spec += "failover: fast\n"
		}
		before, _ := os.ReadFile(path)
		w, _, err := NewGeneration(o.dir, c, []byte(o.spec), identities, now)
		if err != nil {
			t.Fatal(err)
		}
		during := ""
		err = CountGeneration(o.dir, w.Generation, func() error {
			during = string(readFile(t, path))
			return full
		})
		if !errors.Is(err, full) || during != string(w.Generation.Encode()) {
			t.Errorf("got %v, and while it was placed %.40q was counted", err, during)
		}
		after, err := os.ReadFile(path)
		if exists := err == nil; exists != counted || !bytes.Equal(before, after) {
			t.Errorf("counted is %.40q, and before it was %.40q (%v)", after, before, err)
		}
	}
}

// TestGenerationTravels: a copy without its parts is completed by those that were signed, and by no others.
func TestGenerationTravels(t *testing.T) {
	o := newOperator(t)
	w, _, identities := o.seed()
	whole, err := ReadGeneration(w.Generation.Encode(), w.Operator)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w.Generation.Certificates, whole.Certificates); diff != "" || string(whole.Specification) != o.spec || len(whole.Lacks("db1")) > 0 {
		t.Errorf("what came is not what was sent:\n%s", diff)
	}
	for machine, id := range identities {
		if err := whole.Certificates[machine].Fits(id); err != nil {
			t.Errorf("%s: %v", machine, err)
		}
	}
	if err := whole.Certificates["db1"].Fits(identities["db2"]); err == nil || !strings.Contains(err.Error(), "a key that this machine does not have") {
		t.Errorf("certificates for other keys: %v", err)
	}

	bare, err := ReadGeneration(whole.Bare().Encode(), w.Operator)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(bare.Encode()); n > 2000 {
		t.Errorf("a seed's copy has %d bytes", n)
	}
	lacks := []string{"the specification", "the authorities", "the certificates of db1"}
	if diff := cmp.Diff(lacks, bare.Lacks("db1")); diff != "" {
		t.Error(diff)
	}
	mine := identities["db1"]
	if diff := cmp.Diff(lacks, bare.With([]byte("scope: other\n"), []byte("other"), "db1", CertificatesOf(identities["db2"])).Lacks("db1")); diff != "" {
		t.Error(diff)
	}
	filled := bare.With([]byte(o.spec), mine["ca.crt"], "db1", CertificatesOf(mine))
	if lacks := filled.Lacks("db1"); lacks != nil {
		t.Errorf("with the machine's own files it still lacks %q", lacks)
	}
	if again, err := ReadGeneration(filled.Encode(), w.Operator); err != nil || len(again.Lacks("db1")) > 0 || len(again.Lacks("db2")) == 0 {
		t.Errorf("%v, lacks %q", err, again.Lacks("db1"))
	}
	if bare.Compare(filled) >= 0 || whole.Compare(filled) <= 0 || filled.Compare(filled.Bare()) <= 0 {
		t.Error("the one with more of its parts is not the higher one")
	}
	if len(bare.Certificates) > 0 {
		t.Error("filling one copy has filled another")
	}
}

// TestForgedGenerations: what the operator has not signed is refused, each with a sentence.
func TestForgedGenerations(t *testing.T) {
	o := newOperator(t)
	w, _, _ := o.seed()
	other, _, _ := newOperator(t).seed()
	edit := func(change func(*writtenGeneration)) []byte {
		var g writtenGeneration
		if err := json.Unmarshal(w.Generation.Encode(), &g); err != nil {
			t.Fatal(err)
		}
		change(&g)
		body, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	signed := func(s writtenStatement) []byte {
		key, err := loadOperator(o.dir)
		if err != nil {
			t.Fatal(err)
		}
		g := writtenGeneration{}
		if g.Statement, err = json.Marshal(s); err != nil {
			t.Fatal(err)
		}
		g.Signature = ed25519.Sign(key, g.Statement)
		body, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"nothing":            {nil, "it is none"},
		"no JSON":            {[]byte("scope: quickstart\n"), "it is none"},
		"another JSON":       {[]byte(`{"number": 7}`), "it is none"},
		"another operator's": {other.Generation.Encode(), "signature of this cluster's operator"},
		"unsigned":           {edit(func(g *writtenGeneration) { g.Signature = nil }), "signature"},
		"a changed statement": {edit(func(g *writtenGeneration) {
			g.Statement = bytes.Replace(g.Statement, []byte(`"number":1`), []byte(`"number":9`), 1)
		}), "signature"},
		"a changed specification": {edit(func(g *writtenGeneration) { g.Specification += "# more\n" }), "generation 1: the specification is not what the operator has signed"},
		"changed authorities":     {edit(func(g *writtenGeneration) { g.Authorities += g.Authorities }), "what is to be trusted is not"},
		"a changed certificate":   {edit(func(g *writtenGeneration) { g.Certificates["db1"]["etcd.crt"] = g.Certificates["db2"]["etcd.crt"] }), "a certificate of db1 is not"},
		"one certificate fewer":   {edit(func(g *writtenGeneration) { delete(g.Certificates["db1"], "rest.crt") }), "a certificate of db1 is not"},
		"a machine more":          {edit(func(g *writtenGeneration) { g.Certificates["db9"] = g.Certificates["db1"] }), "a certificate of db9 is not"},
		"a key":                   {edit(func(g *writtenGeneration) { g.Certificates["db1"]["etcd.key"] = "x" }), `"etcd.key" is no certificate's name`},
		"a path":                  {edit(func(g *writtenGeneration) { g.Certificates["db1"]["../../x.crt"] = "x" }), `"../../x.crt" is no certificate's name`},
		"no number":               {signed(writtenStatement{Scope: "quickstart", Made: time.Now()}), "its number is 0"},
		"a statement of nothing":  {signed(writtenStatement{Number: 1}), ""},
	} {
		g, err := ReadGeneration(c.body, w.Operator)
		switch {
		case c.want == "" && (err != nil || len(g.Lacks("db1")) == 0):
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
	for name, key := range map[string][]byte{"no key": nil, "a certificate": w.Generation.Authorities, "the secret one": readFile(t, filepath.Join(o.dir, operatorKeyFile))} {
		if _, err := ReadGeneration(w.Generation.Encode(), key); err == nil || !strings.Contains(err.Error(), "operator's key") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOperatorKeyIsKept: what is damaged or open to others is refused, and nothing of it is said.
func TestOperatorKeyIsKept(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString([]byte(rand.Text()))
	for name, c := range map[string]struct {
		damage func(path string) error
		want   string
	}{
		"open":   {func(p string) error { return os.Chmod(p, 0o644) }, "chmod 600"},
		"no key": {func(p string) error { return os.WriteFile(p, []byte(secret), 0o600) }, "no private key in it"},
		"damaged": {func(p string) error {
			return os.WriteFile(p, []byte("-----BEGIN PRIVATE KEY-----\n"+secret+"\n-----END PRIVATE KEY-----\n"), 0o600)
		}, "a damaged private key"},
		"another": {func(p string) error { return os.Rename(filepath.Join(filepath.Dir(p), caKeyFile), p) }, "not an Ed25519 key"},
	} {
		o := newOperator(t)
		if err := c.damage(filepath.Join(o.dir, operatorKeyFile)); err != nil {
			t.Fatal(err)
		}
		_, err := initOperator(o.dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}
