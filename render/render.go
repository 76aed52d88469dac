// Package render turns a specification into the files of one machine.
//
// In come a *cluster.Cluster, which machine of it, and that machine's secrets and certificates; out come
// rootfs.Files. The same code runs in `pgbake render`, which previews, and in `pgha apply`, which writes.
// It only computes: no program, no network, no clock, no look at the machine it runs on.
package render

import (
	"bytes"
	"embed"
	"fmt"
	"slices"
	"text/template"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
)

// Input is what one machine adds to the specification.
type Input struct {
	// Secrets are the machine's share: Secrets.For(its role).
	Secrets cluster.Secrets
	// Identity is the machine's certificates and keys.
	Identity cluster.Identity
	// Memory is the machine's, in bytes; 0 when unknown.
	Memory uint64
	// Processors is how many the machine has; 0 when unknown.
	Processors int
	// Disk is the size of the disk that PostgreSQL's data lies on, in bytes; 0 when unknown.
	Disk uint64
	// DataUUID is that of the file system on the data disk; empty until it was mounted for the first time.
	DataUUID string
	// WALRoom is what WAL may take of it at most, in bytes: what is free, and what the WAL has now; 0 when unknown.
	WALRoom uint64
	// SlotLimit is what the files that are there give a replication slot of it, in bytes; 0 when there are none.
	SlotLimit uint64
	// WALLimit is the max_wal_size of the file that is there, in bytes; 0 when there is none.
	WALLimit uint64
	// Interface is the network card that gets the virtual address; empty leaves the choice to keepalived.
	Interface string
	// EtcdState is ETCD_INITIAL_CLUSTER_STATE: "new" when empty, "existing" for a member that joins a running etcd.
	EtcdState string
}

//go:embed all:root
var templates embed.FS

// Node returns every file of the machine, in the table's order.
// Its errors name what is missing, never a secret's value.
func Node(c *cluster.Cluster, m cluster.Machine, in Input) ([]rootfs.File, error) {
	files, err := node(c, m, in)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", m.Name, err)
	}
	return files, nil
}

// Paths are those of every file of some machines.
func Paths(c *cluster.Cluster, machines []cluster.Machine) ([]string, error) {
	var all []string
	for _, m := range machines {
		files, err := Node(c, m, Preview(c))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			all = append(all, f.Path)
		}
	}
	return all, nil
}

func node(c *cluster.Cluster, m cluster.Machine, in Input) ([]rootfs.File, error) {
	p, err := newPage(c, m, in)
	if err != nil {
		return nil, err
	}
	var files []rootfs.File
	for _, r := range table {
		if !r.on(c, m) {
			continue
		}
		body, err := r.body(p, in.Identity)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.path, err)
		}
		files = append(files, rootfs.File{
			Path: r.path, Mode: r.mode, Owner: r.owner,
			Unit: r.unit, Restart: r.change == restart, Body: body,
		})
	}
	return files, nil
}

// body is the template at the row's path, or, where the row names them, files of the identity one after the other.
func (r row) body(p *page, id cluster.Identity) ([]byte, error) {
	if len(r.from) > 0 {
		var parts [][]byte
		for _, name := range r.from {
			pem, ok := id[name]
			if !ok {
				return nil, fmt.Errorf("the machine's identity has no %s", name)
			}
			parts = append(parts, pem)
		}
		return slices.Concat(parts...), nil
	}
	text, err := templates.ReadFile("root" + r.path)
	if err != nil {
		return nil, err
	}
	t, err := template.New(r.path).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
