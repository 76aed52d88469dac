package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pgbake/pgbake/agent/archive"
)

const (
	// repositoryLooks is how many looks are between two readings of the repository; while it is not as it should be, every look
	// reads it.
	repositoryLooks = 10
	// repositoryTime is how long one reading may take.
	repositoryTime = 2 * time.Minute
)

// repositoryWatch reads the repository beside the looks: a file system that does not answer holds up who reads it for ever, and
// no look waits for that.
type repositoryWatch struct {
	mu    sync.Mutex
	begun time.Time // zero while nobody reads
	found *archive.Repository
	age   int
}

// of is what was found last; where that is old, the repository is read anew in the background.
func (r *repositoryWatch) of(ctx context.Context, m *watcher, f archive.Facts) *archive.Repository {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.begun.IsZero() {
		if took := time.Since(r.begun); took > repositoryTime {
			return &archive.Repository{Error: fmt.Sprintf("the repository does not answer: pgbackrest has been reading it for %s", took.Round(time.Second))}
		}
		return r.found
	}
	well := r.found != nil && r.found.Error == "" && r.found.Hole == nil
	if r.age++; well && r.age < repositoryLooks {
		return r.found
	}
	r.begun = time.Now()
	c := m.seed.Cluster
	stanza, who := c.Scope, m.postgres()
	go func() {
		ctx, cancel := context.WithTimeout(ctx, repositoryTime)
		defer cancel()
		found := readRepository(ctx, func(ctx context.Context, args ...string) ([]byte, error) {
			return ask(ctx, who, "", append([]string{"pgbackrest", "--stanza=" + stanza}, args...)...)
		}, stanza, f)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.begun, r.age, r.found = time.Time{}, 0, found
	}()
	return r.found
}

// forget is for a machine that does not lead: what it has found is no longer of now.
func (r *repositoryWatch) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found, r.age = nil, 0
}
