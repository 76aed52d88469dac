package agent

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/agent/datadisk"
	"github.com/pgbake/pgbake/internal/run"
)

// A disk that is given up is forgotten, not touched: its note gets another name, and what uses it is stopped first.
func TestDataDiskSetAside(t *testing.T) {
	w := testWork(t)
	var ran bytes.Buffer
	w.Runner = run.Recorder{W: &ran}
	if _, err := w.setAsideDisk(t.Context(), w.seed); err == nil || !strings.Contains(err.Error(), "this machine has none") || ran.Len() > 0 {
		t.Errorf("a machine without: %v, %s", err, ran.String())
	}
	w.seed.Cluster.Storage.DataDisk = "/dev/vdb"
	had := datadisk.Note{UUID: "6a5c7d9e-0000-4000-8000-000000000001", Disk: "virtio-DATA"}
	if err := writeDiskNote(w.Root, had); err != nil {
		t.Fatal(err)
	}
	put(t, w.Root, "etc/systemd/system/"+dataMount, "")
	to, err := w.setAsideDisk(t.Context(), w.seed)
	if err != nil {
		t.Fatal(err)
	}
	if body := readAll(t, to); !strings.Contains(body, had.UUID) {
		t.Errorf("%s has %s", to, body)
	}
	if now, err := readDiskNote(w.Root); err != nil || now != (datadisk.Note{GivenUp: true}) || dataUUID(w.Root) != "" {
		t.Errorf("noted is %+v, %v", now, err)
	}
	want := "systemctl stop pgha-apply.service\nsystemctl stop patroni.service\nsystemctl stop var-lib-postgresql.mount\nsystemctl start --no-block pgha-apply.service\n"
	if ran.String() != want {
		t.Errorf("ran\n%s", ran.String())
	}
	// Where an earlier version noted none there is nothing to rename.
	if _, err := w.setAsideDisk(t.Context(), w.seed); err != nil {
		t.Error(err)
	}
	if to, err := filepath.Glob(filepath.Join(w.Root, diskNoteFile+"*")); len(to) != 3 || err != nil {
		t.Errorf("%d notes, %v", len(to), err)
	}
}
