// Package deb822 writes apt's sources in their newer form (https://manpages.debian.org/bookworm/apt/sources.list.5).
package deb822

import "fmt"

// Source is the paragraph of one archive's suite, of its component main; signedBy is the path of its key.
func Source(uri, suite, signedBy string) string {
	return fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n", uri, suite, signedBy)
}
