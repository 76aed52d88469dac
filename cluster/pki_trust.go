package cluster

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Trust is what a machine's certificates tell of it. Nothing in it is secret: `pgha status` shows it, and by it
// `pgbake ca rotate` sees whether every machine has what the step before gave it.
type Trust struct {
	Machine string `json:"machine"`
	// Trusts are the authorities whose certificates it takes, SignedBy those that have signed its own: by AuthorityID.
	Trusts   []string `json:"trusts"`
	SignedBy []string `json:"signed_by"`
	// From is when all of its certificates are valid, To when the first of them ends, and First which one that is.
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	First string    `json:"first"`
}

// AuthorityID is a short name of an authority, for people to compare: it follows from its key alone.
func AuthorityID(ca *x509.Certificate) string {
	sum := sha256.Sum256(ca.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:4])
}

// Authorities reads a ca.crt: the certificates of one authority or more, PEM.
func Authorities(bundle []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			return nil, err
		case !cert.IsCA:
			return nil, errors.New("not the certificate of an authority")
		}
		all = append(all, cert)
	}
	if len(all) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return all, nil
}

// Check tells whether the identity is a machine's and whole: each certificate is for the key beside it, names the
// machine's address, and is signed by an authority in ca.crt. What they say of their time is for the caller to judge.
func (id Identity) Check(c *Cluster, m Machine) (Trust, error) {
	t := Trust{Machine: m.Name}
	trusted, err := Authorities(id[caCertFile])
	if err != nil {
		return t, fmt.Errorf("%s: %w", caCertFile, err)
	}
	for _, a := range trusted {
		t.Trusts = append(t.Trusts, AuthorityID(a))
	}
	for _, l := range leaves(c, m) {
		cert, err := id.check(l, m)
		if err != nil {
			return t, fmt.Errorf("%s.crt: %w", l.name, err)
		}
		i := slices.IndexFunc(trusted, func(a *x509.Certificate) bool { return signed(a, cert) })
		if i < 0 {
			return t, fmt.Errorf("%s.crt is signed by another authority than those in %s (%s)", l.name, caCertFile, strings.Join(t.Trusts, ", "))
		}
		if !slices.Contains(t.SignedBy, t.Trusts[i]) {
			t.SignedBy = append(t.SignedBy, t.Trusts[i])
		}
		if cert.NotBefore.After(t.From) {
			t.From = cert.NotBefore
		}
		if t.First == "" || cert.NotAfter.Before(t.To) {
			t.To, t.First = cert.NotAfter, l.name+".crt"
		}
	}
	return t, nil
}

// check reads one certificate.
func (id Identity) check(l leaf, m Machine) (*x509.Certificate, error) {
	cert, err := parseCert(id[l.name+".crt"])
	if err != nil {
		return nil, err
	}
	key, err := parseKey(id[l.name+".key"])
	switch {
	case err != nil:
		return nil, fmt.Errorf("its key: %w", err)
	case !key.PublicKey.Equal(cert.PublicKey):
		return nil, errors.New("it is for another key than the one beside it")
	case len(l.ips) > 0 && cert.VerifyHostname(m.Address.String()) != nil:
		return nil, fmt.Errorf("it is for %v, not for %s, the address of %s", cert.IPAddresses, m.Address, m.Name)
	}
	return cert, nil
}

func signed(ca, cert *x509.Certificate) bool {
	return bytes.Equal(cert.RawIssuer, ca.RawSubject) && cert.CheckSignatureFrom(ca) == nil
}
