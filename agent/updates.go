package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/monitor"
	"github.com/pgbake/pgbake/internal/run"
)

// updatesFile is written once a day, when pgha-updates.timer has the archives asked.
const updatesFile = "/var/lib/pgha/updates.json"

// security ends the name of every suite of Debian's security archive: bookworm-security, stable-security.
const security = "-security"

// noted is what updatesFile holds.
type noted struct {
	monitor.Updates
	// Packages are since when each of them has a security update that is not installed.
	Packages map[string]time.Time `json:"packages,omitempty"`
}

// SecurityUpdates asks the archives which security updates this machine lacks, and notes them for the monitor. Nothing is
// installed. Each line is a package, its version, and the one that waits. It needs no seed.
func (a *Agent) SecurityUpdates(ctx context.Context) ([]string, error) {
	return a.noteUpdates(ctx, true)
}

// noteUpdates does it; without ask it goes by what apt knows already.
func (a *Agent) noteUpdates(ctx context.Context, ask bool) (lines []string, err error) {
	var before noted
	_ = readJSON(filepath.Join(a.Root, updatesFile), &before) // one that is missing or broken is made anew
	waiting, err := a.securityUpdates(ctx, ask)
	now := before.next(time.Now(), waiting, err)
	if !ask { // what apt knows says nothing of the archives
		now.Unanswered, now.Failed = before.Unanswered, before.Failed
	}
	body, failed := json.Marshal(now)
	if failed == nil {
		failed = replace(filepath.Join(a.Root, updatesFile), append(body, '\n'), 0o644)
	}
	for _, p := range waiting {
		lines = append(lines, p.String())
	}
	return lines, errors.Join(err, failed)
}

// next is the note after another look, which found waiting, or failed.
func (n noted) next(at time.Time, waiting []planned, failed error) noted {
	if failed != nil {
		n.Failed, _, _ = strings.Cut(failed.Error(), "\n")
		if n.Unanswered.IsZero() {
			n.Unanswered = at
		}
		return n
	}
	next := noted{Packages: map[string]time.Time{}}
	for _, p := range waiting {
		next.Packages[p.name] = at
		if since, known := n.Packages[p.name]; known {
			next.Packages[p.name] = since
		}
	}
	next.Waiting = len(next.Packages)
	if next.Waiting > 0 {
		next.Since = slices.MinFunc(slices.Collect(maps.Values(next.Packages)), time.Time.Compare)
	}
	return next
}

// updates is what was noted; nil when nobody has looked yet.
func (a *Agent) updates() (*monitor.Updates, error) {
	var n noted
	err := readJSON(filepath.Join(a.Root, updatesFile), &n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nobody has looked
	}
	return &n.Updates, err
}

// askArchives renews what apt knows of them. One that does not answer is an error.
func (a *Agent) askArchives(ctx context.Context) error {
	return a.Runner.Run(ctx, run.Cmd{Args: []string{"apt-get", "-q", "update", "-o", "APT::Update::Error-Mode=any"}, Env: aptEnv})
}

// securityUpdates are the packages that `pgha upgrade --all` would upgrade, and of which a security archive has a newer version
// than the one here. What it would install may be newer still: a point release takes security updates in.
func (a *Agent) securityUpdates(ctx context.Context, ask bool) ([]planned, error) {
	if ask {
		if err := a.askArchives(ctx); err != nil {
			return nil, err
		}
	}
	// It tells of what has been fetched.
	suites, err := a.askApt(ctx, "apt-get", "indextargets", "--format", "$(RELEASE)", "Created-By: Packages")
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(strings.Fields(suites), func(s string) bool { return strings.HasSuffix(s, security) }) {
		return nil, errors.New("apt knows no archive of security updates\n      hint: name Debian's in /etc/apt/sources.list.d: the suite is the release's name and " + security)
	}
	out, err := a.askApt(ctx, append([]string{"apt-get", "--simulate"}, upgradeAll...)...)
	if err != nil {
		return nil, err
	}
	plan, _ := parsePlan(out)
	plan = slices.DeleteFunc(plan, func(p planned) bool { return p.from == "-" }) // what another one brings along
	if len(plan) == 0 {
		return nil, nil
	}
	args := []string{"apt-cache", "policy"}
	for _, p := range plan {
		args = append(args, p.name)
	}
	if out, err = a.askApt(ctx, args...); err != nil {
		return nil, err
	}
	fixed := parsePolicy(out)
	return slices.DeleteFunc(plan, func(p planned) bool { return !fixed[p.name] }), nil
}

// askApt asks one of apt's programs.
func (a *Agent) askApt(ctx context.Context, args ...string) (string, error) {
	out, err := a.Runner.Output(ctx, run.Cmd{Args: args, Env: aptEnv})
	return string(out), err
}

// parsePolicy reads what apt-cache policy says of packages, and returns those of which a security archive has a newer version
// than the one that is installed. For each it names the versions, the newest first, and below each its sources:
//
//	openssl:
//	  Installed: 3.0.16-1
//	  Candidate: 3.0.17-1
//	  Version table:
//	     3.0.17-1 500
//	        500 http://mirror.example/debian-security bookworm-security/main amd64 Packages
//	 *** 3.0.16-1 100
//	        100 /var/lib/dpkg/status
func parsePolicy(out string) map[string]bool {
	found := map[string]bool{}
	var name string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		switch {
		case !strings.HasPrefix(line, " "):
			name, _, _ = strings.Cut(strings.TrimSpace(line), ":") // "libc6:i386:" is another architecture's
		case strings.HasPrefix(line, " *** "):
			name = "" // what follows is not newer
		case name != "" && strings.HasPrefix(line, "        ") && len(f) > 2:
			suite, _, _ := strings.Cut(f[2], "/")
			found[name] = found[name] || strings.HasSuffix(suite, security)
		}
	}
	return found
}
