package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pgbake/pgbake/test/debian"
)

// postMortem keeps what the machines say of themselves when a test has failed, in a folder that it names, and prints what a
// person would look at first.
func (l *lab) postMortem() (dir string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir, err := debian.Logs(l.T)
	if err != nil {
		l.Log(err)
		return ""
	}
	keep := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			l.Log(err)
		}
	}
	status, _ := l.try(ctx, "lab", "status") // exit code 3 says what it says
	keep("status", status)
	journals := make([]string, len(l.machines))
	var all sync.WaitGroup
	for i, machine := range l.machines {
		all.Go(func() {
			say := func(name string, args ...string) string {
				out, err := l.try(ctx, append([]string{"lab", "exec", machine, "--"}, args...)...)
				if err != nil {
					out += "\n" + err.Error()
				}
				keep(machine+"."+name, out)
				return out
			}
			say("status", "pgha", "status")
			say("doctor", "pgha", "doctor")
			say("units", "systemctl", "list-units", "--failed", "--no-pager")
			say("network", "sh", "-c", "ip address; ip route; nft list ruleset")
			journals[i] = say("journal", debian.Journal...)
			if console, err := l.try(ctx, "lab", "logs", machine); err == nil {
				keep(machine+".console", console)
			}
		})
	}
	all.Wait()
	l.Logf("what the machines said is in %s\n%s\nthe last that may tell why:\n%s", dir, strings.TrimSpace(status), debian.Telling(journals...))
	return dir
}
