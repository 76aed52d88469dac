package cloudinit

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/cluster"
)

// TestSize: every seed fits Amazon's limit for user-data, the tightest, and says what the text says.
func TestSize(t *testing.T) {
	const largest = "testdata/size/largest.yaml"
	for _, path := range append(specs(t), "../cluster/example.yaml", largest) {
		c, spec, _ := testCluster(t, path)
		for _, seed := range realSeeds(t, c, spec, t.TempDir()) {
			text := userData(seed.content)
			t.Logf("%s: %s has %d bytes of text, its user-data %d", filepath.Base(path), seed.Machine, len(text), len(seed.UserData))
			if len(seed.UserData) > 16384 || len(seed.TooLarge()) > 0 {
				t.Errorf("%s: user-data of %s has %d bytes, too many for %v", path, seed.Machine, len(seed.UserData), seed.TooLarge())
			}
			if seed.Compressed() != (path == largest) || seed.Compressed() != (len(text) > 16384) {
				t.Errorf("%s: user-data of %s: compressed %t", path, seed.Machine, seed.Compressed())
			}
			if got, err := Text(seed.UserData); err != nil || !bytes.Equal(got, text) {
				t.Errorf("%s: user-data of %s is not the text (%v)", path, seed.Machine, err)
			}
		}
	}
}

// The documentation has the sizes right, to 200 bytes: certificates differ by a few.
func TestSizesInDocs(t *testing.T) {
	docs, err := os.ReadFile("../docs/packer-templates.md")
	if err != nil {
		t.Fatal(err)
	}
	for path, said := range map[string][]string{
		"../cluster/example.yaml":      {"8,400"},
		"../examples/two-proxies.yaml": {"10,700"},
		"testdata/size/largest.yaml":   {"12,500", "32,100"},
	} {
		c, spec, _ := testCluster(t, path)
		seed := realSeeds(t, c, spec, t.TempDir())[0]
		for i, size := range [][]byte{seed.UserData, userData(seed.content)}[:len(said)] {
			n, err := strconv.Atoi(strings.ReplaceAll(said[i], ",", ""))
			if err != nil || max(n-len(size), len(size)-n) > 200 || !strings.Contains(string(docs), said[i]) {
				t.Errorf("%s: %d bytes; the documentation is to say %s", path, len(size), said[i])
			}
		}
	}
	for _, l := range limits {
		number := fmt.Sprintf("%d,%03d", l.Bytes/1000, l.Bytes%1000)
		if !strings.Contains(string(docs), "| "+l.Cloud+" | "+number) {
			t.Errorf("the documentation does not say that %s takes %s", l.Cloud, number)
		}
	}
}

// withKeys is a cluster that n keys may log in to.
func withKeys(t *testing.T, n int) (*cluster.Cluster, []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	spec := "scope: keys\nnetwork: 10.0.0.0/24\nnodes: [{name: db1, address: 10.0.0.11}]\nssh_keys:\n" + keys(n)
	if err := os.WriteFile(path, []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	c, spec2, _ := testCluster(t, path)
	return c, spec2
}

// keys are n lines of ssh_keys, of Ed25519.
func keys(n int) string {
	var b strings.Builder
	for i := range n {
		key := sha256.Sum256(fmt.Append(nil, i))
		body := append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), key[:]...)
		fmt.Fprintf(&b, "  - ssh-ed25519 %s dba%d@example.org\n", base64.StdEncoding.EncodeToString(body), i)
	}
	return b.String()
}

// TestTooLarge: who does not take a seed is told by the cloud's own way of counting.
func TestTooLarge(t *testing.T) {
	for _, tt := range []struct {
		bytes int
		want  string
	}{
		{16384, ""},
		{16385, "Amazon EC2"},
		{49149, "Amazon EC2"},
		{49150, "Amazon EC2, OpenStack"}, // 65,536 in base64
		{49153, "Amazon EC2, OpenStack, VMware's guestinfo"},
		{65535, "Amazon EC2, OpenStack, VMware's guestinfo"},
		{65536, "Amazon EC2, OpenStack, VMware's guestinfo, Azure"},
		{196608, "Amazon EC2, OpenStack, VMware's guestinfo, Azure"}, // 262,144 in base64
		{196609, "Amazon EC2, OpenStack, VMware's guestinfo, Azure, Google Cloud"},
	} {
		var got []string
		for _, l := range (Seed{UserData: make([]byte, tt.bytes)}).TooLarge() {
			got = append(got, l.Cloud)
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("%d bytes are too many for %q, not for %q", tt.bytes, got, tt.want)
		}
	}
}

// A seed that is compressed is the same instance as its text, whose bytes depend on no compressor; and it is gzip to any reader.
func TestCompressed(t *testing.T) {
	c, spec := withKeys(t, 100)
	m := c.Machines()[0]
	_, _, s := testCluster(t, "../examples/quickstart.yaml")
	seed, err := New(c, m, spec, s, testIdentity(m), testWord(t, c, spec), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !seed.Compressed() {
		t.Fatalf("%d bytes are not compressed", len(seed.UserData))
	}
	text := userData(seed.content)
	if want := metaData(seed.content, text, seed.NetworkConfig); !bytes.Equal(want, seed.MetaData) {
		t.Errorf("the instance is that of the compressed bytes:\n%s", seed.MetaData)
	}
	r, err := gzip.NewReader(bytes.NewReader(seed.UserData))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, text) {
		t.Errorf("gzip reads something else (%v)", err)
	}
	if _, err := Text(seed.UserData[:100]); err == nil {
		t.Error("half of a seed is a text")
	}
}
