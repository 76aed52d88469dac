package cluster

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"
)

// Generation is the operator's word on what the cluster is, under a number: running machines take a higher one that
// bears the operator's signature, from whomever they get it. It holds no secret.
//
// What is signed is a statement of digests, so that a copy may leave parts out and still prove the others. A seed's
// copy leaves all of them out, for they are the seed's other files, and user-data is limited to 16 KiB in some clouds.
type Generation struct {
	// Scope is the cluster's: a generation of another cluster is none.
	Scope string
	// Number counts from 1.
	Number int
	// Made is when, by the operator's clock; nobody decides by it.
	Made time.Time
	// Grown tells that an earlier generation had other database machines: those that are silent may be a cluster.
	Grown bool

	// Specification is the text of cluster.yaml; empty when left out.
	Specification []byte
	// Authorities are what machines trust: ca.crt, PEM, one or more; empty when left out.
	Authorities []byte
	// Certificates are the machines' own, PEM, by machine and file name, for the keys that they have already; machines
	// may be left out.
	Certificates map[string]Certificates

	statement
	signed, signature []byte
}

// Certificates are those of one machine, PEM, by file name below /etc/pgha/tls/.
type Certificates map[string][]byte

// statement is what is signed beside the fields above: SHA-256 of each part, hexadecimal.
type statement struct {
	specification, authorities string
	certificates               map[string]string
}

// written is a statement as JSON, and the whole beside its signature.
type (
	writtenStatement struct {
		Scope         string            `json:"scope"`
		Number        int               `json:"number"`
		Made          time.Time         `json:"made"`
		Grown         bool              `json:"grown,omitempty"`
		Specification string            `json:"specification"`
		Authorities   string            `json:"authorities"`
		Certificates  map[string]string `json:"certificates"`
	}
	writtenGeneration struct {
		Statement     []byte                       `json:"statement"`
		Signature     []byte                       `json:"signature"`
		Specification string                       `json:"specification,omitempty"`
		Authorities   string                       `json:"authorities,omitempty"`
		Certificates  map[string]map[string]string `json:"certificates,omitempty"`
	}
)

// sign makes the statement of what g holds, and signs it.
func (g *Generation) sign(key ed25519.PrivateKey) error {
	g.statement = statement{digest(g.Specification), digest(g.Authorities), map[string]string{}}
	for machine, c := range g.Certificates {
		g.certificates[machine] = c.digest()
	}
	var err error
	g.signed, err = json.Marshal(writtenStatement{g.Scope, g.Number, g.Made, g.Grown, g.specification, g.authorities, g.certificates})
	if err != nil {
		return err
	}
	g.signature = ed25519.Sign(key, g.signed)
	return nil
}

// MaxGeneration is how many bytes of a generation machines take from each other, who do not know yet whom they listen to. Five
// members and two proxies have 40 KiB.
const MaxGeneration = 128 << 10

// Encode returns the generation as it travels and lies on disks: JSON.
func (g Generation) Encode() []byte {
	w := writtenGeneration{Statement: g.signed, Signature: g.signature, Specification: string(g.Specification), Authorities: string(g.Authorities)}
	for machine, files := range g.Certificates {
		if w.Certificates == nil {
			w.Certificates = map[string]map[string]string{}
		}
		w.Certificates[machine] = map[string]string{}
		for name, body := range files {
			w.Certificates[machine][name] = string(body)
		}
	}
	body, err := json.Marshal(w)
	if err != nil {
		panic(err) // texts and bytes
	}
	return append(body, '\n')
}

// ReadGeneration reads what Encode wrote, and believes nothing that the operator has not signed: operator is the
// public key, PEM.
func ReadGeneration(body, operator []byte) (Generation, error) {
	key, err := parseOperator(operator)
	if err != nil {
		return Generation{}, err
	}
	var w writtenGeneration
	if err := json.Unmarshal(body, &w); err != nil || len(w.Statement) == 0 {
		return Generation{}, errors.New("read the generation: it is none\n      hint: `pgbake seed` writes one beside the seeds: generation.json")
	}
	if !ed25519.Verify(key, w.Statement, w.Signature) {
		return Generation{}, errors.New("read the generation: it does not bear the signature of this cluster's operator")
	}
	var s writtenStatement
	if err := json.Unmarshal(w.Statement, &s); err != nil {
		return Generation{}, fmt.Errorf("read the generation: %w", err)
	}
	g := Generation{
		Scope: s.Scope, Number: s.Number, Made: s.Made, Grown: s.Grown, Specification: []byte(w.Specification), Authorities: []byte(w.Authorities),
		Certificates: map[string]Certificates{}, statement: statement{s.Specification, s.Authorities, s.Certificates},
		signed: w.Statement, signature: w.Signature,
	}
	for machine, files := range w.Certificates {
		g.Certificates[machine] = Certificates{}
		for name, text := range files {
			if path.Ext(name) != ".crt" || path.Base(name) != name || name == caCertFile {
				return Generation{}, fmt.Errorf("read the generation: %q is no certificate's name", name)
			}
			g.Certificates[machine][name] = []byte(text)
		}
	}
	if err := g.check(); err != nil {
		return Generation{}, err
	}
	return g, nil
}

// check compares the parts that are there with what was signed.
func (g Generation) check() error {
	forged := func(what string) error {
		return fmt.Errorf("read generation %d: %s is not what the operator has signed", g.Number, what)
	}
	switch {
	case g.Number < 1:
		return fmt.Errorf("read the generation: its number is %d", g.Number)
	case len(g.Specification) > 0 && digest(g.Specification) != g.specification:
		return forged("the specification")
	case len(g.Authorities) > 0 && digest(g.Authorities) != g.authorities:
		return forged("what is to be trusted")
	}
	for machine, c := range g.Certificates {
		if c.digest() != g.certificates[machine] {
			return forged("a certificate of " + machine)
		}
	}
	return nil
}

// Bare is g without its parts, as a seed carries it.
func (g Generation) Bare() Generation {
	g.Specification, g.Authorities, g.Certificates = nil, nil, nil
	return g
}

// With is g with those of the parts that it lacks and that are the ones that were signed: a machine's own files complete
// a copy that has left them out.
func (g Generation) With(specification, authorities []byte, machine string, certificates Certificates) Generation {
	if len(g.Specification) == 0 && digest(specification) == g.specification {
		g.Specification = specification
	}
	if len(g.Authorities) == 0 && digest(authorities) == g.authorities {
		g.Authorities = authorities
	}
	if _, ok := g.Certificates[machine]; !ok && certificates.digest() == g.certificates[machine] {
		g.Certificates = maps.Clone(g.Certificates)
		if g.Certificates == nil {
			g.Certificates = map[string]Certificates{}
		}
		g.Certificates[machine] = certificates
	}
	return g
}

// Lacks names the parts without which the machine cannot take g; empty when there is everything.
func (g Generation) Lacks(machine string) (parts []string) {
	if len(g.Specification) == 0 {
		parts = append(parts, "the specification")
	}
	if len(g.Authorities) == 0 {
		parts = append(parts, "the authorities")
	}
	if _, ok := g.Certificates[machine]; !ok && g.certificates[machine] != "" {
		parts = append(parts, "the certificates of "+machine)
	}
	return parts
}

// Compare orders generations: by number, and of one number the one that has more of its parts is the higher one.
func (g Generation) Compare(other Generation) int {
	parts := func(g Generation) int {
		return min(len(g.Specification), 1) + min(len(g.Authorities), 1) + len(g.Certificates)
	}
	return cmp.Or(cmp.Compare(g.Number, other.Number), cmp.Compare(parts(g), parts(other)))
}

// CertificatesOf are the certificates of an identity: all but what is trusted, and no key.
func CertificatesOf(id Identity) Certificates {
	c := Certificates{}
	for name, body := range id {
		if path.Ext(name) == ".crt" && name != caCertFile {
			c[name] = body
		}
	}
	return c
}

// Fits refuses certificates that are not for the keys of the identity: a key does not travel.
func (c Certificates) Fits(id Identity) error {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		cert, err := parseCert(c[name])
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		key, err := parseKey(id[name[:len(name)-len(".crt")]+".key"])
		if err != nil || !key.PublicKey.Equal(cert.PublicKey) {
			return fmt.Errorf("%s is for a key that this machine does not have", name)
		}
	}
	return nil
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

func (c Certificates) digest() string {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "%s %s\n", name, digest(c[name]))
	}
	return digest(b.Bytes())
}

func parseOperator(data []byte) (ed25519.PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("read the operator's key: none is in it")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the operator's key: %w", err)
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("read the operator's key: it is not an Ed25519 key")
	}
	return public, nil
}
