package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/internal/run"
)

// What fills the disk is ended when the room is gone, and only then.
func TestWhileRoom(t *testing.T) {
	tick := make(chan time.Time)
	left := int64(2)
	free := func() (int64, error) {
		left--
		return left, nil
	}
	ended := make(chan struct{})
	go func() {
		for range 3 { // 1, 0, -1
			tick <- time.Time{}
		}
		close(ended)
	}()
	err := whileRoom(t.Context(), tick, free, func(ctx context.Context) error {
		<-ctx.Done()
		return fmt.Errorf("cp: %w", context.Cause(ctx))
	})
	<-ended
	if !errors.Is(err, errNoRoom) || left != -1 {
		t.Errorf("%v, with %d left", err, left)
	}
	if err := noRoomFor("/data", 3e9, 2e9, err); !strings.Contains(err.Error(), "the restored one had taken 3.0 GB, and its backup is 2.0 GB") {
		t.Error(err)
	}
	// Neither a look that fails nor what ends by itself is the room's fault.
	broken := errors.New("statfs")
	go func() { tick <- time.Time{} }()
	looked := make(chan struct{})
	err = whileRoom(t.Context(), tick, func() (int64, error) { close(looked); return -1, broken }, func(context.Context) error { <-looked; return broken })
	if !errors.Is(err, broken) || errors.Is(err, errNoRoom) {
		t.Errorf("a look that fails: %v", err)
	}
}

// filling is a runner whose cp fills the disk until it is ended.
type filling struct {
	run.Recorder
	fill func()
}

func (f filling) Run(ctx context.Context, c run.Cmd) error {
	if strings.Contains(run.Line(c.Args), "cp --archive --reflink=auto") {
		f.fill()
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return f.Recorder.Run(ctx, c)
}

// Nothing of a restored database is left on a disk that it would fill, and the database of today is not touched.
func TestStageLeavesRoom(t *testing.T) {
	w, ran := backupWork(t, inDirectory)
	data := filepath.Join(w.Root, "main")
	x := &restoring{work: w, Restore: &Restore{Plan: backup.Plan{Data: data, Staged: data + ".restored", Backup: "one", Bytes: 3}}}
	put(t, data, "PG_VERSION", "old")
	tick := make(chan time.Time)
	w.Runner = filling{run.Recorder{W: ran}, func() {
		put(t, x.Plan.Staged, "PG_VERSION", "half")
		go func() { tick <- time.Time{} }()
	}}
	err := x.stageWhile(t.Context(), tick, func() (int64, error) { return -1, nil })
	if err == nil || !strings.Contains(err.Error(), "has less than a twentieth left") || !strings.Contains(err.Error(), "had taken 4 B, and its backup is 3 B") {
		t.Errorf("the error: %v", err)
	}
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err != nil || exists(x.Plan.Staged) {
		t.Errorf("left: %v, staged %t", err, exists(x.Plan.Staged))
	}
}
