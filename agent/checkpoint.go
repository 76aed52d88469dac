package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

const (
	// checkpointTime is how long PostgreSQL may write before it is stopped: 64 GB of buffers at 200 MB/s.
	checkpointTime = 5 * time.Minute
	// briefCheckpoint is one after which so little is left that the stop itself is brief, checkpointRounds how often one is tried for:
	// while one is written, others write on.
	briefCheckpoint, checkpointRounds = 5 * time.Second, 3
)

// Checkpoint has PostgreSQL write what it holds in memory, before it is stopped: patroni.service's stop begins with it. Then Patroni
// still leads and applications still write. The stop itself writes only what has changed since, and so neither comes to its end
// without a checkpoint (primary_stop_timeout), which a recovery after a crash would follow, nor keeps writers waiting.
func (a *Agent) Checkpoint(ctx context.Context) error {
	w, err := a.prepare()
	if err != nil {
		return err
	}
	return w.checkpointBeforeStop(ctx)
}

func (w *work) checkpointBeforeStop(ctx context.Context) error {
	if pid, err := w.databaseProcess(); pid == 0 || err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkpointTime)
	defer cancel()
	for range checkpointRounds {
		began := time.Now()
		if _, err := w.askSQL(ctx, cluster.SocketDir, "CHECKPOINT"); err != nil {
			return fmt.Errorf("checkpoint before the stop: %w", err)
		}
		if time.Since(began) < briefCheckpoint {
			return nil
		}
	}
	return nil
}
