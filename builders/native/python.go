package native

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Python's byte-compiling is a third of all configuring, and no package waits for another's. So while packages are
// configured, py3compile is a script that only says what it was asked for, and the real one does it on another core.
// That nothing but it writes byte code is why two builds have the same: PYTHONDONTWRITEBYTECODE.

// compilerDir is where the script and the real compiler are seen inside, on the /run that no image keeps.
const compilerDir = "run/pgbake"

// A line of the pipe is a command's arguments; dash writes it with one write(2), so lines do not mix.
const compilerScript = `#!/bin/sh
IFS=$(printf '\037')
printf '%s\n' "$*" >/` + compilerDir + `/pipe
`

// besideCompiling calls f, which configures packages, and returns when all that it wanted compiled is.
func (s *site) besideCompiling(f func() error) (err error) {
	compiler := filepath.Join(s.root, "usr/bin/py3compile")
	if info, err := os.Lstat(compiler); errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return f()
	} else if err != nil {
		return err
	}
	dir := filepath.Join(s.root, compilerDir)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // scripts look into it
		return err
	}
	pipe, script, real := filepath.Join(dir, "pipe"), filepath.Join(dir, "script"), filepath.Join(dir, "py3compile")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		return fmt.Errorf("make pipe %s: %w", pipe, err)
	}
	if err := errors.Join(os.WriteFile(script, []byte(compilerScript), 0o755), os.WriteFile(real, nil, 0o755)); err != nil { //nolint:gosec // programs
		return err
	}
	for _, m := range [][2]string{{compiler, real}, {script, compiler}} {
		if err := unix.Mount(m[0], m[1], "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s to %s: %w", m[0], m[1], err)
		}
		defer func() { err = errors.Join(err, unmountAll(m[1])) }()
	}
	// Open for both: it must not end when a script closes it.
	p, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer p.Close() //nolint:errcheck // nothing is in it any more
	compiled := make(chan error, 1)
	go func() { compiled <- s.compile(p) }()
	err = f()
	_, endErr := p.WriteString("\n") // the end of the work
	return errors.Join(err, endErr, <-compiled)
}

// compile does what comes out of the pipe, up to an empty line, two at a time: when dpkg is done, a good part of it is
// not. After an error it only empties the pipe.
func (s *site) compile(p *os.File) error {
	var work sync.WaitGroup
	lines := make(chan string)
	errs := make([]error, 2)
	for i := range errs {
		work.Go(func() {
			for line := range lines {
				if errs[i] == nil {
					errs[i] = s.chroot(append([]string{"/" + compilerDir + "/py3compile"}, strings.Split(line, "\037")...)...)
				}
			}
		})
	}
	scan := bufio.NewScanner(p)
	for scan.Scan() && scan.Text() != "" {
		lines <- scan.Text()
	}
	close(lines)
	work.Wait()
	return errors.Join(append(errs, scan.Err())...)
}
