// Package agent is what pgha does on a machine: it turns the seed in /etc/pgha into a running member or proxy.
//
// In comes the root directory ("/" on a machine); out come written files and running units, and one sentence
// about what is being waited for. It never makes or removes a database by itself.
package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/render"
	"github.com/pgbake/pgbake/rootfs"
)

// Where a seed puts its files, below the root directory.
const (
	seedDir     = cluster.SeedDir
	specFile    = seedDir + "/cluster.yaml"
	machineFile = seedDir + "/machine"
	secretsFile = seedDir + "/secrets.yaml"
	tlsDir      = seedDir + "/tls"
)

// Seed is what the machine was told: the cluster, which machine of it this is, and what only it may know.
type Seed struct {
	Cluster  *cluster.Cluster
	Machine  cluster.Machine
	Secrets  cluster.Secrets
	Identity cluster.Identity
}

// SeedError is a seed that is missing or broken; nothing is written or started because of it.
type SeedError struct{ Err error }

func (e *SeedError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *SeedError) Unwrap() error { return e.Err }

// ReadSeed reads /etc/pgha below root. Its error is a *SeedError.
func ReadSeed(root string) (*Seed, error) {
	s, err := readSeed(root)
	if err != nil {
		return nil, &SeedError{err}
	}
	return s, nil
}

func readSeed(root string) (*Seed, error) {
	spec := filepath.Join(root, specFile)
	if _, err := os.Stat(spec); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the seed: %s is missing\n"+
			"      hint: boot this machine with the user-data that `pgbake seed` made for it, or put the seed's files into %s and run `pgha apply`", specFile, seedDir)
	}
	c, err := cluster.LoadTaken(spec)
	if err != nil {
		return nil, err
	}
	name, err := machineName(root)
	if err != nil {
		return nil, err
	}
	m, ok := c.Machine(name)
	if !ok {
		return nil, fmt.Errorf("read %s: %s has no machine %q, it has %s\n      hint: give this machine the user-data of one of them, or put it into cluster.yaml and run `pgbake seed`", machineFile, specFile, name, names(c.Machines()))
	}
	s := &Seed{Cluster: c, Machine: m}
	if s.Secrets, err = cluster.LoadMachineSecrets(filepath.Join(root, secretsFile)); err != nil {
		return nil, err
	}
	if s.Identity, err = readIdentity(root); err != nil {
		return nil, err
	}
	return s, nil
}

func machineName(root string) (string, error) {
	name, err := os.ReadFile(filepath.Join(root, machineFile))
	if err != nil {
		return "", fmt.Errorf("read the machine's name: %w", err)
	}
	return strings.TrimSpace(string(name)), nil
}

func readIdentity(root string) (cluster.Identity, error) {
	id := cluster.Identity{}
	certs, err := os.ReadDir(filepath.Join(root, tlsDir))
	for _, f := range certs {
		if err == nil {
			id[f.Name()], err = os.ReadFile(filepath.Join(root, tlsDir, f.Name()))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the machine's certificates: %w", err)
	}
	return id, nil
}

// Files returns every file that the machine should have.
func (s *Seed) Files(root string) ([]rootfs.File, error) {
	return render.Node(s.Cluster, s.Machine, render.Input{
		Secrets:    s.Secrets,
		Identity:   s.Identity,
		Memory:     memory(root),
		Processors: runtime.NumCPU(),
		Disk:       disk(filepath.Join(root, dataPath)),
		DataUUID:   dataUUID(root),
		WALRoom:    walRoom(filepath.Join(root, dataPath), filepath.Join(root, s.Cluster.DataDir(), "pg_wal")),
		SlotLimit:  limitOf(filepath.Join(root, cluster.PatroniConfig), slotLimitKey),
		WALLimit:   limitOf(filepath.Join(root, cluster.PatroniConfig), walLimitKey),
		Interface:  card(s.Machine.Address),
	})
}

// units are those of the machine's role: they start in steps of their own.
func (s *Seed) units() []string {
	if s.Machine.Role == cluster.DB {
		return []string{followUnit, monitorUnit, "etcd.service", "patroni.service", backupTimer, proofTimer}
	}
	return []string{followUnit, monitorUnit, "haproxy.service", "keepalived.service"}
}

func names(ms []cluster.Machine) string {
	var n []string
	for _, m := range ms {
		n = append(n, m.Name)
	}
	return strings.Join(n, ", ")
}
