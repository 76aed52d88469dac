package image

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/pgbake/pgbake/builders/native"
)

// patience is how long a bake that is told to stop may take to put things away.
const patience = 30 * time.Second

// bakeElsewhere has this program bake in a process of its own. When the context ends, it is told to stop, and waited
// for; when this process is killed, the kernel kills that one.
func bakeElsewhere(ctx context.Context, ui packer.Ui, o order) (native.Baked, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return native.Baked{}, err
	}
	// A file, not a pipe: who reads it first does not take it away from the other.
	in, err := os.CreateTemp("", "pgbake-order-")
	if err != nil {
		return native.Baked{}, err
	}
	defer in.Close() //nolint:errcheck // only read
	if err := os.Remove(in.Name()); err != nil {
		return native.Baked{}, err
	}
	if _, err := in.Write(body); err != nil {
		return native.Baked{}, err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return native.Baked{}, err
	}
	var out bytes.Buffer
	talk, w := io.Pipe()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", BakeCommand)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, w
	// A Ctrl-C reaches the whole foreground: one word to stop, by the context, is enough.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	said := make(chan string)
	go func() { said <- tell(ui, talk) }()
	// Pdeathsig is sent when the thread that started the process ends: https://go.dev/issue/27505
	runtime.LockOSThread()
	err = cmd.Run()
	runtime.UnlockOSThread()
	w.Close() //nolint:errcheck // a pipe's never fails
	last := <-said
	if ctx.Err() != nil {
		ui.Say("Stopped; nothing of this bake stays")
		return native.Baked{}, context.Cause(ctx)
	}
	var a answer
	if json.Unmarshal(out.Bytes(), &a) != nil {
		return native.Baked{}, fmt.Errorf("bake: %w\n      %s", err, last)
	}
	if a.Error != "" {
		return native.Baked{}, errors.New(a.Error)
	}
	return a.Baked, err
}

// tell passes on what a bake says, line by line, and returns the last one: command lines only to Packer's log.
func tell(ui packer.Ui, r io.Reader) (last string) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		last = lines.Text()
		if strings.HasPrefix(last, "+ ") {
			log.Print(last)
			continue
		}
		if line := strings.TrimPrefix(strings.TrimSpace(last), "==> "); line != "" {
			ui.Say(line)
		}
	}
	if err := lines.Err(); err != nil {
		log.Printf("read what the bake says: %v", err)
		_, _ = io.Copy(io.Discard, r) // it must not wait for a reader
	}
	return last
}
