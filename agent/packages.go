package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/internal/run"
)

// What apt has and would do, which units run it, and what each member has noted in etcd that it serves with.

// planned is one package that apt would upgrade.
type planned struct{ name, from, to string }

func (p planned) String() string { return p.name + " " + p.from + " -> " + p.to }

// ours are the packages of the cluster that are installed here.
func (w *work) ours(ctx context.Context) (map[string]string, error) {
	c := w.seed.Cluster
	want := append(c.PackagesFor(w.seed.Machine.Role), "pgha-common", "pgha-node", "pgha-proxy", "postgresql-common", "postgresql-client-common")
	out, err := w.Runner.Output(ctx, run.Command("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"))
	if err != nil {
		return nil, err
	}
	have := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "installed" && slices.Contains(want, f[1]) {
			have[f[1]] = f[2]
		}
	}
	return have, nil
}

var aptEnv = []string{"DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "NEEDRESTART_SUSPEND=1", "APT_LISTCHANGES_FRONTEND=none"}

// upgradeAll is apt's command for all packages. A kernel's comes with a new package, and nothing may go for it.
var upgradeAll = []string{"upgrade", "--with-new-pkgs"}

func (w *work) apt(u Upgrade, have map[string]string, more ...string) run.Cmd {
	// A configuration file that somebody changed stays: ours are written by pgha.
	args := append([]string{"apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"}, more...)
	if u.All {
		args = append(args, upgradeAll...)
	} else {
		args = append(args, "install", "--only-upgrade")
		for name := range have {
			args = append(args, name)
		}
		slices.Sort(args[len(args)-len(have):])
	}
	return run.Cmd{Args: args, Env: aptEnv}
}

// plan asks apt what it would do.
func (w *work) plan(ctx context.Context, u Upgrade, update bool) ([]planned, error) {
	if update {
		w.Say("apt-get update")
		if err := w.askArchives(ctx); err != nil {
			return nil, fmt.Errorf("%w\n      hint: nothing was changed; --no-update goes by what apt knows already", err)
		}
	}
	have, err := w.ours(ctx)
	if err != nil {
		return nil, err
	}
	out, err := w.Runner.Output(ctx, w.apt(u, have, "--simulate"))
	if err != nil {
		return nil, err
	}
	plan, gone := parsePlan(string(out))
	for _, name := range gone {
		if _, our := have[name]; our {
			return nil, fmt.Errorf("apt would remove %s for it\n      hint: see what stands in its way: apt-get --simulate upgrade", name)
		}
	}
	return plan, nil
}

// parsePlan reads what apt-get --simulate says: "Inst name [old] (new archive [arch])", "Remv name [old]".
func parsePlan(out string) (plan []planned, gone []string) {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		switch {
		case len(f) > 3 && f[0] == "Inst" && strings.HasPrefix(f[2], "["):
			plan = append(plan, planned{f[1], strings.Trim(f[2], "[]"), strings.TrimPrefix(f[3], "(")})
		case len(f) > 2 && f[0] == "Inst":
			plan = append(plan, planned{f[1], "-", strings.TrimPrefix(f[2], "(")})
		case len(f) > 1 && f[0] == "Remv":
			gone = append(gone, f[1])
		}
	}
	return plan, gone
}

// serviceOf names the unit that runs what a package brings; empty when an upgrade of it stops nothing.
func (w *work) serviceOf(name string) string {
	switch name {
	case "patroni", "python3-etcd", fmt.Sprintf("postgresql-%d", w.seed.Cluster.Postgres.Version):
		return "patroni.service"
	case "etcd-server":
		return "etcd.service"
	case "haproxy", "keepalived":
		return name + ".service"
	}
	return ""
}

// activeSince tells one start of a unit from another.
func (w *work) activeSince(ctx context.Context, unit string) string {
	out, _ := w.Runner.Output(ctx, run.Command("systemctl", "show", "--value", "--property=ExecMainStartTimestampMonotonic", unit)) // none: another start
	return strings.TrimSpace(string(out))
}

// newerServer tells whether PostgreSQL on the disk is another than the one that runs, also where an upgrade was cut short.
func (w *work) newerServer(ctx context.Context, m surveyed, plan []planned) bool {
	server := fmt.Sprintf("postgresql-%d", w.seed.Cluster.Postgres.Version)
	if slices.ContainsFunc(plan, func(p planned) bool { return p.name == server }) {
		return true
	}
	out, err := w.Runner.Output(ctx, run.Command(w.seed.Cluster.BinDir()+"/postgres", "-V"))
	var major, minor int
	n, _ := fmt.Sscanf(string(out), "postgres (PostgreSQL) %d.%d", &major, &minor)
	return err == nil && n == 2 && m.Version > 0 && m.Version != major*10000+minor
}

func (a *api) versionsKey(name string) string { return "/pgha/" + a.c.Scope + "/packages/" + name }

// noteVersions writes down in etcd what this member has, once it serves with it.
func (w *work) noteVersions(ctx context.Context) (map[string]string, error) {
	have, err := w.ours(ctx)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(have)
	if err != nil {
		return nil, err
	}
	at, err := w.etcd(ctx)
	if err != nil {
		return nil, err
	}
	return have, w.api.call(ctx, at, "kv/put", map[string]any{"key": []byte(w.api.versionsKey(w.seed.Machine.Name)), "value": body}, &struct{}{})
}

// behind names the other members that have not noted these versions.
func (w *work) behind(ctx context.Context, s survey, want map[string]string) (names []string, err error) {
	at, err := w.etcd(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range s.members {
		if m.name == w.seed.Machine.Name {
			continue
		}
		pairs, err := w.api.pairs(ctx, at, w.api.versionsKey(m.name), false)
		if err != nil {
			return nil, err
		}
		have := map[string]string{}
		if len(pairs) == 1 {
			_ = json.Unmarshal(pairs[0].Value, &have) // then it has nothing
		}
		for name, version := range want {
			if have[name] != version {
				names = append(names, m.name)
				break
			}
		}
	}
	return names, nil
}
