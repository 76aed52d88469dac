// Package run is how pgbake and pgha start programs: argument slices, never shell strings.
//
// System runs them; Recorder only writes the command lines down, which is --dry-run and the golden test
// of command lines.
package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Cmd is one program to run.
type Cmd struct {
	Args []string
	// Env is added to the environment, "KEY=value".
	Env []string
	Dir string
	// Stdin is what the program reads; nothing when nil.
	Stdin io.Reader
	// Log gets what the program writes on both outputs, besides the end of it that an error quotes.
	Log io.Writer
	// Terminal gives the program a terminal to read from and to write to, at which nobody sits: it asks what it would ask a person,
	// and reads an end of file as the answer. Stdin is not read then.
	Terminal bool
	// Disposable means that nobody wants what the program made until it is stopped: it gets SIGKILL at once.
	Disposable bool
}

// Command makes a Cmd of its arguments.
func Command(args ...string) Cmd { return Cmd{Args: args} }

// Runner runs programs to their end.
type Runner interface {
	// Run returns an *Error when the program fails or cannot be started.
	Run(ctx context.Context, c Cmd) error
	// Output is Run that returns what the program wrote on standard output.
	Output(ctx context.Context, c Cmd) ([]byte, error)
}

// Error is a program that failed: its command line and its last lines.
type Error struct {
	Args []string
	Tail string
	Err  error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("run %s: %v", Line(e.Args), e.Err)
	if e.Tail != "" {
		s += "\n      " + strings.ReplaceAll(e.Tail, "\n", "\n      ")
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// System runs programs on this machine. When the context ends, the program gets SIGTERM, and SIGKILL after ten seconds;
// the cause of a cancelled context is the error then.
type System struct {
	// Trace gets every command line before it runs; nothing when nil.
	Trace io.Writer
	// Leashed programs are killed when this process ends without waiting for them, as by a kill -9.
	Leashed bool
}

// Run implements Runner.
func (s System) Run(ctx context.Context, c Cmd) error {
	return s.run(ctx, c, c.Log)
}

// Output implements Runner.
func (s System) Output(ctx context.Context, c Cmd) ([]byte, error) {
	var out bytes.Buffer
	err := s.run(ctx, c, &out)
	return out.Bytes(), err
}

func (s System) run(ctx context.Context, c Cmd, stdout io.Writer) error {
	if s.Trace != nil {
		fmt.Fprintln(s.Trace, "+ "+Line(c.Args))
	}
	tail := &tail{}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Dir, cmd.Stdin = c.Dir, c.Stdin
	cmd.Stdout, cmd.Stderr = writers(stdout, tail), writers(c.Log, tail)
	ended := func() {}
	if c.Terminal {
		var err error
		if ended, err = onTerminal(cmd, cmd.Stdout); err != nil {
			return &Error{Args: c.Args, Err: err}
		}
	}
	if !c.Disposable {
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	}
	cmd.WaitDelay = 10 * time.Second
	if s.Leashed {
		// The signal comes when the thread ends that started the program: https://go.dev/issue/27505
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	err := cmd.Run()
	ended()
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return context.Cause(ctx) // the program is not to blame
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return &Error{Args: c.Args, Tail: tail.String(), Err: err}
	}
	return nil
}

func writers(w io.Writer, tail io.Writer) io.Writer {
	if w == nil {
		return tail
	}
	return io.MultiWriter(w, tail)
}

// ExitCode is the exit code of a program that ran and failed, else -1.
func ExitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// Line is a command line as a person would type it.
func Line(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$&|;<>()*?[]{}~#`!") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		quoted[i] = a
	}
	return strings.Join(quoted, " ")
}

// Recorder writes command lines down and runs nothing.
type Recorder struct {
	W io.Writer
	// Answer gives the output of a command that something depends on; empty when nil.
	Answer func(args []string) []byte
}

// Run implements Runner.
func (r Recorder) Run(_ context.Context, c Cmd) error {
	_, err := fmt.Fprintln(r.W, Line(c.Args))
	return err
}

// Output implements Runner.
func (r Recorder) Output(ctx context.Context, c Cmd) ([]byte, error) {
	if err := r.Run(ctx, c); err != nil || r.Answer == nil {
		return nil, err
	}
	return r.Answer(c.Args), nil
}
