package cluster

import (
	"fmt"
	"regexp"
	"strings"
)

// refusals are what the first gate, spelling and types, has refused. The second gate, meaning, is silent about it: there the
// cluster holds a default or nothing in the place of what the file says, and a complaint about that would be an echo.
type refusals struct {
	// values are the paths whose value was refused.
	values map[string]bool
	// meant are the paths that an unknown key was probably meant to be, with "[]" for each "[2]". They count where the
	// file does not hold them.
	meant map[string]bool
	// gaveUp tells that the file was not read to its end.
	gaveUp bool
}

func newRefusals() refusals { return refusals{values: map[string]bool{}, meant: map[string]bool{}} }

var index = regexp.MustCompile(`\[[0-9]+\]`)

// anyItem is the path with "[]" for each "[2]".
func anyItem(path string) string { return index.ReplaceAllString(path, "[]") }

// inDoubt tells whether the first gate has refused the value at path, or what holds it.
func (s *source) inDoubt(path string) bool {
	for p := path; ; p = parent(p) {
		if _, given := s.places[p]; s.refused.values[p] || !given && s.refused.meant[anyItem(p)] {
			return true
		}
		if p == "" {
			return false
		}
	}
}

// refusedBelow tells whether the first gate has refused something below path.
func (k *checker) refusedBelow(path string) bool {
	for p := range k.src.refused.values {
		if strings.HasPrefix(p, path+".") {
			return true
		}
	}
	return false
}

// sound tells whether the first gate has let the values at these paths pass, those of every item where a path has "[]".
// A rule asks about what it compares a value with.
func (k *checker) sound(paths ...string) bool {
	for _, path := range paths {
		list, rest, each := strings.Cut(path, "[]")
		if k.src.inDoubt(list) {
			return false
		}
		for i := 0; each && k.given(fmt.Sprintf("%s[%d]", list, i)); i++ {
			if k.src.inDoubt(fmt.Sprintf("%s[%d]%s", list, i, rest)) {
				return false
			}
		}
	}
	return true
}
