package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/join"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// act does one step. What etcd refuses is said and tried again after the next look; what this machine's own disk or
// systemd refuses is an error.
func (w *work) act(ctx context.Context, a join.Action, o join.Observation) error {
	j := &w.joining
	var refused error
	switch a.Do {
	case join.Start:
		return w.letStart(ctx, "")
	case join.Found:
		w.Say("found a new etcd cluster: %s", a.Why)
		return w.letStart(ctx, "ETCD_INITIAL_CLUSTER="+w.seed.Cluster.EtcdInitialCluster()+"\nETCD_INITIAL_CLUSTER_STATE=new\n")
	case join.Order:
		return os.WriteFile(filepath.Join(w.Root, orderFile), nil, 0o600)
	case join.Halt:
		return w.haltEtcd(ctx)
	case join.SetAside:
		return w.setEtcdAside(ctx, a.Why)
	case join.Join:
		return w.startAsLearner(ctx)
	case join.Lock:
		refused = w.api.lock(ctx, j.at, o.Self)
	case join.Unlock:
		refused = w.api.unlock(ctx, j.at, o.Self)
	case join.Remove:
		w.Say("remove a member from etcd: %s", a.Why)
		refused = w.api.change(ctx, j.at, o.Etcd, "cluster/member/remove", map[string]any{"ID": number(w.mine(o).ID)}, &struct{}{})
	case join.Evict:
		w.Say("remove a member from etcd: %s", a.Why)
		refused = w.api.change(ctx, j.at, o.Etcd, "cluster/member/remove", map[string]any{"ID": number(o.Ghost().ID)}, &struct{}{})
	case join.Promote:
		refused = w.api.change(ctx, j.at, o.Etcd, "cluster/member/promote", map[string]any{"ID": number(o.Member)}, &struct{}{})
	case join.Add:
		return w.addLearner(ctx, o)
	}
	if refused != nil {
		j.why += ": " + refused.Error()
	}
	return ctx.Err()
}

func (w *work) mine(o join.Observation) join.Listed {
	for _, m := range o.Etcd.Members {
		if m.Me {
			return m
		}
	}
	return join.Listed{}
}

// letStart hands the peer port to etcd and starts it, with what it is told beside /etc/default/etcd.
func (w *work) letStart(ctx context.Context, env string) error {
	j := &w.joining
	if env != "" {
		path := filepath.Join(w.Root, etcdEnv)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // holds no secret
			return err
		}
		if err := replace(path, []byte("# Written by pgha, which has decided that etcd may start without data.\n"+env), 0o644); err != nil {
			return err
		}
	}
	j.counter.close()
	if err := w.systemctl(ctx, "restart", "--no-block", "etcd.service"); err != nil {
		return err
	}
	j.running, j.started = true, time.Now()
	return w.pending.done("etcd.service")
}

// haltEtcd stops etcd and takes its leave to start without data back.
func (w *work) haltEtcd(ctx context.Context) error {
	if err := os.Remove(filepath.Join(w.Root, etcdEnv)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := w.systemctl(ctx, "stop", "etcd.service"); err != nil {
		return err
	}
	w.joining.running = false
	return w.answer()
}

func (w *work) setEtcdAside(ctx context.Context, why string) error {
	if err := w.haltEtcd(ctx); err != nil {
		return err
	}
	to, err := setAside(w.etcdDir())
	if err != nil {
		return err
	}
	w.Say("etcd's data is now %s: %s", w.inside(to), why)
	return nil
}

// asideName is what a directory is called when it is set aside: its name, with the time in it.
func asideName(dir string) string {
	return dir + ".aside-" + time.Now().UTC().Format("20060102T150405.000Z")
}

// setAside renames a directory that nothing uses; the database's is for moveDatabase.
func setAside(dir string) (to string, err error) {
	to = asideName(dir)
	if err := os.Rename(dir, to); err != nil {
		return "", fmt.Errorf("set data aside: %w", err)
	}
	return to, syncDir(filepath.Dir(dir))
}

// addLearner adds this machine to the running etcd, and notes on the disk as what: only with the note may it start. A
// machine that is switched off between the two is added anew.
func (w *work) addLearner(ctx context.Context, o join.Observation) error {
	j := &w.joining
	w.Say("add %s to etcd as a learner", w.seed.Machine.Name)
	var added struct {
		Member etcdMember `json:"member"`
	}
	in := map[string]any{"peerURLs": []string{peerURL(w.seed.Cluster, w.seed.Machine.Node)}, "isLearner": true}
	if err := w.api.change(ctx, j.at, o.Etcd, "cluster/member/add", in, &added); err != nil {
		j.why += ": " + err.Error()
		return ctx.Err()
	}
	return durable(filepath.Join(w.Root, promiseFile), fmt.Appendf(nil, "%x\n", uint64(added.Member.ID)))
}

// startAsLearner takes the note off the disk before etcd starts: a learner that has lost its log must not be started
// as the same one again. etcd wants to be told exactly the members that there are.
func (w *work) startAsLearner(ctx context.Context) error {
	j := &w.joining
	list, err := w.api.members(ctx, j.at)
	if err != nil {
		j.why += ": " + err.Error()
		return ctx.Err()
	}
	members, err := initialCluster(list, w.seed.Machine)
	if err != nil {
		etcdctl := w.seed.Cluster.Ports.Etcdctl(j.at)
		return fmt.Errorf("%w\n      hint: %s member list; %[2]s member update", err, etcdctl)
	}
	j.joined = join.ID(list.Header.ClusterID)
	note := filepath.Join(w.Root, promiseFile)
	if err := errors.Join(os.Remove(note), syncDir(filepath.Dir(note))); err != nil {
		return err
	}
	return w.letStart(ctx, "ETCD_INITIAL_CLUSTER="+members+"\nETCD_INITIAL_CLUSTER_STATE=existing\n")
}

// plain is a word that stands for itself in a list and in systemd's environment file: any member of etcd may have written it.
var plain = regexp.MustCompile(`^[a-zA-Z0-9._:/\[\]-]+$`)

// initialCluster is the list of members as etcd wants it at the start of a new one. It goes by the addresses; a name that is
// missing or strange gets another one there.
func initialCluster(list memberList, self cluster.Machine) (string, error) {
	var members []string
	for _, m := range list.Members {
		name := m.Name
		switch {
		case m.address() == self.Address:
			name = self.Name
		case !plain.MatchString(name):
			name = fmt.Sprintf("never-ready-%x", uint64(m.ID))
		}
		for _, u := range m.PeerURLs {
			if !plain.MatchString(u) {
				return "", fmt.Errorf("etcd's member %x has the address %q, which is none", uint64(m.ID), u)
			}
			members = append(members, name+"="+u)
		}
	}
	return strings.Join(members, ","), nil
}

// Order is the operator's word that no machine has any data that is needed. It is refused while one that answers has some.
func (a *Agent) Order(ctx context.Context) error {
	w, err := a.prepare()
	if err != nil {
		return err
	}
	w.joining.begin()
	o, err := w.observe(ctx)
	if err != nil {
		return err
	}
	var with []string
	if o.Data != join.None || o.Database {
		with = append(with, "this machine")
	}
	for _, p := range o.Peers {
		if p.State == join.Member || p.State == join.Holds || p.State == join.Newborn {
			with = append(with, p.Name)
		}
	}
	if o.Etcd != nil || len(with) > 0 {
		return fmt.Errorf("order a new cluster: there is data on %s\n      hint: `pgha status` says what is waited for; what is not needed: pgha member set-aside", strings.Join(with, ", "))
	}
	path := filepath.Join(a.Root, orderFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // holds no secret
		return err
	}
	return os.WriteFile(path, nil, 0o600)
}

// SetAside renames this machine's data of one kind, "etcd" or "postgres", and returns its new name. What uses it is stopped first.
// Of "data-disk" it is the note of which disk that is.
// Refused is the data of a primary in maintenance: nobody would take over.
func (a *Agent) SetAside(ctx context.Context, kind string) (to string, err error) {
	w, err := a.prepare()
	if err != nil {
		return "", err
	}
	if r, err := a.CurrentRestore(); err != nil || r != nil && r.Note.Claimed {
		return "", errors.Join(errors.New("set data aside: a restore is at work on this machine\n      hint: where it stands: pgha restore"), err)
	}
	if kind == "data-disk" {
		return a.setAsideDisk(ctx, w.seed)
	}
	dir := w.etcdDir()
	if kind == "postgres" {
		dir = w.databaseDir()
		if m, err := w.api.member(ctx, w.seed.Machine.Address); err == nil && m.Paused && m.runs() && (m.leads() || m.leadsStandby()) {
			return "", fmt.Errorf("set data aside: %s is the primary, and in maintenance nobody takes over from it; nothing was changed\n      hint: pgha maintenance off", w.seed.Machine.Name)
		}
	}
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("set data aside: %w", err)
	}
	if err := a.Runner.Run(ctx, run.Command("systemctl", "stop", "pgha-apply.service")); err != nil {
		return "", err
	}
	if kind == "postgres" {
		to = asideName(dir)
		err = w.moveDatabase(ctx, to)
	} else if err = a.Runner.Run(ctx, run.Command("systemctl", "stop", "etcd.service")); err == nil {
		to, err = setAside(dir)
	}
	if err != nil {
		return "", err
	}
	return to, a.Runner.Run(ctx, run.Command("systemctl", "start", "--no-block", "pgha-apply.service"))
}
