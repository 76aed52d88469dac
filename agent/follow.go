package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgbake/pgbake/agent/slots"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

const (
	followUnit = "pgha-follow.service"
	applyUnit  = "pgha-apply.service"
	// followPause is how long a newer generation may take from one machine to the next.
	followPause = 3 * time.Second
)

// follower keeps a machine at the newest generation: what it is told, it tells the others, and applies. On a proxy it
// also answers members without data, for `pgha status` and the founding of clusters.
type follower struct {
	*Agent
	seed *Seed
	api  *api
	// etcd is what the key in etcd held when it was read last, at that revision.
	etcd     cluster.Generation
	revision number

	turn chan struct{}          // one generation is taken at a time
	why  atomic.Pointer[string] // a newer one was not taken
	now  chan struct{}

	upkeep  announced
	failing startFailures
	// free is how many bytes the database's disk had when the limits on WAL were made anew, roomAt when it was looked at.
	free   uint64
	roomAt time.Time
	// rolesAsked is when an apply was last asked for, to make users that waited.
	rolesAsked time.Time
	archive    closed
	// away are the members that do not stream from here, awayAt is when that was looked at.
	away   slots.Away
	awayAt time.Time
	// resumed is when a restore that was cut short was last told to go on.
	resumed time.Time
}

func newFollower(a *Agent, seed *Seed, api *api) *follower {
	return &follower{Agent: a, seed: seed, api: api, turn: make(chan struct{}, 1), now: make(chan struct{}, 1)}
}

// Follow serves and looks until ctx ends.
func (a *Agent) Follow(ctx context.Context) error {
	seed, err := ReadSeed(a.Root)
	if err != nil {
		return err
	}
	api, err := newAPI(seed)
	if err != nil {
		return &SeedError{err}
	}
	f := newFollower(a, seed, api)
	if seed.Machine.Role == cluster.Proxy {
		end, err := f.witness()
		if err != nil {
			return err
		}
		defer end()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- f.serve(ctx) }()
	go a.warnOfEnds(ctx)
	// Only who is new to a cluster has something to tell at once; at a first boot all others have better things to do.
	if g, err := readGeneration(a.Root); err == nil && g.Number > 1 {
		f.soon()
	}
	tick := time.NewTicker(followPause)
	defer tick.Stop()
	for {
		select {
		case err := <-served:
			return err
		case <-tick.C:
		case <-f.now:
		}
		f.look(ctx)
		f.endMaintenance(ctx)
		f.leadApart(ctx)
		f.recopies(ctx)
		f.resumes(ctx)
		f.closes(ctx)
		f.awaitRoles(ctx)
		f.room(ctx)
		f.releasesRows(ctx)
	}
}

func (f *follower) soon() {
	select {
	case f.now <- struct{}{}:
	default: // it is on its way
	}
}

func (f *follower) refused() string {
	if why := f.why.Load(); why != nil {
		return *why
	}
	return ""
}

// accept takes a generation from whomever it comes, and has it applied. ctx is how long it waits for its turn.
func (f *follower) accept(ctx context.Context, body []byte) error {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	g, news, err := f.take(body)
	if err != nil {
		// What is newer and cannot be taken is for `pgha status` to say; the rest is for whoever has offered it.
		if mine, _ := readGeneration(f.Root); g.Number > mine.Number && f.refused() != err.Error() {
			why := err.Error()
			f.why.Store(&why)
			f.Say("%v", err)
		}
		return err
	}
	f.soon()
	if !news {
		return nil
	}
	f.why.Store(nil)
	f.Say("generation %d is taken", g.Number)
	// Not here: it needs more rights than this service has, and may wait for long.
	return f.Runner.Run(context.WithoutCancel(ctx), run.Command("systemctl", "restart", "--no-block", applyUnit))
}

// look finds out whether anybody has another generation than this machine. A member asks etcd, which has it from
// whichever member was told first; who has no etcd asks around.
func (f *follower) look(ctx context.Context) {
	mine, err := readGeneration(f.Root)
	if err != nil || mine.Number == 0 || exists(filepath.Join(f.Root, removedFile)) {
		return
	}
	if f.seed.Machine.Role == cluster.DB && len(mine.Specification) > 0 && !lists(mine, f.seed.Machine.Name) {
		f.leave(ctx, mine)
		return
	}
	if f.seed.Machine.Role == cluster.DB && f.lookAtEtcd(ctx, mine) {
		return
	}
	f.askAround(ctx, mine)
}

// askAround asks every other machine that the newest generation lists, and tells those that have an older one.
func (f *follower) askAround(ctx context.Context, mine cluster.Generation) {
	others := slices.DeleteFunc(f.machines(mine), func(m cluster.Machine) bool { return m.Name == f.seed.Machine.Name })
	states := make([]doorState, len(others))
	var wg sync.WaitGroup
	for i, m := range others {
		wg.Go(func() { states[i], _ = f.api.doorState(ctx, m.Address) }) // number 0: no answer
	}
	wg.Wait()
	newest := 0
	for i, s := range states {
		if s.Number > max(mine.Number, states[newest].Number) {
			newest = i
		}
	}
	if len(states) > 0 && states[newest].Number > mine.Number {
		if body, err := f.api.generation(ctx, others[newest].Address); err == nil {
			_ = f.accept(ctx, body) // said there
		}
		return
	}
	if len(mine.Specification) == 0 {
		return // changed by hand: nothing to tell
	}
	for i, s := range states {
		if s.Number > 0 && s.Number < mine.Number && f.api.offer(ctx, others[i].Address, mine.Encode()) == nil {
			f.Say("%s has taken generation %d", others[i].Name, mine.Number)
		}
	}
}

// machines are those that a generation lists; the seed's where its text is not there.
func (f *follower) machines(g cluster.Generation) []cluster.Machine {
	c, err := cluster.ParseTaken(generationFile, g.Specification)
	if err != nil {
		c = f.seed.Cluster
	}
	return c.Machines()
}

// leave ends this member when it was removed from etcd, which the others know: until then its vote may be needed. Its
// data stays.
func (f *follower) leave(ctx context.Context, g cluster.Generation) {
	removed := false
	for _, m := range f.machines(g) {
		if m.Role != cluster.DB {
			continue
		}
		list, err := f.api.doorMembers(ctx, m.Address)
		if err != nil || len(list) == 0 {
			continue
		}
		if slices.Contains(list, f.seed.Machine.Address) {
			return
		}
		removed = true
	}
	if !removed {
		return
	}
	err := leftOut(f.seed.Machine.Name, g)
	f.Say("%v", err)
	f.note(State{Machine: f.seed.Machine.Name, Step: "seed", Error: err.Error()})
	gone := os.Remove(filepath.Join(f.Root, gate)) // nothing starts at the next boot
	if errors.Is(gone, fs.ErrNotExist) {
		gone = nil
	}
	for _, end := range [][2]string{{"stop", applyUnit}, {"start", stopUnit}, {"stop", "etcd.service"}} {
		gone = errors.Join(gone, f.Runner.Run(ctx, run.Command("systemctl", end[0], end[1])))
	}
	if gone == nil {
		gone = durable(filepath.Join(f.Root, removedFile), fmt.Appendf(nil, "%v\n", err))
	}
	if gone != nil {
		f.Say("it is tried again: %v", gone)
	}
}

// witness answers members without data on etcd's peer port: it only ever says whether this proxy remembers the cluster.
func (f *follower) witness() (end func(), err error) {
	pair, err := tls.X509KeyPair(f.seed.Identity["proxy.crt"], f.seed.Identity["proxy.key"])
	if err != nil {
		return nil, &SeedError{fmt.Errorf("read %s/proxy.crt and .key: %w", tlsDir, err)}
	}
	var c counter
	var mu sync.Mutex
	heard := map[string]greeting{}
	show := func() {
		_, remembers := readMemory(f.Root)
		g, _ := readGeneration(f.Root) // none has number 0
		c.show(greeting{Name: f.seed.Machine.Name, Remembers: remembers, Generation: g.Number})
	}
	show()
	err = c.open(f.seed, pair, func(theirs greeting) {
		show()
		mu.Lock()
		defer mu.Unlock()
		theirs.At = time.Now()
		heard[theirs.Name] = theirs
		// The names are the askers' word, who hold a member's certificate.
		maps.DeleteFunc(heard, func(_ string, g greeting) bool { return time.Since(g.At) > heardTime })
		for name := range heard {
			if len(heard) > mostHeard && name != theirs.Name {
				delete(heard, name)
			}
		}
		body, _ := json.Marshal(heard)
		_ = replace(filepath.Join(f.Root, heardFile), append(body, '\n'), 0o644) // the answer counts, not the status
	})
	return c.close, err
}
