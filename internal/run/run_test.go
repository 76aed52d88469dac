package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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

func TestCancelNamesTheCauseAndNothingElse(t *testing.T) {
	cause := errors.New("the operator pressed Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	if err := (System{}).Run(ctx, Command("sleep", "60")); !errors.Is(err, cause) || err.Error() != cause.Error() {
		t.Fatalf("got %v, want the cause", err)
	}
}

func TestADisposableProgramIsNotAskedToStop(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	begun := time.Now()
	deaf := Cmd{Args: []string{"sh", "-c", "trap '' TERM; exec sleep 60"}, Disposable: true}
	if err := (System{}).Run(ctx, deaf); !errors.Is(err, context.Canceled) || time.Since(begun) > 50*time.Second {
		t.Fatalf("got %v after %v", err, time.Since(begun))
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

// TestMain is also the pgbake that TestLeashedProgramsDieWithUs kills.
func TestMain(m *testing.M) {
	if fifo := os.Getenv("RUN_TEST_FIFO"); fifo != "" {
		fmt.Fprintln(os.Stderr, System{Leashed: true}.Run(context.Background(), Command("sh", "-c", `exec 3>"$0"; echo >&3; exec sleep 600`, fifo)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestLeashedProgramsDieWithUs(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	us := exec.CommandContext(t.Context(), os.Args[0])
	us.Env = append(os.Environ(), "RUN_TEST_FIFO="+fifo)
	if err := us.Start(); err != nil {
		t.Fatal(err)
	}
	program, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close() //nolint:errcheck // only read
	if err := program.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := program.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the program did not start: %v", err)
	}
	if err := us.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	us.Wait() //nolint:errcheck // it was killed
	// The program holds the other end as long as it lives.
	if _, err := program.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the program lives on: %v", err)
	}
}
