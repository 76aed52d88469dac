package provisioner

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/packer-plugin-sdk/packer"
)

// here is a communicator whose machine is this one.
type here struct{ packer.Communicator }

func (here) Start(ctx context.Context, c *packer.RemoteCmd) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", c.Command)
	cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = cmd.Wait()
		c.SetExited(cmd.ProcessState.ExitCode())
	}()
	return nil
}

func (here) Upload(path string, r io.Reader, _ *os.FileInfo) error {
	body, err := io.ReadAll(r)
	if err == nil {
		err = os.WriteFile(path, body, 0o600)
	}
	return err
}

// TestWork: what is uploaded is there for the script, is taken away whatever comes, and its complaint is the error.
func TestWork(t *testing.T) {
	if os.Geteuid() != 0 && exec.Command("sudo", "-n", "true").Run() != nil {
		t.Skip("needs root: the script runs as root")
	}
	deb := filepath.Join(t.TempDir(), "pgha-common_1_all.deb")
	if err := os.WriteFile(deb, []byte("deb"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		script, said, wrong string
		cancel              bool
	}{
		"done":    {script: `echo "==> works"; cat "$(dirname "$0")"/*.deb >/dev/null`, said: "works"},
		"refused": {script: "echo one\necho 'pgbake: no: cause' >&2\nexit 3", wrong: "exit code 3"},
		"cause":   {script: "echo 'pgbake: no: cause' >&2; exit 1", wrong: "      pgbake: no: cause"},
		"stopped": {script: "echo '==> waits'; sleep 60", said: "waits", wrong: "context canceled", cancel: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ui := &said{stop: func(s string) {
				if c.cancel && s == "waits" {
					cancel()
				}
			}}
			w := work{script: []byte(c.script), debs: []string{deb}, dir: filepath.Join(t.TempDir(), "it's")}
			err := w.do(ctx, ui, here{})
			switch {
			case c.wrong == "" && err != nil, c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
				t.Errorf("%v, want %q", err, c.wrong)
			case !strings.Contains(strings.Join(ui.all, "\n"), c.said):
				t.Errorf("said %q, want %q", ui.all, c.said)
			}
			if _, err := os.Stat(w.dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left: %v", w.dir, err)
			}
		})
	}
	t.Run("not ours", func(t *testing.T) {
		dir := t.TempDir()
		if err := (work{script: []byte("exit 0"), dir: dir}).do(t.Context(), &said{stop: func(string) {}}, here{}); err == nil {
			t.Error("a directory that is there is taken")
		}
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("and removed: %v", err)
		}
	})
}

// said is a Ui that remembers.
type said struct {
	packer.MockUi
	all  []string
	stop func(string)
}

func (s *said) Say(line string) {
	s.all = append(s.all, line)
	s.stop(line)
}
func (*said) TrackProgress(_ string, _, _ int64, r io.ReadCloser) io.ReadCloser { return r }
