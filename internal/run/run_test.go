package run

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestErrorQuotesCommandAndLastLines(t *testing.T) {
	err := System{}.Run(t.Context(), Command("sh", "-c", "for i in $(seq 40); do echo line $i; done; echo no space >&2; exit 7"))
	if ExitCode(err) != 7 {
		t.Fatalf("exit code %d of %v, want 7", ExitCode(err), err)
	}
	for _, want := range []string{"run sh -c", "exit status 7", "no space", "line 40"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "line 20\n") {
		t.Errorf("error quotes more than the last lines:\n%v", err)
	}
}

func TestOutputIsStandardOutputOnly(t *testing.T) {
	out, err := System{}.Output(t.Context(), Command("sh", "-c", "echo answer; echo talk >&2"))
	if err != nil || string(out) != "answer\n" {
		t.Fatalf("got %q, %v", out, err)
	}
}

func TestCancelNamesTheCause(t *testing.T) {
	cause := errors.New("the operator pressed Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	if err := (System{}).Run(ctx, Command("sleep", "60")); !errors.Is(err, cause) {
		t.Fatalf("got %v, want the cause", err)
	}
}

func TestRecorder(t *testing.T) {
	var b bytes.Buffer
	r := Recorder{W: &b, Answer: func([]string) []byte { return []byte("ok") }}
	out, err := r.Output(t.Context(), Command("echo", "two words", "it's", ""))
	if err != nil || string(out) != "ok" {
		t.Fatalf("got %q, %v", out, err)
	}
	if want := "echo 'two words' 'it'\\''s' ''\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
