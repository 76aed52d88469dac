package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgbake/pgbake/agent/doctor"
)

const (
	patroniProgram = "/usr/lib/pgha/patroni"
	corrections    = "/usr/lib/pgha/pgha_corrections.py"
)

// examinePatroni finds out whether the Patroni that runs has the corrections of pgha_corrections.py.
func (w *work) examinePatroni(ctx context.Context, l *doctor.Look) {
	if w.Root != "/" {
		return
	}
	out, err := w.question(ctx, nil, "python3", "-I", "-B", corrections)
	f := strings.Fields(string(out))
	if err != nil || len(f) == 0 {
		return // a package that is not there is said elsewhere
	}
	l.Patroni = &doctor.Patroni{Version: f[0], Unknown: f[1:]}
	out, err = w.question(ctx, nil, "systemctl", "show", "patroni.service", "--timestamp=unix", "--property=ExecStart,MainPID,ExecMainStartTimestamp")
	if err != nil {
		return
	}
	shown := properties(string(out))
	pid, _ := strconv.Atoi(shown["MainPID"])
	started, _ := strconv.ParseInt(strings.TrimPrefix(shown["ExecMainStartTimestamp"], "@"), 10, 64)
	// What runs, and what a stopped one would be started as.
	l.Patroni.Foreign = !strings.Contains(shown["ExecStart"], "path="+patroniProgram+" ;") || pid != 0 && !runsProgram(w.Root, pid, patroniProgram)
	l.Patroni.Before = pid != 0 && started > 0 && installed(corrections).After(time.Unix(started+1, 0))
}

// runsProgram tells whether a process was started as that program, by an interpreter or without.
func runsProgram(root string, pid int, program string) bool {
	line, err := os.ReadFile(filepath.Join(root, fmt.Sprintf("/proc/%d/cmdline", pid)))
	return err == nil && strings.Contains("\x00"+string(line)+"\x00", "\x00"+program+"\x00")
}

// installed is when a file of a package came to this machine: dpkg gives it the time of the package's making, and its inode
// has that of the installation.
func installed(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}
	}
	return time.Unix(s.Ctim.Unix())
}
