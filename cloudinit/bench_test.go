package cloudinit

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/scram"
)

// realSeeds makes the seeds of a whole cluster as pgbake does, with secrets and certificates of its own.
func realSeeds(t testing.TB, c *cluster.Cluster, spec []byte, dir string) []Seed {
	t.Helper()
	now := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	secrets := filepath.Join(dir, "secrets")
	if _, err := cluster.InitSecrets(secrets, c, now); err != nil {
		t.Fatal(err)
	}
	plain, err := cluster.LoadSecrets(secrets)
	if err != nil {
		t.Fatal(err)
	}
	if c.Backup.Repository.Type == cluster.RepositoryS3 {
		plain.RepositoryKey, plain.RepositoryKeySecret = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
		plain.RepositoryCipher = "Xb7pVtB2rQm0Y1sKc9wZ4nHfJd6LgAeU"
	}
	s, err := plain.Seal(secrets, scram.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := cluster.LoadCA(secrets)
	if err != nil {
		t.Fatal(err)
	}
	identities := map[string]cluster.Identity{}
	for _, m := range c.Machines() {
		if identities[m.Name], err = cluster.EnsureIdentity(secrets, ca, c, m, now); err != nil {
			t.Fatal(err)
		}
	}
	spec = cluster.Bare(spec)
	word, _, err := cluster.NewGeneration(secrets, c, spec, identities, now)
	if err != nil {
		t.Fatal(err)
	}
	var made []Seed
	for _, m := range c.Machines() {
		seed, err := New(c, m, spec, s, identities[m.Name], word, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := seed.WriteFolder(filepath.Join(dir, m.Name)); err != nil {
			t.Fatal(err)
		}
		if err := seed.WriteISO(filepath.Join(dir, m.Name+".iso")); err != nil {
			t.Fatal(err)
		}
		made = append(made, seed)
	}
	return made
}

// BenchmarkSeeds makes the seeds of 100 clusters of four machines, from nothing to the ISO images. To be reached: 5 s.
func BenchmarkSeeds(b *testing.B) {
	c, spec, _ := testCluster(b, "../examples/global.yaml")
	for b.Loop() {
		dir := b.TempDir()
		for i := range 100 {
			realSeeds(b, c, spec, filepath.Join(dir, fmt.Sprint(i)))
		}
	}
}

// BenchmarkPeerOpenSSLTenth issues the certificates alone, as a script would, for a tenth of the clusters: 10 of 4 machines.
func BenchmarkPeerOpenSSLTenth(b *testing.B) {
	dir := b.TempDir()
	script := `set -eu
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=ca -days 3650 -keyout ca.key -out ca.crt 2>/dev/null
for i in $(seq 13); do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=node$i -keyout $i.key -out $i.csr 2>/dev/null
  openssl x509 -req -in $i.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -out $i.crt 2>/dev/null
done`
	for b.Loop() {
		for range 10 {
			cmd := exec.CommandContext(b.Context(), "sh", "-c", script)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("openssl: %v\n%s", err, out)
			}
		}
	}
}
