package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pgbake/pgbake/cluster"
)

// memoryFile holds what a machine remembers of its cluster once it has seen it alive. Who remembers keeps machines
// without data from founding another one. Patroni's unit starts by itself only where it is.
const memoryFile = "/var/lib/pgha/cluster.json"

// sighting is a cluster that was alive.
type sighting struct {
	// Etcd is the number of its etcd cluster, hexadecimal; a proxy does not know it.
	Etcd string `json:"etcd,omitempty"`
	// System is PostgreSQL's system identifier.
	System string `json:"system"`
}

func readMemory(root string) (sighting, bool) {
	var m sighting
	body, err := os.ReadFile(filepath.Join(root, memoryFile))
	if err != nil || json.Unmarshal(body, &m) != nil {
		return sighting{}, false
	}
	return m, true
}

// remember keeps what the cluster is that this machine sees alive.
func (w *work) remember(ctx context.Context) error {
	if w.seed.Machine.Role == cluster.DB {
		if err := finished(w.Root); err != nil {
			return err
		}
	}
	now, err := w.alive(ctx)
	if had, ok := readMemory(w.Root); err != nil || ok && had == now {
		return err
	}
	body, err := json.Marshal(now)
	if err != nil {
		return err
	}
	path := filepath.Join(w.Root, memoryFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // holds no secret
		return err
	}
	return durable(path, append(body, '\n'))
}

// alive finds the cluster's numbers: a member on its disk, a proxy at the primary.
func (w *work) alive(ctx context.Context) (sighting, error) {
	if w.seed.Machine.Role == cluster.DB {
		log, err := readEtcdLog(w.etcdDir())
		return sighting{fmt.Sprintf("%x", uint64(log.cluster)), systemID(w.databaseDir())}, err
	}
	address, m := w.primary(ctx)
	if !address.IsValid() {
		return sighting{}, errors.New("HAProxy leads to a primary, and no member says that it is one")
	}
	return sighting{System: m.System}, nil
}

// durable is replace that a power cut does not undo.
func durable(path string, body []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only read
	return d.Sync()
}
