// Package suggest finds the word that was probably meant.
//
// In come a mistyped word and the words that would have been right; out comes the nearest of them, or nothing
// when none is near enough to be worth a "did you mean".
package suggest

import (
	"fmt"
	"strconv"
	"strings"
)

// Nearest returns the known word with the fewest edits from word, the first of equals; "" when even that one
// differs in more than a third of its letters. Case, and whether words are joined by "-" or "_", do not count.
func Nearest(word string, known []string) string {
	best, found := 0, ""
	w := plain(word)
	for _, k := range known {
		p := plain(k)
		limit := max(1, max(len(w), len(p))/3)
		if d := Distance(w, p); d <= limit && (found == "" || d < best) {
			best, found = d, k
		}
	}
	return found
}

// Hint is what to say of a word that is none of the known ones: which one was probably meant, else all that there are.
func Hint(word string, known []string) string {
	if near := Nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "one of " + strings.Join(known, ", ")
}

// Quote is a word as a complaint shows it: in quotes, and of a long one the beginning.
func Quote(word string) string {
	if runes := []rune(word); len(runes) > 60 {
		word = string(runes[:60]) + "…"
	}
	return strconv.Quote(word)
}

func plain(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// Distance counts the edits that make b of a: a letter put in, taken out or changed, or two neighbours swapped
// ("optimal string alignment").
func Distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	// Three rows of the table are enough: a swap looks back two.
	older, old, row := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range old {
		old[j] = j
	}
	for i := 1; i <= len(s); i++ {
		row[0] = i
		for j := 1; j <= len(t); j++ {
			change := 1
			if s[i-1] == t[j-1] {
				change = 0
			}
			row[j] = min(old[j]+1, row[j-1]+1, old[j-1]+change)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		older, old, row = old, row, older
	}
	return old[len(t)]
}
