package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBare(t *testing.T) {
	for _, tt := range []struct{ name, spec, want string }{
		{"comments everywhere, and empty lines", `# the first
scope: demo # behind a value

# before a key
network: 10.0.0.0/24
nodes:
  # before an item
  - name: db1   # behind an item
    address: 10.0.0.11
    # after the last
# the last
`, `scope: demo
network: 10.0.0.0/24
nodes:
  - name: db1
    address: 10.0.0.11
`},
		{"what only looks like a comment", `scope: demo
network: 10.0.0.0/24
nodes: [{name: db1, address: 10.0.0.11}] # one
postgres:
  parameters:
    application_name: "a # b"
    search_path: '#'
packages:
  url: http://mirror.example.org/pgbake#x
  key: |
    -----BEGIN PGP PUBLIC KEY BLOCK-----
    # of the key

    bWlycm9y
    -----END PGP PUBLIC KEY BLOCK-----
`, `scope: demo
network: 10.0.0.0/24
nodes: [{name: db1, address: 10.0.0.11}]
postgres:
  parameters:
    application_name: "a # b"
    search_path: '#'
packages:
  url: http://mirror.example.org/pgbake#x
  key: |
    -----BEGIN PGP PUBLIC KEY BLOCK-----
    # of the key

    bWlycm9y
    -----END PGP PUBLIC KEY BLOCK-----
`},
		{"references, signs and words that are not ASCII", "scope: demo\nnetwork: 10.0.0.0/24\n" +
			"nodes: [{name: db1, address: 10.0.0.11}]\nclient_networks: &ours [10.0.0.0/24] # ours\nadmin_networks: *ours\nbackup: {directory: /var/backups, at: \"02:00\"}\nalerts: {command: [/usr/bin/page, Дежурный]}\n",
			"scope: demo\nnetwork: 10.0.0.0/24\n" +
				"nodes: [{name: db1, address: 10.0.0.11}]\nclient_networks: &ours [10.0.0.0/24]\nadmin_networks: *ours\nbackup: {directory: /var/backups, at: \"02:00\"}\nalerts: {command: [/usr/bin/page, Дежурный]}\n"},
	} {
		if _, err := Parse("cluster.yaml", []byte(tt.spec)); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		got := Bare([]byte(tt.spec))
		if diff := cmp.Diff(bareHeader+tt.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if diff := cmp.Diff(string(got), string(Bare(got))); diff != "" {
			t.Errorf("%s, a second time (-first +second):\n%s", tt.name, diff)
		}
	}
}

// Every specification that there is says the same without comments, to an old pgha as to this one: with its own keys alone.
func TestBareSaysTheSame(t *testing.T) {
	var files []string
	for _, pattern := range []string{"example.yaml", "../examples/*.yaml", "testdata/good/*.yaml", "../cloudinit/testdata/*.yaml", "../lint/testdata/**/*.yaml"} {
		found, _ := filepath.Glob(pattern)
		files = append(files, found...)
	}
	if len(files) < 5 {
		t.Fatalf("only %q were found", files)
	}
	for _, path := range files {
		spec, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Parse(path, spec)
		if err != nil {
			continue
		}
		bare := Bare(spec)
		got, err := Parse(path, bare)
		if err != nil {
			t.Fatalf("%s: %v\n%s", path, err, bare)
		}
		wanted, _ := want.Encode()
		encoded, _ := got.Encode()
		if diff := cmp.Diff(string(wanted), string(encoded)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
		for line := range strings.Lines(string(bare)) {
			// A key's lines are no comments.
			if strings.HasPrefix(strings.TrimSpace(line), "#") && line != bareHeader {
				t.Errorf("%s: a comment is left: %s", path, line)
			}
		}
	}
}

// A text that is no specification is not touched: what is wrong with it is told of what the operator wrote.
func TestBareLeavesAlone(t *testing.T) {
	for _, spec := range []string{"", "# nothing\n", "scope: [\n", "scoop: demo # wrong\n"} {
		if got := Bare([]byte(spec)); !bytes.Equal(got, []byte(spec)) {
			t.Errorf("%q became %q", spec, got)
		}
	}
}
