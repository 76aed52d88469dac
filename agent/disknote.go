package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pgbake/pgbake/agent/datadisk"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// diskNoteFile is what this machine keeps of its data disk: a datadisk.Note. It lies on the root disk.
const diskNoteFile = "/var/lib/pgha/data-disk.json"

// readDiskNote reads it; the zero Note where there is none. A note that cannot be read is not the same as none.
func readDiskNote(root string) (datadisk.Note, error) {
	var n datadisk.Note
	body, err := os.ReadFile(filepath.Join(root, diskNoteFile))
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err == nil {
		err = json.Unmarshal(body, &n)
	}
	if err != nil {
		return datadisk.Note{}, fmt.Errorf("read which disk is this machine's data disk: %s: %w\n"+
			"      hint: when the disk that is attached is surely the one: rm %[1]s, and pgha apply", diskNoteFile, err)
	}
	return n, nil
}

func writeDiskNote(root string, n datadisk.Note) error {
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	path := filepath.Join(root, diskNoteFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // holds no secret
		return err
	}
	return durable(path, append(body, '\n'))
}

// dataUUID is the noted UUID of the data disk's file system, by which its unit mounts it; empty while none is noted.
func dataUUID(root string) string {
	note, _ := readDiskNote(root) // the step "data disk" says what is wrong with it
	return note.Mounted()
}

// noteDisk notes which disk is mounted as the data disk, when that is not noted yet, and insists on it when it is. dev is
// the device, sys its place in /sys.
func (w *work) noteDisk(dev, sys string) error {
	note, err := readDiskNote(w.Root)
	if err != nil {
		return err
	}
	begin, err := readBegin(dev)
	if err != nil {
		return fmt.Errorf("read the data disk: %s is mounted at %s, and cannot be read: %w\n      hint: journalctl --dmesg", dev, dataPath, err)
	}
	_, uuid := datadisk.Superblock(begin)
	switch had := note.Mounted(); {
	case had == uuid:
		return nil
	case uuid == "":
		return nil // a file system that an owner chose
	case had != "":
		return fmt.Errorf("%s, which is mounted at %s, is another disk than this machine's data disk: its UUID is %s, not %s\n"+
			"      hint: unmount it (systemctl stop patroni %s), and pgha apply; or, when the other one is lost for good and this one is in its place: pgha member set-aside data-disk",
			dev, dataPath, uuid, had, dataMount)
	}
	w.Say("the data disk is %s, UUID %s: from now on this machine insists on it", dev, uuid)
	return writeDiskNote(w.Root, datadisk.Note{UUID: uuid, Disk: w.serial(dev, sys)})
}

// setAsideDisk forgets the data disk: a person says that it is lost for good, or is to be another one. The disk itself, and all
// that is on it, stays as it is. It returns the note's new name, empty where there was none.
func (a *Agent) setAsideDisk(ctx context.Context, s *Seed) (to string, err error) {
	if s.Machine.Role != cluster.DB || s.Cluster.Storage.DataDisk == "" {
		return "", errors.New("set the data disk aside: this machine has none: storage.data_disk is not in its cluster.yaml")
	}
	stops := []string{"pgha-apply.service", "patroni.service"}
	if exists(filepath.Join(a.Root, "etc/systemd/system", dataMount)) {
		stops = append(stops, dataMount)
	}
	for _, stop := range stops {
		if err := a.Runner.Run(ctx, run.Command("systemctl", "stop", stop)); err != nil {
			return "", err
		}
	}
	note := filepath.Join(a.Root, diskNoteFile)
	if exists(note) {
		if to, err = setAside(note); err != nil {
			return "", err
		}
	}
	if err := writeDiskNote(a.Root, datadisk.Note{GivenUp: true}); err != nil {
		return "", err
	}
	return to, a.Runner.Run(ctx, run.Command("systemctl", "start", "--no-block", "pgha-apply.service"))
}
