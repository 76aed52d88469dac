package cluster

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Identity is what a machine proves itself with: certificates and keys, PEM, by file name below /etc/pgha/tls/.
// A database machine has ca.crt, etcd.crt/.key, etcd-client.crt/.key, rest.crt/.key, postgres.crt/.key;
// a proxy has ca.crt, proxy.crt/.key. ca.crt is all that is trusted, one or two authorities. It prints as nothing.
type Identity map[string][]byte

// String hides the keys.
func (Identity) String() string { return hiddenIdentity }

// Format hides the keys from every format verb.
func (Identity) Format(f fmt.State, _ rune) { hide(f, hiddenIdentity) }

// MarshalJSON hides the keys.
func (Identity) MarshalJSON() ([]byte, error) { return json.Marshal(hiddenIdentity) }

// leaf is one certificate that a machine gets.
type leaf struct {
	name    string
	subject pkix.Name
	usage   []x509.ExtKeyUsage
	dns     []string
	ips     []netip.Addr
}

// leaves is the table of a machine's certificates.
//
// Only etcd's carry clientAuth. Theirs have no common name: etcd's gRPC gateway, which Patroni speaks to, answers
// 400 to a client that has one when client certificates and users are both in force
// (https://etcd.io/docs/v3.5/op-guide/security/#notes-for-tls-authentication).
// The client's has no address either: etcd compares it with where the connection comes from.
func leaves(c *Cluster, m Machine) []leaf {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	nameless := pkix.Name{Organization: []string{c.Scope}, OrganizationalUnit: []string{m.Name}}
	named := pkix.Name{Organization: []string{c.Scope}, CommonName: m.Name}
	names := []string{m.Name, "localhost"}
	ips := []netip.Addr{m.Address, loopback}

	if m.Role == Proxy {
		return []leaf{{"proxy", named, server, names, withVirtual(ips, c)}}
	}
	// Clients verify the name they dial, and through a TCP proxy it is PostgreSQL that answers to it.
	entryNames, entryIPs := slices.Clone(names), withVirtual(slices.Clone(ips), c)
	for _, p := range c.Proxies {
		entryNames, entryIPs = append(entryNames, p.Name), append(entryIPs, p.Address)
	}
	return []leaf{
		{"etcd", nameless, append(server, client...), names, append(slices.Clone(ips), netip.IPv6Loopback())},
		{"etcd-client", nameless, client, nil, nil},
		{"rest", named, server, names, ips},
		{"postgres", named, server, entryNames, entryIPs},
	}
}

func withVirtual(ips []netip.Addr, c *Cluster) []netip.Addr {
	if c.VirtualAddress.IsValid() {
		return append(ips, c.VirtualAddress)
	}
	return ips
}

// EnsureIdentity returns the machine's identity, as kept in dir/machines/NAME/ (0700, files 0600). It issues what is not
// there, what names another address, name or authority than the specification does, and what has less than a
// third of its life left: for the key that is there, so that a running machine needs to be told nothing secret.
func EnsureIdentity(dir string, ca CA, c *Cluster, m Machine, now time.Time) (Identity, error) {
	if now.After(ca.cert.NotAfter) {
		return nil, fmt.Errorf("issue certificates of %s: the authority in %s ended on %s", m.Name, dir, ca.cert.NotAfter.Format(time.DateOnly))
	}
	folder := filepath.Join(dir, machinesDir, m.Name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	if err := private(folder); err != nil {
		return nil, err
	}
	id := Identity{caCertFile: ca.Certificate()}
	if err := keep(folder, caCertFile, id[caCertFile]); err != nil {
		return nil, err
	}
	for _, l := range leaves(c, m) {
		crt, key := l.name+".crt", l.name+".key"
		var err error
		if id[crt], id[key], err = kept(folder, l, ca, now); err != nil {
			return nil, err
		}
		if id[crt] != nil {
			continue
		}
		if id[key] == nil {
			if id[key], err = newKey(); err != nil {
				return nil, err
			}
			if err := replace(filepath.Join(folder, key), id[key], false); err != nil {
				return nil, err
			}
		}
		if id[crt], err = issue(l, id[key], ca, now); err != nil {
			return nil, fmt.Errorf("issue %s of %s: %w", crt, m.Name, err)
		}
		if err := replace(filepath.Join(folder, crt), id[crt], false); err != nil {
			return nil, err
		}
	}
	return id, nil
}

// keep makes sure that the file holds the body.
func keep(folder, name string, body []byte) error {
	path := filepath.Join(folder, name)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, body) {
		return nil
	}
	return replace(path, body, false)
}

// kept returns the certificate and key in folder; nil for each that is to be made (anew).
func kept(folder string, l leaf, ca CA, now time.Time) (crt, key []byte, err error) {
	path := filepath.Join(folder, l.name+".key")
	key, err = os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if err := private(path); err != nil {
		return nil, nil, err
	}
	if _, err := parseKey(key); err != nil {
		return nil, nil, nil //nolint:nilerr // a damaged key is worth no more than none
	}
	crt, err = os.ReadFile(filepath.Join(folder, l.name+".crt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if !l.fits(crt, key, ca, now) {
		return nil, key, nil
	}
	return crt, key, nil
}

// fits tells whether a certificate still is what would be issued now.
func (l leaf) fits(crt, key []byte, ca CA, now time.Time) bool {
	cert, err := parseCert(crt)
	if err != nil {
		return false
	}
	private, err := parseKey(key)
	if err != nil || !private.PublicKey.Equal(cert.PublicKey) || !signed(ca.cert, cert) {
		return false
	}
	life := cert.NotAfter.Sub(cert.NotBefore)
	ips := make([]string, len(cert.IPAddresses))
	for i, ip := range cert.IPAddresses {
		ips[i] = ip.String()
	}
	want := make([]string, len(l.ips))
	for i, ip := range l.ips {
		want[i] = ip.String()
	}
	return !now.Before(cert.NotBefore) && cert.NotAfter.Sub(now) >= life/3 &&
		cert.Subject.String() == l.subject.String() && slices.Equal(cert.ExtKeyUsage, l.usage) &&
		slices.Equal(cert.DNSNames, l.dns) && slices.Equal(ips, want)
}

func newKey() ([]byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return encodeKey(private)
}

func issue(l leaf, key []byte, ca CA, now time.Time) (crt []byte, err error) {
	private, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	end := now.Add(leafLifetime)
	if end.After(ca.cert.NotAfter) {
		end = ca.cert.NotAfter
	}
	template := &x509.Certificate{
		Subject:               l.subject,
		NotBefore:             now.Add(-backdate).UTC(),
		NotAfter:              end.UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           l.usage,
		BasicConstraintsValid: true,
		DNSNames:              l.dns,
	}
	for _, ip := range l.ips {
		template.IPAddresses = append(template.IPAddresses, net.IP(ip.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, private.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	return encodeCert(der), nil
}
