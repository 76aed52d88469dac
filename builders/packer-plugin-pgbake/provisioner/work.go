package provisioner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/random"

	"github.com/pgbake/pgbake/builders/provision"
	"github.com/pgbake/pgbake/internal/run"
)

// work is what is done on the machine.
type work struct {
	script []byte
	debs   []string
	dir    string // on the machine
}

// putAway is how long the removal of what was uploaded may take when the build is being stopped.
const putAway = 20 * time.Second

func (w work) do(ctx context.Context, ui packer.Ui, comm packer.Communicator) (err error) {
	if w.dir == "" {
		w.dir = "/tmp/pgbake-" + random.AlphaNum(12)
	}
	quoted := run.Line([]string{w.dir})
	if err := execute(ctx, ui, comm, "umask 077 && mkdir "+quoted); err != nil {
		return fmt.Errorf("make %s on the machine: %w", w.dir, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), putAway)
		defer cancel()
		if rmErr := execute(ctx, ui, comm, "rm -rf "+quoted); rmErr != nil {
			err = errors.Join(err, fmt.Errorf("remove %s from the machine: %w", w.dir, rmErr))
		}
	}()
	for _, deb := range w.debs {
		if err := w.upload(ui, comm, deb); err != nil {
			return fmt.Errorf("upload %s: %w", deb, err)
		}
	}
	if err := comm.Upload(path.Join(w.dir, provision.ScriptName), bytes.NewReader(w.script), nil); err != nil {
		return fmt.Errorf("upload %s: %w", provision.ScriptName, err)
	}
	return execute(ctx, ui, comm, provision.Command(w.dir))
}

func (w work) upload(ui packer.Ui, comm packer.Communicator, deb string) error {
	f, err := os.Open(deb)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	name := filepath.Base(deb)
	ui.Sayf("Uploading %s", name)
	body := ui.TrackProgress(name, 0, info.Size(), f)
	defer body.Close() //nolint:errcheck // only read
	return comm.Upload(path.Join(w.dir, name), body, &info)
}

// execute runs a command line on the machine. Steps are said, the rest goes to Packer's log; the error of a command that
// fails has its own complaint, or the end of what it wrote.
func execute(ctx context.Context, ui packer.Ui, comm packer.Communicator, command string) error {
	out := &talk{ui: ui}
	cmd := &packer.RemoteCmd{Command: command, Stdout: out, Stderr: out}
	if err := comm.Start(ctx, cmd); err != nil {
		return err
	}
	ended := make(chan int, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case code := <-ended:
		if code == 0 {
			return nil
		}
		if code == packer.CmdDisconnect {
			return fmt.Errorf("the connection to the machine is lost\n%s", out.end())
		}
		return fmt.Errorf("the machine says (exit code %d):\n%s", code, out.end())
	}
}

// talk reads what the script says.
type talk struct {
	ui   packer.Ui
	mu   sync.Mutex
	part []byte
	last []string
}

var _ io.Writer = &talk{}

// enough is how many of the last lines an error quotes.
const enough = 15

func (t *talk) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.part = append(t.part, p...)
	for {
		line, rest, found := bytes.Cut(t.part, []byte("\n"))
		if !found {
			return len(p), nil
		}
		t.part = rest
		t.line(strings.TrimRight(string(line), "\r"))
	}
}

func (t *talk) line(s string) {
	if step, ok := strings.CutPrefix(s, "==> "); ok {
		t.ui.Say(step)
	} else {
		log.Print(s)
	}
	t.last = append(t.last, "      "+s)
	if len(t.last) > enough {
		t.last = t.last[1:]
	}
}

func (t *talk) end() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.part) > 0 {
		t.line(string(t.part))
		t.part = nil
	}
	return strings.Join(t.last, "\n")
}
