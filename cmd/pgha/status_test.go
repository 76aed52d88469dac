package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/agent"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestTable: testdata/status/NAME.json is a cluster as `pgha status --json` has it, NAME.txt the screen.
func TestTable(t *testing.T) {
	cases, err := filepath.Glob("testdata/status/*.json")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range cases {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var s agent.Status
		if err := json.Unmarshal(body, &s); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var got bytes.Buffer
		if err := table(&got, &s); err != nil {
			t.Fatal(err)
		}
		golden := strings.TrimSuffix(path, ".json") + ".txt"
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got.String()); d != "" {
			t.Errorf("%s: run with -update and read the difference (-want +got):\n%s", path, d)
		}
	}
}
