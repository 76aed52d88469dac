package rootfs

import (
	"fmt"
	"strings"
)

// context is how many equal lines stand around a change.
const context = 3

// edit is one line of a comparison: ' ' in both, '-' only in the old text, '+' only in the new one.
type edit struct {
	op   byte
	line string
}

// unified compares two texts line by line, in the form of diff -u. Empty when they are equal.
func unified(from, to, a, b string) string {
	edits := compare(lines(a), lines(b))
	var out strings.Builder
	for start := 0; start < len(edits); {
		first := nextChange(edits, start)
		if first == len(edits) {
			break
		}
		// A hunk goes on until more than two contexts' worth of equal lines.
		last := first
		for {
			next := nextChange(edits, last+1)
			if next == len(edits) || next-last-1 > 2*context {
				break
			}
			last = next
		}
		if out.Len() == 0 {
			fmt.Fprintf(&out, "--- %s\n+++ %s\n", from, to)
		}
		writeHunk(&out, edits, max(start, first-context), min(len(edits), last+1+context))
		start = last + 1
	}
	return out.String()
}

func nextChange(edits []edit, i int) int {
	for i < len(edits) && edits[i].op == ' ' {
		i++
	}
	return i
}

func writeHunk(out *strings.Builder, edits []edit, from, to int) {
	oldLine, newLine := 1, 1
	for _, e := range edits[:from] {
		if e.op != '+' {
			oldLine++
		}
		if e.op != '-' {
			newLine++
		}
	}
	oldCount, newCount := 0, 0
	for _, e := range edits[from:to] {
		if e.op != '+' {
			oldCount++
		}
		if e.op != '-' {
			newCount++
		}
	}
	fmt.Fprintf(out, "@@ -%s +%s @@\n", span(oldLine, oldCount), span(newLine, newCount))
	for _, e := range edits[from:to] {
		out.WriteByte(e.op)
		out.WriteString(e.line)
		if !strings.HasSuffix(e.line, "\n") {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// span is "first,count" as diff -u has it: an empty span stands before its first line.
func span(first, count int) string {
	if count == 0 {
		first--
	}
	if count == 1 {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d,%d", first, count)
}

func lines(s string) []string {
	var all []string
	for l := range strings.Lines(s) {
		all = append(all, l)
	}
	return all
}

// compare finds a longest common subsequence by its table; configuration files have hundreds of lines, not millions.
func compare(a, b []string) []edit {
	longest := make([][]int, len(a)+1)
	for i := range longest {
		longest[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			} else {
				longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			}
		}
	}
	var edits []edit
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			edits = append(edits, edit{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && longest[i+1][j] >= longest[i][j+1]:
			edits = append(edits, edit{'-', a[i]})
			i++
		default:
			edits = append(edits, edit{'+', b[j]})
			j++
		}
	}
	return edits
}
