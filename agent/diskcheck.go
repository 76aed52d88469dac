package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/pgbake/pgbake/agent/datadisk"
)

// diskPatience is how long a boot waits for the data disk to be there, and to be the right one. After that pgha apply tries on.
const diskPatience = 30 * time.Second

// CheckDataDisk lets the data disk be mounted, or says why not. It needs no seed: pgha-data-disk.service runs it before each
// mount, long before cloud-init, and the mount fails with it. It reads the beginning of each disk and writes nothing.
func (a *Agent) CheckDataDisk(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, diskPatience)
	defer cancel()
	said := ""
	for {
		err := a.checkDataDisk()
		if err == nil {
			return nil
		}
		if err.Error() != said {
			said = err.Error()
			a.Say("waiting for the data disk: %s", said)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(poll):
		}
	}
}

func (a *Agent) checkDataDisk() error {
	note, err := readDiskNote(a.Root)
	if err != nil {
		return err
	}
	all, err := a.drives()
	if err != nil {
		return err
	}
	ours, _, err := datadisk.Ours(note, devices(all))
	if err == nil && ours == nil {
		err = fmt.Errorf("find the data disk: no disk has the label %s\n      hint: pgha apply", datadisk.Label)
	}
	return err
}
