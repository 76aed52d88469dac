package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbake/pgbake/internal/run"
)

// answering runs nothing: it keeps the command lines, and does and says what a test has a command do and say.
type answering struct {
	lines  []string
	stdin  string // the last command's
	do     func(line string) error
	answer func(line string) string
}

func (r *answering) Run(_ context.Context, c run.Cmd) error {
	line := run.Line(c.Args)
	r.lines, r.stdin = append(r.lines, line), ""
	if c.Stdin != nil {
		body, err := io.ReadAll(c.Stdin)
		if err != nil {
			return err
		}
		r.stdin = string(body)
	}
	return r.do(line)
}

func (r *answering) Output(ctx context.Context, c run.Cmd) ([]byte, error) {
	err := r.Run(ctx, c)
	if r.answer == nil {
		return nil, err
	}
	return []byte(r.answer(run.Line(c.Args))), err
}

// postgresProcess makes a process below root's /proc: its name, the directory that it works in, and its unit.
func postgresProcess(t *testing.T, root string, pid int, comm, cwd, unit string) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d", pid)
	put(t, root, proc+"/comm", comm+"\n")
	put(t, root, proc+"/cgroup", "0::/system.slice/"+unit+"\n")
	if err := os.Symlink(cwd, filepath.Join(root, proc, "cwd")); err != nil {
		t.Fatal(err)
	}
}

func TestWhoRunsOnADirectory(t *testing.T) {
	const noFile = ""
	for _, tt := range []struct {
		name string
		file string // postmaster.pid
		make func(t *testing.T, root, dir string)
		want int // 0: nobody
	}{
		{"nobody", noFile, func(*testing.T, string, string) {}, 0},
		{"a file that a power cut left", "41\n", func(*testing.T, string, string) {}, 0},
		{"its number is another program's now", "41\n", func(t *testing.T, root, dir string) {
			postgresProcess(t, root, 41, "sshd", "/", "ssh.service")
		}, 0},
		{"its number is another database's now", "41\n", func(t *testing.T, root, dir string) {
			postgresProcess(t, root, 41, "postgres", dir+"-of-another", "other.service")
		}, 0},
		{"the postmaster", "41\n/somewhere\n", func(t *testing.T, root, dir string) {
			postgresProcess(t, root, 41, "postgres", dir, "patroni.service")
		}, 41},
		{"the postmaster, of which this process may not see more", "41\n", func(t *testing.T, root, _ string) {
			put(t, root, "/proc/41/comm", "postgres\n")
		}, 41},
		{"one whose file is gone", noFile, func(t *testing.T, root, dir string) {
			postgresProcess(t, root, 42, "postgres", dir, "patroni.service")
		}, 42},
		{"a backend that its postmaster has left", "41\n", func(t *testing.T, root, dir string) {
			postgresProcess(t, root, 43, "postgres", dir, "patroni.service")
		}, 43},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := testWork(t)
			dir := w.databaseDir()
			put(t, w.Root, w.inside(dir)+"/PG_VERSION", "17\n")
			if tt.file != noFile {
				put(t, w.Root, w.inside(dir)+"/postmaster.pid", tt.file)
			}
			tt.make(t, w.Root, dir)
			if got, err := w.databaseProcess(); err != nil || got != tt.want {
				t.Errorf("process %d, %v; want %d", got, err, tt.want)
			}
		})
	}
}

// In pause Patroni leaves PostgreSQL running when it is stopped: its directory keeps its name until that has ended.
func TestADatabaseIsEndedBeforeItsDirectoryMoves(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stops  func(root string) error // what pg_ctl does
		moved  bool
		wanted string // in the error
	}{
		{"it ends", func(root string) error { return os.RemoveAll(filepath.Join(root, "/proc/41")) }, true, ""},
		{"its file goes before it does", func(root string) error {
			dir := filepath.Join(root, "/proc/41")
			time.AfterFunc(exitTime/2, func() { _ = os.RemoveAll(dir) })
			return nil
		}, true, ""},
		{"it does not end in time", func(string) error { return errors.New("pg_ctl: server does not shut down") }, false, "server does not shut down"},
		{"it says that it has ended, and has not", func(string) error { return nil }, false, "process 41"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := testWork(t)
				dir := w.databaseDir()
				put(t, w.Root, w.inside(dir)+"/PG_VERSION", "17\n")
				put(t, w.Root, w.inside(dir)+"/postmaster.pid", "41\n")
				postgresProcess(t, w.Root, 41, "postgres", dir, "patroni.service")
				r := &answering{do: func(line string) error {
					if strings.Contains(line, "pg_ctl stop") {
						return tt.stops(w.Root)
					}
					return nil
				}}
				w.Runner = r
				err := w.setDatabaseAside(t.Context(), "the test says so")
				if text := fmt.Sprint(err); (err == nil) != tt.moved || tt.wanted != "" && !strings.Contains(text, tt.wanted) {
					t.Errorf("error %v, want %q", err, tt.wanted)
				}
				if exists(dir) == tt.moved {
					t.Errorf("the directory was moved: %t, want %t", !exists(dir), tt.moved)
				}
				patroni := slices.IndexFunc(r.lines, func(l string) bool { return l == "systemctl stop patroni.service" })
				if ctl := slices.IndexFunc(r.lines, func(l string) bool { return strings.Contains(l, "pg_ctl stop") }); patroni < 0 || ctl < patroni {
					t.Errorf("Patroni was not stopped before PostgreSQL: %q", r.lines)
				}
			})
		})
	}
}
