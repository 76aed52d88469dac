package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// postMortem keeps what the machines say of themselves when a test has failed, in a folder that it names, and prints what a
// person would look at first.
func (l *lab) postMortem() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir, err := filepath.Abs(filepath.Join("../../dist/test", strings.ReplaceAll(l.Name(), "/", "_")))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		l.Log(err)
		return
	}
	keep := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			l.Log(err)
		}
	}
	status, _ := l.try(ctx, "lab", "status") // exit code 3 says what it says
	keep("status", status)
	texts := make([][]string, len(l.machines))
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
			texts[i] = strings.Split(say("journal", "journalctl", "--no-pager", "-o", "short-iso-precise"), "\n")
			if console, err := l.try(ctx, "lab", "logs", machine); err == nil {
				keep(machine+".console", console)
			}
		})
	}
	all.Wait()
	l.Logf("what the machines said is in %s\n%s\nthe last that may tell why:\n%s", dir, strings.TrimSpace(status), strings.Join(telling(slices.Concat(texts...), 20), "\n"))
}

// What tells why something went wrong, and what never does though it has such words.
var (
	trouble = regexp.MustCompile(`(?i)error|fail|fatal|panic|refus|denied|timed? ?out|lost|killed|no space|demot|could not|cannot|unreachable`)
	usual   = regexp.MustCompile(`(?i)failover: |Failed to (get|set) .*(sysctl|oom)|failed to find (removed|cached)|level":"info"`)
	atTime  = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+`)
)

// telling are the last n lines of the journals, in the order of time, that speak of trouble.
func telling(lines []string, n int) (told []string) {
	for _, text := range lines {
		if atTime.MatchString(text) && trouble.MatchString(text) && !usual.MatchString(text) {
			told = append(told, fmt.Sprintf("%.300s", text))
		}
	}
	slices.Sort(told) // they begin with the time, all in one zone
	return told[max(0, len(told)-n):]
}
