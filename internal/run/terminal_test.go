package run

import (
	"errors"
	"strings"
	"testing"
)

// A program that asks a person whether it may go on gets no answer, and what it asked is in the error.
func TestTerminal(t *testing.T) {
	ask := Command("sh", "-c", `for n in 1 2 3; do [ -t 0 ] && [ -t 1 ] && printf 'sure? ' && ! read -r answer || exit 7; done; exit 1`)
	ask.Terminal = true
	err := System{}.Run(t.Context(), ask)
	var failed *Error
	if !errors.As(err, &failed) || ExitCode(err) != 1 || !strings.HasPrefix(failed.Tail, "sure? sure? sure?") {
		t.Errorf("got %v", err)
	}
	say := Command("sh", "-c", "echo one; echo two >&2")
	say.Terminal = true
	if out, err := (System{}).Output(t.Context(), say); err != nil || string(out) != "one\ntwo\n" {
		t.Errorf("it wrote %q, %v", out, err)
	}
}
