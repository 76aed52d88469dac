// Package scram makes what PostgreSQL keeps of a password, so that the password itself need not travel to a server.
package scram

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
	"strconv"

	"github.com/xdg-go/stringprep"
)

// PostgreSQL's own numbers: SCRAM_SHA_256_DEFAULT_ITERATIONS and SCRAM_DEFAULT_SALT_LEN.
const (
	iterations = 4096
	saltSize   = 16
)

// form is what pg_authid.rolpassword holds: SCRAM-SHA-256$4096:salt$StoredKey:ServerKey, in base 64.
// https://www.postgresql.org/docs/current/catalog-pg-authid.html
var form = regexp.MustCompile(`^SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$[A-Za-z0-9+/=]{44}:[A-Za-z0-9+/=]{44}$`)

// Verifier is what PostgreSQL keeps of a password, for CREATE ROLE … PASSWORD. Where old is of this password already it stays,
// with its salt; else the salt is made anew, by chance.
func Verifier(password, old string) (string, error) {
	if form.MatchString(password) {
		return password, nil // somebody wrote down no more than this
	}
	if m := form.FindStringSubmatch(old); m != nil {
		salt, err := base64.StdEncoding.DecodeString(m[2])
		n, bad := strconv.Atoi(m[1])
		if err == nil && bad == nil && n == iterations {
			if same, err := compute(password, salt); err != nil || same == old {
				return same, err
			}
		}
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // it never fails (crypto/rand)
	return compute(password, salt)
}

// compute computes it (RFC 5802, 3).
func compute(password string, salt []byte) (string, error) {
	// Where the profile refuses a password, PostgreSQL and libpq take its bytes as they are.
	if prepared, err := stringprep.SASLprep.Prepare(password); err == nil {
		password = prepared
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	sum := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(sum("Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, encode(salt), encode(stored[:]), encode(sum("Server Key"))), nil
}
