package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/internal/run"
)

// Enter runs args inside the machine in QEMU whose directory is dir, as root, with this process's own input and outputs,
// its terminal if it has one. It returns the program's exit code.
func Enter(ctx context.Context, dir string, args []string) (code int, err error) {
	m := &qemu{name: filepath.Base(dir), dir: dir}
	opening, cancel := limit(ctx, enterTime)
	defer cancel()
	client, err := m.channel(opening)
	if err != nil {
		return 0, err
	}
	defer client.Close()                                          //nolint:errcheck // the program's end counts
	defer context.AfterFunc(ctx, func() { _ = client.Close() })() // sshd then hangs up on the program
	s, err := client.NewSession()
	if err != nil {
		return 0, err
	}
	s.Stdout, s.Stderr = os.Stdout, os.Stderr
	in, err := s.StdinPipe()
	if err != nil {
		return 0, err
	}
	term := os.Getenv("TERM")
	if term == "" {
		term = "dumb"
	}
	restore, err := terminal(s, term)
	if err != nil {
		return 0, err
	}
	defer restore()
	go func() {
		_, _ = io.Copy(in, os.Stdin) // the program's end ends it, as ours does
		_ = in.Close()
	}()
	line := run.Line(slices.Concat([]string{"env", "--ignore-environment", "PATH=" + insidePath, "HOME=/root", "LANG=C.UTF-8", "TERM=" + term}, args))
	err = s.Run(line)
	var exit *ssh.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitStatus(), nil
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case err != nil:
		return 0, fmt.Errorf("run %s on %s: %w", run.Line(args), m.name, err)
	}
	return 0, nil
}

// terminal gives the session a terminal like ours, and makes ours pass every key on. Where we have none it does nothing.
func terminal(s *ssh.Session, term string) (restore func(), err error) {
	in, out := int(os.Stdin.Fd()), int(os.Stdout.Fd())
	before, err := unix.IoctlGetTermios(in, unix.TCGETS)
	size, sizeErr := unix.IoctlGetWinsize(out, unix.TIOCGWINSZ)
	if err != nil || sizeErr != nil {
		return func() {}, nil //nolint:nilerr // no terminal is no error
	}
	if err := s.RequestPty(term, int(size.Row), int(size.Col), nil); err != nil {
		return nil, err
	}
	raw := *before // as cfmakeraw(3)
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	if err := unix.IoctlSetTermios(in, unix.TCSETS, &raw); err != nil {
		return nil, err
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	go func() {
		for range resized {
			if size, err := unix.IoctlGetWinsize(out, unix.TIOCGWINSZ); err == nil {
				_ = s.WindowChange(int(size.Row), int(size.Col)) // a wrong size is no reason to end
			}
		}
	}()
	return func() {
		signal.Stop(resized)
		_ = unix.IoctlSetTermios(in, unix.TCSETS, before) // the terminal may be gone
	}, nil
}
