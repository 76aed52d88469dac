package e2e

import (
	"cmp"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// longest are the tests that take longest, in this order: what begins last is what a run ends with.
var longest = []string{
	"TestBackup", "TestHang", "TestRunbook", "TestUpkeep", "TestPointInTime", "TestHangDebian12", "TestJoinPowerCuts", "TestCertificates",
	"TestGlobal", "TestGrow", "TestQuickstartDebian12", "TestVerify", "TestQuickstartDebian13", "TestAdopt", "TestAdoptRemote",
	"TestImageIsBooted", "TestStock", "TestJoin", "TestTwoProxies", "TestArchiveRead", "TestReadme",
}

// turns give each test its turn, those that take longest first: Go's own order is any.
type turns struct {
	mu      sync.Mutex
	changed *sync.Cond
	free    int // negative where Go alone decides how many run
	waiting []string
}

var labs = newTurns(os.Getenv("PGBAKE_TEST_LABS"))

// newTurns are turns for so many tests at a time; without a number all have theirs at once.
func newTurns(number string) *turns {
	n, err := strconv.Atoi(number)
	if err != nil {
		n = -1
	}
	l := &turns{free: n}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// queue is called by a test before it is parallel. All tests do so before any of them goes on.
func (l *turns) queue(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rank := func(name string) int {
		if i := slices.Index(longest, name); i >= 0 {
			return i
		}
		return len(longest)
	}
	l.waiting = append(l.waiting, name)
	slices.SortStableFunc(l.waiting, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
}

// wait returns when it is the test's turn.
func (l *turns) wait(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.free == 0 || l.free > 0 && l.waiting[0] != name {
		l.changed.Wait()
	}
	l.waiting = slices.DeleteFunc(l.waiting, func(other string) bool { return other == name })
	if l.free > 0 {
		l.free--
	}
	l.changed.Broadcast()
}

// end gives the turn to the next.
func (l *turns) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free >= 0 {
		l.free++
	}
	l.changed.Broadcast()
}

// beside lets a test run beside the others: a lab waits more than it works. So no test looks at how fast something is, but at
// what has happened; durations are logged, and measured by the benchmarks.
func beside(t *testing.T) {
	t.Helper()
	needMachines(t)
	labs.queue(t.Name())
	t.Parallel()
	began := time.Now()
	labs.wait(t.Name())
	t.Cleanup(labs.end)
	// test/suite takes it off.
	t.Logf("waited %.1f s for its turn", time.Since(began).Seconds())
}

// TestTurns: those that take longest come first, no more at a time than there are turns for, and each has its own.
func TestTurns(t *testing.T) {
	l := newTurns("2")
	all := []string{"TestOther", "TestRunbook", "TestAnother", "TestHang", "TestReadme"}
	for _, name := range all {
		l.queue(name)
	}
	begun, ends := make(chan string), make(chan bool)
	for _, name := range all {
		go func() {
			l.wait(name)
			begun <- name
			<-ends
			l.end()
		}()
	}
	first := []string{<-begun, <-begun}
	slices.Sort(first)
	if !slices.Equal(first, []string{"TestHang", "TestRunbook"}) {
		t.Errorf("the first were %q", first)
	}
	var rest []string
	for range all[2:] {
		select {
		case name := <-begun:
			t.Fatalf("%s has begun, a third at a time", name)
		case ends <- true:
		}
		rest = append(rest, <-begun)
	}
	if want := []string{"TestReadme", "TestOther", "TestAnother"}; !slices.Equal(rest, want) {
		t.Errorf("then %q, want %q", rest, want)
	}
}
