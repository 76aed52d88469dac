package images

import (
	"crypto/sha256"
	"fmt"
)

// UUID is one in the order of its text, RFC 9562.
type UUID [16]byte

// ID is the UUID that stands for a thing in an image, derived from the key of all its inputs: the same inputs give
// the same disk, different ones never the same file system twice. It is of version 8, "custom".
func ID(key, thing string) UUID {
	sum := sha256.Sum256([]byte("pgbake\x00" + key + "\x00" + thing))
	var u UUID
	copy(u[:], sum[:])
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return u
}

func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
