package safety

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/safety.md anew")

func TestPageIsOfTheTable(t *testing.T) {
	const path, mark = "../../docs/safety.md", "<!-- written by go test ./agent/safety -update -->\n"
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, was, ok := strings.Cut(string(body), mark)
	if !ok {
		t.Fatalf("%s has no %q", path, mark)
	}
	if *update {
		if err := os.WriteFile(path, []byte(head+mark+Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(was, Markdown()); d != "" {
		t.Errorf("run with -update and read the difference (-page +table):\n%s", d)
	}
}
