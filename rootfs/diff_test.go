package rootfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiffIsForPeople(t *testing.T) {
	root := newRoot(t)
	put(t, root, "etc/same", "same\n")
	put(t, root, "etc/changed", "a\nb\nc\n")
	put(t, root, "etc/secret", "password: old\n")
	put(t, root, "etc/loose", "password: x\n") // 0644: would become private
	if err := os.Chmod(filepath.Join(root, "etc/secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	changes, err := Diff(root, []File{
		{Path: "/etc/same", Mode: 0o644, Owner: "me", Body: []byte("same\n")},
		{Path: "/etc/changed", Mode: 0o644, Owner: "me", Body: []byte("a\nB\nc\n")},
		{Path: "/etc/new", Mode: 0o644, Owner: "me", Body: []byte("n\n")},
		{Path: "/etc/secret", Mode: 0o600, Owner: "me", Body: []byte("password: new\n")},
		{Path: "/etc/group-secret", Mode: 0o640, Owner: "me:mine", Body: []byte("password: new\n")},
		{Path: "/etc/loose", Mode: 0o600, Owner: "me", Body: []byte("password: x\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, c := range changes {
		got.WriteString(c.Text)
	}
	want := `--- /etc/changed
+++ /etc/changed
@@ -1,3 +1,3 @@
 a
-b
+B
 c
--- /dev/null
+++ /etc/new
@@ -0,0 +1 @@
+n
/etc/secret: content differs (not shown: it may hold secrets)
/etc/group-secret: would be made (not shown: it may hold secrets)
/etc/loose: mode 0644 would be 0600
`
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestDiffSeesWhatWriteDoes: nothing to show after a write, and as many changes as there were.
func TestDiffSeesWhatWriteDoes(t *testing.T) {
	root := newRoot(t)
	files := []File{
		{Path: "/etc/a", Mode: 0o644, Owner: "me", Body: []byte("a\n")},
		{Path: "/etc/b", Mode: 0o600, Owner: "me"},
	}
	changes, err := Diff(root, files)
	if err != nil || len(changes) != 2 {
		t.Fatalf("%v %v", changes, err)
	}
	if _, err := Write(root, files); err != nil {
		t.Fatal(err)
	}
	if changes, err = Diff(root, files); err != nil || len(changes) != 0 {
		t.Errorf("%v %v", changes, err)
	}
}

// TestUnifiedIsWhatPatchReads lets patch(1) judge: it must turn the old text into the new one.
func TestUnifiedIsWhatPatchReads(t *testing.T) {
	if _, err := exec.LookPath("patch"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("needs patch")
	}
	numbers := func(n int, change map[int]string) string {
		var b strings.Builder
		for i := 1; i <= n; i++ {
			if line, ok := change[i]; ok {
				b.WriteString(line)
			} else {
				fmt.Fprintf(&b, "%d\n", i)
			}
		}
		return b.String()
	}
	for name, c := range map[string]struct{ a, b string }{
		"first line":         {numbers(20, nil), numbers(20, map[int]string{1: "one\n"})},
		"last line":          {numbers(20, nil), numbers(20, map[int]string{20: ""})},
		"two hunks":          {numbers(40, nil), numbers(40, map[int]string{5: "", 30: "30\n30a\n"})},
		"hunks that touch":   {numbers(40, nil), numbers(40, map[int]string{5: "x\n", 12: "y\n"})},
		"hunks just apart":   {numbers(40, nil), numbers(40, map[int]string{5: "x\n", 13: "y\n"})},
		"from nothing":       {"", numbers(3, nil)},
		"to nothing":         {numbers(3, nil), ""},
		"no newline, before": {"a\nb", "a\nb\n"},
		"no newline, after":  {"a\nb\n", "a\nc"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, "f", c.a)
			text := unified("f", "f", c.a, c.b)
			cmd := exec.CommandContext(t.Context(), "patch", "--fuzz=0", "--batch", "f")
			cmd.Dir, cmd.Stdin = dir, strings.NewReader(text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s\n%s", err, out, text)
			}
			got, _ := os.ReadFile(filepath.Join(dir, "f")) // patch removes a file that became empty
			if string(got) != c.b {
				t.Errorf("patched to %q, want %q, by\n%s", got, c.b, text)
			}
		})
	}
	if text := unified("f", "f", "a\n", "a\n"); text != "" {
		t.Errorf("equal texts differ: %s", text)
	}
}
