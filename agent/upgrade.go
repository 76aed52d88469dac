package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// Upgrade is what an upgrade of this machine's packages does. Each machine upgrades itself: nobody gets the power to run
// apt on another. A task in etcd keeps it to one machine at a time, and what each has noted there to the right order.
type Upgrade struct {
	// All takes every package of the machine, not only those of the cluster.
	All bool
	// Patience is how long to wait for a healthy cluster before anything is done.
	Patience time.Duration
}

// UpgradePlan says what an upgrade would install; update asks the archives first.
func (a *Agent) UpgradePlan(ctx context.Context, u Upgrade, update bool) ([]string, error) {
	w, err := a.prepare()
	if err != nil {
		return nil, err
	}
	plan, err := w.plan(ctx, u, update)
	var lines []string
	for _, p := range plan {
		lines = append(lines, p.String())
	}
	return lines, err
}

// Upgrade upgrades this machine's packages while the rest of the cluster serves, and waits until it is whole again. The
// primary comes after all replicas, and hands over first.
func (a *Agent) Upgrade(ctx context.Context, u Upgrade, told func(string)) error {
	w, err := a.prepare()
	if err != nil {
		return err
	}
	name := w.seed.Machine.Name
	if w.seed.Machine.Role == cluster.Proxy {
		err = w.upgradeProxy(ctx, u, told)
	} else {
		err = w.alone(ctx, "upgrade of "+name, func(ctx context.Context) error { return w.upgradeMember(ctx, u, told) })
	}
	if _, noted := w.noteUpdates(context.WithoutCancel(ctx), false); noted != nil {
		w.Say("which security updates are left is not known: %v", noted)
	}
	if err != nil {
		return fmt.Errorf("upgrade %s: %w", name, err)
	}
	return nil
}

func (w *work) upgradeMember(ctx context.Context, u Upgrade, told func(string)) error {
	self := w.seed.Machine.Name
	s, err := w.awaitWhole(ctx, u.Patience)
	if err != nil {
		return fmt.Errorf("nothing was begun: %w\n      hint: pgha doctor", err)
	}
	if s.paused() {
		return errors.New("in maintenance Patroni replaces no primary\n      hint: pgha maintenance off")
	}
	plan, err := w.plan(ctx, u, false)
	if err != nil {
		return err
	}
	if p, _ := s.primary(); p.name == self && len(s.members) > 1 && len(plan) > 0 {
		if err := w.replicasFirst(ctx, s, plan); err != nil {
			return err
		}
		if slices.ContainsFunc(plan, func(p planned) bool { return w.serviceOf(p.name) == "patroni.service" }) {
			moved, err := w.switchover(ctx, "", u.Patience)
			if err != nil {
				return err
			}
			told(moved.String())
		}
	}
	before, _ := w.survey(ctx).member(self)
	if err := w.install(ctx, u, plan); err != nil {
		return err
	}
	again := func(err error) error {
		return fmt.Errorf("the packages are installed, and: %w\n      hint: `pgha doctor` looks for what is wrong; then once more: pgha upgrade", trimHint(err))
	}
	if s, err = w.awaitMoving(ctx, "a healthy cluster", survey.sick); err != nil {
		return again(err)
	}
	if m, _ := s.member(self); m.Started == before.Started && w.newerServer(ctx, m, plan) {
		if err := w.restarted(ctx, m); err != nil {
			return again(err)
		}
		if s, err = w.awaitMoving(ctx, "a healthy cluster", survey.sick); err != nil {
			return again(err)
		}
	}
	have, err := w.noteVersions(ctx)
	if err != nil {
		return again(err)
	}
	report(self, plan, told)
	w.sayNext(ctx, s, have)
	return nil
}

func report(name string, plan []planned, told func(string)) {
	if len(plan) == 0 {
		told(name + ": nothing to upgrade")
	}
	for _, p := range plan {
		told(name + ": " + p.String())
	}
}

// install has apt do it, and makes the services that apt has not restarted see what is new. It is never cut short: a
// package that is half installed is worse than an operator who waits.
func (w *work) install(ctx context.Context, u Upgrade, plan []planned) error {
	if len(plan) == 0 {
		return nil
	}
	have, err := w.ours(ctx)
	if err != nil {
		return err
	}
	var names, services []string
	for _, p := range plan {
		names = append(names, p.name)
		if unit := w.serviceOf(p.name); unit != "" && !slices.Contains(services, unit) {
			services = append(services, unit)
		}
	}
	slices.Sort(services) // etcd before Patroni
	since := map[string]string{}
	for _, unit := range services {
		since[unit] = w.activeSince(ctx, unit)
	}
	w.Say("install %s", list(names))
	whole := context.WithoutCancel(ctx)
	apt := w.apt(u, have)
	apt.Args = append([]string{"setsid", "--wait"}, apt.Args...) // nor by a Ctrl-C on the terminal
	if err := w.Runner.Run(whole, apt); err != nil {
		return fmt.Errorf("%w\n      hint: pgha doctor; what apt has begun: dpkg --configure -a; then once more: pgha upgrade", err)
	}
	// The new agent may write files otherwise than the one that runs here.
	if err := w.Runner.Run(whole, run.Command("/usr/bin/pgha", "apply")); err != nil {
		return fmt.Errorf("the packages are installed, and: %w\n      hint: pgha doctor", err)
	}
	for _, unit := range services {
		if unit == "patroni.service" && !slices.ContainsFunc(plan, func(p planned) bool { return p.name == "patroni" || p.name == "python3-etcd" }) {
			continue // PostgreSQL alone: Patroni restarts it
		}
		if now := w.activeSince(ctx, unit); now == since[unit] {
			if err := w.systemctl(whole, "restart", unit); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// replicasFirst refuses the primary's upgrade before all others serve with what it would get.
func (w *work) replicasFirst(ctx context.Context, s survey, plan []planned) error {
	have, err := w.ours(ctx)
	if err != nil {
		return err
	}
	want := map[string]string{}
	for _, p := range plan {
		if _, our := have[p.name]; our {
			want[p.name] = p.to
		}
	}
	names, err := w.behind(ctx, s, want)
	if err != nil || len(names) == 0 {
		return err
	}
	return fmt.Errorf("it is the primary, and comes last: not upgraded yet: %s\n      hint: on %s: pgha upgrade", list(names), names[0])
}

// sayNext says where to go on, the primary last.
func (w *work) sayNext(ctx context.Context, s survey, have map[string]string) {
	names, err := w.behind(ctx, s, have)
	if err != nil {
		return // the next upgrade says it
	}
	p, _ := s.primary()
	if i := slices.Index(names, p.name); i >= 0 {
		names = append(slices.Delete(names, i, i+1), p.name)
	}
	switch {
	case len(names) > 0:
		w.Say("next: on %s: pgha upgrade", names[0])
	case len(w.seed.Cluster.Proxies) > 0:
		w.Say("every member has it; the proxies, one after the other: on %s: pgha upgrade", w.seed.Cluster.Proxies[0].Name)
	}
}

// upgradeProxy upgrades a proxy while the other one serves, where there is another.
func (w *work) upgradeProxy(ctx context.Context, u Upgrade, told func(string)) error {
	for _, p := range w.seed.Cluster.Proxies {
		if p.Name == w.seed.Machine.Name {
			continue
		}
		if _, err := w.api.doorState(ctx, p.Address); err != nil {
			return fmt.Errorf("nothing was begun: the other proxy, %s, does not answer: %s\n      hint: on %[1]s: pgha doctor", p.Name, short(err))
		}
	}
	plan, err := w.plan(ctx, u, false)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(plan, func(p planned) bool { return p.name == "haproxy" }) {
		w.Say("HAProxy is restarted: sessions through this proxy end, and their clients connect anew")
	}
	if err := w.install(ctx, u, plan); err != nil {
		return err
	}
	err = w.until(ctx, "HAProxy to lead writers to the primary", time.Minute, func(ctx context.Context) string {
		up, err := writersGoTo(ctx)
		switch {
		case err != nil:
			return "it does not answer: " + short(err)
		case len(up) != 1:
			return "it leads them to " + list(up)
		}
		return ""
	})
	if err != nil {
		return fmt.Errorf("the packages are installed, and: %w\n      hint: pgha doctor", err)
	}
	report(w.seed.Machine.Name, plan, told)
	return nil
}
