package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pgbake/pgbake/agent/doctor"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/rootfs"
)

// examineTime is what all questions together may take, questionTime one of them: they are asked at the same time.
const (
	examineTime  = 10 * time.Second
	questionTime = 7 * time.Second
)

// Examine looks at this machine and its cluster for `pgha doctor`. It reads, and changes nothing; what does not answer in
// time is left out. It works without etcd, without PostgreSQL, without space on the disk, and without a seed.
func (a *Agent) Examine(ctx context.Context) *doctor.Look {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	l := &doctor.Look{Ports: cluster.DefaultPorts(), Configured: exists(filepath.Join(a.Root, gate))}
	l.Name, _ = machineName(a.Root) // without it the seed is broken, which is said
	w, err := a.prepare()
	removed, readErr := os.ReadFile(filepath.Join(a.Root, removedFile))
	switch {
	case readErr == nil: // nothing of the cluster is to be started here
		l.Seed = strings.TrimSpace(string(removed))
		w = &work{Agent: a}
	case err != nil:
		l.Seed = err.Error()
		l.DB, l.Proxy = exists(filepath.Join(a.Root, "/usr/bin/patroni")), exists(filepath.Join(a.Root, "/usr/sbin/haproxy"))
		w = &work{Agent: a}
	default:
		l.NoBackup = w.seed.Cluster.Backup.Missing()
		l.Name, l.Ports = w.seed.Machine.Name, w.seed.Cluster.Ports
		l.DB, l.Proxy = w.seed.Machine.Role == cluster.DB, w.seed.Machine.Role == cluster.Proxy
	}
	if u, err := a.updates(); err == nil { // else the monitor says so
		l.Updates = u.Late(time.Now())
	}
	if s, ok := ReadState(a.Root); ok && s.Step != "done" {
		l.Apply = doctor.Apply{Step: s.Step, Waiting: s.Waiting, Error: s.Error, Since: s.Since}
	}
	questions := []func(context.Context, *doctor.Look){w.examineSecrets, w.examineDisks, w.examineUnits, w.examinePackages, w.examineFirewall, w.examineStray}
	if l.DB {
		questions = append(questions, w.examineDatabase, w.examineLastWords, w.examineArchive, w.examinePatroni)
	}
	if w.seed != nil {
		if l.DB {
			questions = append(questions, w.examineParameters)
		}
		questions = append(questions, w.examineFiles, w.examineCluster, w.examineDoors, w.examineSettings)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, ask := range questions {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, questionTime)
			defer cancel()
			// Each fills fields of its own, in a look of its own: one that comes too late is not waited for.
			mine := doctor.Look{Name: l.Name, Ports: l.Ports, DB: l.DB, Proxy: l.Proxy, Configured: l.Configured, Apply: l.Apply}
			ask(ctx, &mine)
			mu.Lock()
			defer mu.Unlock()
			l.Add(&mine)
		})
	}
	wg.Wait()
	l.Connect()
	return l
}

// question is a program that is asked something; whoever does not answer in time is not waited for.
func (w *work) question(ctx context.Context, env []string, args ...string) ([]byte, error) {
	return w.Runner.Output(ctx, run.Cmd{Args: args, Env: env, Disposable: true})
}

func (w *work) examineSecrets(_ context.Context, l *doctor.Look) {
	paths := []string{secretsFile}
	keys, _ := filepath.Glob(filepath.Join(w.Root, tlsDir, "*.key")) // the pattern is good
	for _, k := range keys {
		paths = append(paths, w.inside(k))
	}
	for _, p := range paths {
		if info, err := os.Stat(filepath.Join(w.Root, p)); err == nil {
			open := info.Mode().Perm()&0o077 != 0
			if owner, ok := info.Sys().(*syscall.Stat_t); ok && w.Root == "/" {
				open = open || owner.Uid != 0
			}
			if open {
				l.Open = append(l.Open, doctor.Mode{Path: p, Mode: fmt.Sprintf("%04o", info.Mode().Perm()), Want: "600"})
			}
		}
	}
}

func (w *work) examineFiles(_ context.Context, l *doctor.Look) {
	changes, err := rootfs.Diff(w.Root, w.files)
	if err != nil {
		l.Changed = append(l.Changed, doctor.Changed{Path: "what pgha writes", Mode: err.Error()})
		return
	}
	for _, c := range changes {
		d := doctor.Changed{Path: c.File.Path}
		_, err := os.Lstat(filepath.Join(w.Root, c.File.Path))
		d.Missing = errors.Is(err, fs.ErrNotExist)
		for line := range strings.Lines(c.Text) {
			if mode, ok := strings.CutPrefix(line, c.File.Path+": "); ok && (strings.HasPrefix(mode, "mode ") || strings.HasPrefix(mode, "owner ")) {
				d.Mode = strings.TrimSpace(mode)
			} else {
				d.Body = true
			}
		}
		l.Changed = append(l.Changed, d)
	}
}

func (w *work) examineDisks(_ context.Context, l *doctor.Look) {
	seen := map[uint64]int{}
	for _, p := range []string{dataPath, "/var/lib/etcd", "/"} {
		dir := filepath.Join(w.Root, p)
		var s syscall.Statfs_t
		info, err := os.Stat(dir)
		if err != nil || syscall.Statfs(dir, &s) != nil || s.Blocks == 0 {
			continue
		}
		device := uint64(0)
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			device = st.Dev
		}
		i, known := seen[device]
		if !known {
			// As df has it: what only root may use counts as neither free nor used.
			used, all := s.Blocks-s.Bfree, s.Blocks-s.Bfree+s.Bavail
			d := doctor.Disk{Path: p, Used: int((100*used + all - 1) / max(all, 1)), Free: s.Bavail * uint64(s.Bsize)} //nolint:gosec // percent, and a positive size
			if s.Files > 0 {
				d.Inodes = int(100 - s.Ffree*100/s.Files) //nolint:gosec // percent
			}
			i = len(l.Disks)
			seen[device] = i
			l.Disks = append(l.Disks, d)
		}
		aside, _ := filepath.Glob(dir + "/*.aside-*")    // the pattern is good
		deeper, _ := filepath.Glob(dir + "/*/*.aside-*") // so is this
		for _, found := range append(aside, deeper...) {
			if name := w.inside(found); p != "/" && !slices.Contains(l.Disks[i].Aside, name) {
				l.Disks[i].Aside = append(l.Disks[i].Aside, name)
			}
		}
	}
}

// examineUnits asks systemd for those of the machine's role, and for others that have failed.
func (w *work) examineUnits(ctx context.Context, l *doctor.Look) {
	if w.Root != "/" {
		return
	}
	wanted := []string{"chrony.service", "pgha-firewall.service", followUnit}
	if l.DB {
		wanted = append([]string{"etcd.service", "patroni.service"}, wanted...)
	}
	if l.Proxy {
		wanted = append([]string{"haproxy.service"}, wanted...)
		if w.seed != nil && w.seed.Cluster.VirtualAddress.IsValid() {
			wanted = append(wanted, "keepalived.service")
		}
	}
	all := slices.Clone(wanted)
	if out, err := w.question(ctx, nil, "systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager"); err == nil {
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) > 0 && !slices.Contains(all, f[0]) {
				all = append(all, f[0])
			}
		}
	}
	out, err := w.question(ctx, nil, append([]string{"systemctl", "show", "--property=Id,LoadState,ActiveState,Result,Restart,NeedDaemonReload"}, all...)...)
	if err != nil {
		l.Units = append(l.Units, doctor.Unit{Name: "systemd", Load: "loaded", Active: "failed", Result: err.Error()})
		return
	}
	for i, block := range strings.Split(strings.TrimSpace(string(out)), "\n\n") {
		if i >= len(all) {
			break
		}
		p := properties(block)
		u := doctor.Unit{Name: all[i], Load: p["LoadState"], Active: p["ActiveState"], Result: p["Result"], Reload: p["NeedDaemonReload"] == "yes", Wanted: slices.Contains(wanted, all[i])}
		if own := []string{"etcd.service", "patroni.service", "haproxy.service", "keepalived.service", followUnit}; slices.Contains(own, all[i]) {
			u.Restart = p["Restart"]
		}
		l.Units = append(l.Units, u)
	}
}

// properties are the lines KEY=VALUE of a program's answer.
func properties(answer string) map[string]string {
	p := map[string]string{}
	for line := range strings.Lines(answer) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		p[key] = value
	}
	return p
}

func (w *work) examinePackages(ctx context.Context, l *doctor.Look) {
	if w.Root != "/" {
		return
	}
	out, err := w.question(ctx, nil, "dpkg-query", "-W", "-f", "${db:Status-Want} ${db:Status-Status} ${Package}\n")
	if err != nil {
		return // a machine without dpkg is none of ours
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == "install" && f[1] != "installed" {
			l.Packages = append(l.Packages, f[2]+" ("+f[1]+")")
		}
	}
}

func (w *work) examineFirewall(ctx context.Context, l *doctor.Look) {
	if w.Root != "/" {
		return
	}
	_, err := w.question(ctx, nil, "nft", "list", "chain", "inet", "pgha", "input")
	l.Unfiltered = run.ExitCode(err) == 1
}

// examineStray looks for PostgreSQL that is not Patroni's.
func (w *work) examineStray(_ context.Context, l *doctor.Look) {
	starts, _ := filepath.Glob(filepath.Join(w.Root, "/etc/postgresql/*/*/start.conf")) // the pattern is good
	for _, conf := range starts {
		body, err := os.ReadFile(conf)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(body)) {
			if strings.TrimSpace(line) == "auto" {
				dir := filepath.Dir(conf)
				l.Stray = append(l.Stray, filepath.Base(filepath.Dir(dir))+" "+filepath.Base(dir))
			}
		}
	}
}
