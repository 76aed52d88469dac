package step

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/internal/ui"
)

// recipe makes steps that write down what happens; names in failing fail.
func recipe(log *[]string, failing string, names ...string) []Step {
	steps := make([]Step, len(names))
	for i, n := range names {
		steps[i] = Step{
			Name: n,
			Run: func(context.Context) error {
				*log = append(*log, "run "+n)
				if n == failing {
					return errors.New("broke " + n)
				}
				return nil
			},
			Undo: func(ctx context.Context) error {
				*log = append(*log, "undo "+n)
				return ctx.Err()
			},
		}
	}
	return steps
}

func quiet() *ui.UI { return ui.New(&bytes.Buffer{}, ui.Quiet) }

func TestFailureUndoesBackwards(t *testing.T) {
	var log []string
	err := Run(t.Context(), quiet(), recipe(&log, "b", "a", "b", "c")...)
	if err == nil || err.Error() != "broke b" {
		t.Errorf("got %v, want the step's own error", err)
	}
	if diff := cmp.Diff([]string{"run a", "run b", "undo b", "undo a"}, log); diff != "" {
		t.Error(diff)
	}
}

func TestCancelledIsUndoneWithALiveContext(t *testing.T) {
	var log []string
	ctx, cancel := context.WithCancel(t.Context())
	steps := recipe(&log, "", "a", "b")
	a := steps[0].Run
	steps[0].Run = func(ctx context.Context) error { cancel(); return a(ctx) }
	if err := Run(ctx, quiet(), steps...); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "undo") {
		t.Errorf("got %v, want only the cancellation", err)
	}
	if diff := cmp.Diff([]string{"run a", "undo b", "undo a"}, log); diff != "" {
		t.Error(diff)
	}
}

func TestTogetherReallyIs(t *testing.T) {
	meet := make(chan bool)
	a := Step{Name: "a", Run: func(context.Context) error { meet <- true; return nil }}
	b := Step{Name: "b", Run: func(context.Context) error { <-meet; return nil }}
	if err := Run(t.Context(), quiet(), Together("both", quiet(), a, b)); err != nil {
		t.Error(err)
	}
}

func TestTogetherCancelsTheOthers(t *testing.T) {
	broken := errors.New("broken")
	a := Step{Name: "a", Run: func(context.Context) error { return broken }}
	b := Step{Name: "b", Run: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
	if err := Run(t.Context(), quiet(), Together("both", quiet(), a, b)); !errors.Is(err, broken) {
		t.Errorf("got %v, want the first failure", err)
	}
}

func TestNotesReachTheUI(t *testing.T) {
	var out bytes.Buffer
	s := Step{Name: "wait", Run: func(ctx context.Context) error {
		Note(ctx, "for %s", "node1")
		Note(ctx, "for %s", "node1")
		return nil
	}}
	if err := Run(t.Context(), ui.New(&out, ui.Normal), s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("==> wait\n    wait: for node1\n    wait: 0.0s\n", out.String()); diff != "" {
		t.Error(diff)
	}
}
