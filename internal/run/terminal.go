package run

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"
)

// questions is how many questions of one program are answered with an end of file.
const questions = 16

// onTerminal gives a program a terminal as its input and its outputs, at which nobody sits: whatever it asks, it reads an end of file.
// What it writes goes to out. done must be called when the program has ended.
func onTerminal(cmd *exec.Cmd, out io.Writer) (done func(), err error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	slave, err := otherSide(master)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a terminal: %w", err), master.Close())
	}
	var copying sync.WaitGroup
	copying.Go(func() { _, _ = io.Copy(out, master) }) // it ends with EIO when nobody has the other side any more
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	return func() {
		_ = slave.Close()
		copying.Wait()
		_ = master.Close()
	}, nil
}

// otherSide is a terminal's side for the program, with the answers to its questions waiting there.
func otherSide(master *os.File) (*os.File, error) {
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, err
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	mode, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err == nil {
		mode.Lflag &^= unix.ECHO
		mode.Oflag &^= unix.OPOST
		err = unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, mode)
	}
	if err == nil {
		_, err = master.Write(bytes.Repeat([]byte{mode.Cc[unix.VEOF]}, questions))
	}
	if err != nil {
		return nil, errors.Join(err, slave.Close())
	}
	return slave, nil
}
