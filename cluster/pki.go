package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	caLifetime = 10 * 365 * 24 * time.Hour
	// leafLifetime is the most that Apple's TLS accepts from a private authority, and clients may be anything.
	leafLifetime = 825 * 24 * time.Hour
	// backdate bears the clock of a machine that has not heard of its time servers yet.
	backdate = time.Hour
)

// CA is the cluster's certificate authority. Its key stays with the operator: no seed, package or image holds it.
// It prints as nothing.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// pem is everything that is trusted: while the authority is rotated, that of another one too.
	pem []byte
}

// String hides the key.
func (CA) String() string { return hiddenCA }

// Format hides the key from every format verb.
func (CA) Format(f fmt.State, _ rune) { hide(f, hiddenCA) }

// MarshalJSON hides the key.
func (CA) MarshalJSON() ([]byte, error) { return json.Marshal(hiddenCA) }

// Certificate returns what machines and clients trust ("sslrootcert"), PEM: its certificate and, while it is rotated,
// that of the authority before or after it.
func (ca CA) Certificate() []byte { return append([]byte(nil), ca.pem...) }

// NewCA makes an authority for a cluster of this scope: ECDSA P-256, ten years, signing machines' certificates only.
func NewCA(scope string, now time.Time) (CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return CA{}, err
	}
	return certify(key, scope, now, now)
}

// certify makes the certificate of an authority for a cluster that was born at a time: machines tell their cluster's
// age by it (agent/join's BirthWindow), so one that comes later bears the date of the first.
func certify(key *ecdsa.PrivateKey, scope string, born, now time.Time) (CA, error) {
	template := &x509.Certificate{
		// The scope goes into the organisation: a common name ends at 64 letters, and "SCOPE CA" might not.
		Subject:               pkix.Name{Organization: []string{scope}, CommonName: "pgbake CA"},
		NotBefore:             born.Add(-backdate).UTC(),
		NotAfter:              now.Add(caLifetime).UTC(),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs machines, never another authority
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return CA{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return CA{}, err
	}
	return CA{cert, key, encodeCert(der)}, nil
}

// LoadCA reads the authority that signs from dir: InitSecrets made it, or RotateCA.
func LoadCA(dir string) (CA, error) {
	certPath, keyPath := filepath.Join(dir, caCertFile), filepath.Join(dir, caKeyFile)
	for _, path := range []string{dir, keyPath} {
		if err := private(path); err != nil {
			return CA{}, err
		}
	}
	certPEM, err := os.ReadFile(certPath)
	if errors.Is(err, fs.ErrNotExist) {
		return CA{}, fmt.Errorf("read %s: no such file (pgbake init makes it)", certPath)
	}
	if err != nil {
		return CA{}, err
	}
	key, err := readKey(keyPath)
	if err != nil {
		return CA{}, err
	}
	trusted, err := Authorities(certPEM)
	if err != nil {
		return CA{}, fmt.Errorf("read %s: %w", certPath, err)
	}
	i := slices.IndexFunc(trusted, func(c *x509.Certificate) bool { return key.PublicKey.Equal(c.PublicKey) })
	if i < 0 {
		return CA{}, fmt.Errorf("read %s: it does not belong to %s", certPath, keyPath)
	}
	return CA{trusted[i], key, certPEM}, nil
}

// initCA makes the authority when there is none. A lost key it never replaces: every machine trusts the old one.
// A lost certificate it makes anew, since the key and the name are all that machines compare.
func initCA(dir string, c *Cluster, now time.Time) ([]string, error) {
	certPath, keyPath := filepath.Join(dir, caCertFile), filepath.Join(dir, caKeyFile)
	hasCert, hasKey := exists(certPath), exists(keyPath)
	switch {
	case hasCert && hasKey:
		_, err := LoadCA(dir)
		return nil, err
	case hasCert:
		return nil, fmt.Errorf("read %s: no such file, but %s is there: bring the key back from your backup", keyPath, certPath)
	case hasKey:
		key, err := readKey(keyPath)
		if err != nil {
			return nil, err
		}
		ca, err := certify(key, c.Scope, now, now)
		if err != nil {
			return nil, err
		}
		return []string{certPath}, create(certPath, ca.pem)
	}
	ca, err := NewCA(c.Scope, now)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(ca.key)
	if err != nil {
		return nil, err
	}
	// The key first: a stop between the two leaves what the next run completes.
	if err := create(keyPath, keyPEM); err != nil {
		return nil, err
	}
	return []string{keyPath, certPath}, create(certPath, ca.pem)
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func readKey(path string) (*ecdsa.PrivateKey, error) {
	if err := private(path); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return key, nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in it")
	}
	return x509.ParseCertificate(block.Bytes)
}

// parseKey never quotes what it was given.
func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no private key in it")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("a damaged private key")
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return ec, nil
}
