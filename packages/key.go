package packages

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Key signs a repository. It prints as nothing.
type Key struct{ entity *openpgp.Entity }

// String hides the key from every format verb.
func (Key) String() string { return "(key)" }

// GoString hides the key from %#v.
func (Key) GoString() string { return "(key)" }

// EnsureKey reads the private key in the file path, or makes one there with mode 0600 when there is none.
// The key has no passphrase: the file is the secret. now is the creation time of a new one.
func EnsureKey(path string, now time.Time) (*Key, error) {
	k, err := ReadKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newKey(path, now)
	}
	return k, err
}

// ReadKey reads the private key in the file path; fs.ErrNotExist when there is none.
func ReadKey(path string) (*Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read key %s: others may read it (mode %#o)\n      hint: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read from
	ring, err := openpgp.ReadArmoredKeyRing(file)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", path, err)
	}
	if len(ring) != 1 || ring[0].PrivateKey == nil || ring[0].PrivateKey.Encrypted {
		return nil, fmt.Errorf("read key %s: want exactly one private key without a passphrase", path)
	}
	return &Key{ring[0]}, nil
}

// newKey makes an Ed25519 key in the form that GnuPG has known since 2.1: gpgv and sqv refuse the newer one.
func newKey(path string, now time.Time) (*Key, error) {
	entity, err := openpgp.NewEntity("pgbake repository", "", "", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519, DefaultHash: crypto.SHA512, Time: at(now),
	})
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	entity.Subkeys = nil // for encryption: this one only signs
	body, err := armored(openpgp.PrivateKeyType, func(b *bytes.Buffer) error { return entity.SerializePrivateWithoutSigning(b, nil) })
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// O_EXCL: of two that run at once, one fails, and no key is lost.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(body)
	return &Key{entity}, errors.Join(err, file.Close())
}

// Public is the armored public key, as apt's Signed-By takes it.
func (k *Key) Public() ([]byte, error) {
	return armored(openpgp.PublicKeyType, func(b *bytes.Buffer) error { return k.entity.Serialize(b) })
}

func armored(kind string, write func(*bytes.Buffer) error) ([]byte, error) {
	var raw, out bytes.Buffer
	if err := write(&raw); err != nil {
		return nil, err
	}
	w, err := armor.Encode(&out, kind, nil)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(raw.Bytes())
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return append(out.Bytes(), '\n'), nil
}

// Detached is an armored signature of body, always the same for the same body and time.
func (k *Key) Detached(body []byte, now time.Time) ([]byte, error) {
	var b bytes.Buffer
	err := openpgp.ArmoredDetachSign(&b, k.entity, bytes.NewReader(body), k.signing(now))
	return append(b.Bytes(), '\n'), err
}

// clear is the body with its signature in one text.
func (k *Key) clear(body []byte, now time.Time) ([]byte, error) {
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, k.entity.PrivateKey, k.signing(now))
	if err != nil {
		return nil, err
	}
	_, err = w.Write(body)
	err = errors.Join(err, w.Close())
	return append(b.Bytes(), '\n'), err
}

// signing leaves out the random salt that go-crypto adds. A signature is never older than its key: gpgv refuses that.
func (k *Key) signing(now time.Time) *packet.Config {
	if created := k.entity.PrimaryKey.CreationTime; now.Before(created) {
		now = created
	}
	salted := false
	return &packet.Config{DefaultHash: crypto.SHA512, Time: at(now), NonDeterministicSignaturesViaNotation: &salted}
}

func at(t time.Time) func() time.Time { return func() time.Time { return t } }
