package agent

import "testing"

// A restore waits for this and that. With its end `pgha status` and the monitor see what they saw before.
func TestKeepState(t *testing.T) {
	a := &Agent{Root: t.TempDir()}
	a.note(State{Machine: "db1", Step: "done"})
	putBack := a.keepState()
	a.note(State{Machine: "db1", Step: "the end of the pause", Waiting: "Patroni has not heard of it yet"})
	putBack()
	if s, ok := ReadState(a.Root); !ok || s.Step != "done" || s.Waiting != "" {
		t.Errorf("after the wait: %+v", s)
	}
	// An apply that waited before has gone on meanwhile, and says so itself.
	a.note(State{Machine: "db1", Step: "a primary", Waiting: "none leads"})
	putBack = a.keepState()
	a.note(State{Machine: "db1", Step: "PostgreSQL", Waiting: "it starts"})
	putBack()
	if s, _ := ReadState(a.Root); s.Step != "PostgreSQL" {
		t.Errorf("of an apply that is at work: %+v", s)
	}
}
