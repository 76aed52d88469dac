package agent

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // etcd's own way to number members
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/pgbake/pgbake/agent/join"
	"github.com/pgbake/pgbake/cluster"
)

// etcdLog is what etcd's write-ahead log tells of the member that it belongs to.
type etcdLog struct {
	// there is false when there is none: etcd would begin anew.
	there bool
	// blank tells that it holds neither an entry nor a vote.
	blank           bool
	cluster, member join.ID
}

// The kinds of records in etcd's log: https://pkg.go.dev/go.etcd.io/etcd/server/v3/storage/wal
const (
	logMetadata = 1
	logEntry    = 2
	logState    = 3
)

// readEtcdLog reads the log below an etcd data directory.
func readEtcdLog(dir string) (etcdLog, error) {
	files, err := filepath.Glob(filepath.Join(dir, "member/wal/*.wal"))
	if err != nil || len(files) == 0 {
		return etcdLog{}, err
	}
	slices.Sort(files)
	// Each file of a log begins with the metadata.
	body, err := os.ReadFile(files[0])
	if err != nil {
		return etcdLog{}, fmt.Errorf("read etcd's log: %w", err)
	}
	log := etcdLog{there: true, blank: len(files) == 1}
	known := false
	for kind, data := range logRecords(body) {
		switch kind {
		case logMetadata:
			known = true
			for field, v := range protobuf(data) {
				switch field {
				case 1:
					log.member = join.ID(v.number)
				case 2:
					log.cluster = join.ID(v.number)
				}
			}
		case logEntry, logState:
			log.blank = false
		}
	}
	if !known {
		return etcdLog{}, fmt.Errorf("read etcd's log: %s does not say whose it is\n      hint: when its data is not needed: pgha member set-aside etcd", files[0])
	}
	return log, nil
}

// logRecords yields the records of one file: each is 8 bytes of length, of which the highest holds the padding, and a
// record of kind, checksum and data. Zeros are space that is not used yet.
func logRecords(body []byte) func(yield func(kind uint64, data []byte) bool) {
	return func(yield func(uint64, []byte) bool) {
		for len(body) >= 8 {
			frame := binary.LittleEndian.Uint64(body)
			size, padding := frame&^(0xff<<56), uint64(0)
			if frame>>63 == 1 {
				padding = frame >> 56 & 7
			}
			if size == 0 || size+padding > uint64(len(body)-8) { //nolint:gosec // the loop has looked
				return
			}
			var kind uint64
			var data []byte
			for field, v := range protobuf(body[8 : 8+size]) {
				switch field {
				case 1:
					kind = v.number
				case 3:
					data = v.bytes
				}
			}
			if !yield(kind, data) {
				return
			}
			body = body[8+size+padding:]
		}
	}
}

// value is one field of a protocol buffer: a number, or bytes.
type value struct {
	number uint64
	bytes  []byte
}

// protobuf yields the fields of a message that has numbers and bytes only, as far as it is whole.
func protobuf(b []byte) func(yield func(field uint64, v value) bool) {
	return func(yield func(uint64, value) bool) {
		for len(b) > 0 {
			tag, n := binary.Uvarint(b)
			if n <= 0 {
				return
			}
			b = b[n:]
			number, n := binary.Uvarint(b)
			if n <= 0 {
				return
			}
			b = b[n:]
			v := value{number: number}
			if tag&7 == 2 {
				if number > uint64(len(b)) {
					return
				}
				v = value{bytes: b[:number]}
				b = b[number:]
			}
			if !yield(tag>>3, v) {
				return
			}
		}
	}
}

// etcdClusterID is the number of the cluster that etcd founds from the declared members, whoever begins: it follows from
// their addresses and the token alone. Machines that were told of other members so never found a cluster together.
// https://github.com/etcd-io/etcd/blob/v3.5.16/server/etcdserver/api/membership/cluster.go
func etcdClusterID(c *cluster.Cluster) join.ID {
	ids := make([][]byte, len(c.Nodes))
	for i, n := range c.Nodes {
		sum := sha1.Sum([]byte(peerURL(c, n) + c.Scope)) //nolint:gosec // no secret, as above
		ids[i] = sum[:8]
	}
	slices.SortFunc(ids, bytes.Compare)
	sum := sha1.Sum(bytes.Join(ids, nil)) //nolint:gosec // as above
	return join.ID(binary.BigEndian.Uint64(sum[:8]))
}

func peerURL(c *cluster.Cluster, n cluster.Node) string {
	return "https://" + hostPort(n.Address, c.Ports.EtcdPeer)
}

// etcdData tells what this machine's own etcd data is to this cluster.
func (w *work) etcdData() (join.Data, etcdLog, error) {
	log, err := readEtcdLog(w.etcdDir())
	switch {
	case err != nil:
		return join.None, log, err
	case !log.there:
		return join.None, log, nil
	case w.isForeign(log.cluster):
		return join.Foreign, log, nil
	case log.blank:
		return join.Unborn, log, nil
	}
	return join.Own, log, nil
}

// isForeign compares with what this machine remembers, else with what it has just joined, which may have been founded by
// other members than are declared today, else with what its seed would found. Where etcd was let start before there was a
// memory, as by an older pgha or by this one before a power cut, what it runs on is this cluster's.
func (w *work) isForeign(id join.ID) bool {
	if m, ok := readMemory(w.Root); ok && m.Etcd != "" {
		return m.Etcd != fmt.Sprintf("%x", uint64(id))
	}
	return id != etcdClusterID(w.seed.Cluster) && id != w.joining.joined && !w.gateWasOpen
}

// refuseForeignEtcd stops before anything is written or let start.
func (w *work) refuseForeignEtcd(context.Context) error {
	data, log, err := w.etcdData()
	if err != nil {
		return err
	}
	if data != join.Foreign {
		return nil
	}
	return errors.New(join.Decide(join.Observation{Data: data, Cluster: log.cluster, Member: log.member}).Why)
}
