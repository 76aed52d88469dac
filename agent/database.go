package agent

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/join"
)

const (
	// patroniGo lets Patroni start until the machine is switched off, before it remembers the cluster.
	patroniGo = "/run/pgha/patroni"
	// unfinishedFile lies on the database's own disk from before Patroni begins with an empty directory until
	// PostgreSQL was seen to run: what is in the directory then has never served anybody.
	unfinishedFile = dataPath + "/pgha.unfinished"
)

// postgres lets Patroni start and waits until PostgreSQL runs, as the primary or as a replica that streams.
func (w *work) postgres(ctx context.Context) error {
	self := w.seed.Machine.Address
	state, err := w.state(ctx, "patroni.service")
	if err != nil {
		return err
	}
	let := running(state)
	if let {
		if err := w.bring(ctx, "patroni.service", false); err != nil { // its files may have changed
			return err
		}
	}
	var asked, listened time.Time
	var reservation join.Reservation
	words := ""
	why := "Patroni does not answer yet; see `journalctl -u patroni`"
	err = w.repeat(ctx, awaitsDatabase, func(ctx context.Context) (bool, error) {
		m, err := w.api.member(ctx, self)
		if err == nil && m.runs() {
			words = ""
		} else if let && time.Since(listened) > 5*time.Second {
			words, _ = w.lastWords(ctx)
			listened = time.Now()
		}
		switch {
		case err == nil && m.runs():
			done, err := w.isMade(ctx)
			if err != nil {
				why = "etcd does not answer: " + err.Error()
			} else if !done {
				why = "its roles and databases are being made"
			}
			return done, ctx.Err()
		case err == nil:
			why = fmt.Sprintf("it is %q as %s; see `journalctl -u patroni`", m.State, m.Role)
		}
		if let && time.Since(asked) < time.Second {
			return false, nil // Patroni works on it; etcd has other things to do than to answer us
		}
		asked = time.Now()
		d, reserve, err := w.observeDatabase(ctx, let)
		if err != nil {
			why = "etcd does not answer: " + err.Error()
			return false, ctx.Err()
		}
		d.Idle = reservation.Idle(d, uint64(reserve.ModRevision), asked)
		if let && d.There {
			return false, nil // it is Patroni's now
		}
		step, because := join.DecideDatabase(d)
		if because != "" {
			why = because
		}
		switch step {
		case join.Refuse:
			return false, errors.New(because)
		case join.AsideDatabase:
			return false, w.setDatabaseAside(ctx, because)
		case join.ReleaseReserve:
			return false, w.release(ctx, reserve)
		case join.AdoptDatabase:
			let, err = w.adopt(ctx, d)
			if errors.Is(err, errNoEtcd) {
				why = err.Error()
				return false, ctx.Err()
			}
			return false, err
		case join.LetPatroni:
			if let {
				return false, nil
			}
			if w.seed.Cluster.BeginsElsewhere() && d.Initialize == join.Nobody {
				let, why, err = w.beginElsewhere(ctx, d)
				return false, err
			}
			let = true
			return false, w.letPatroni(ctx, d)
		case join.AwaitPatroni:
		}
		return false, nil
	}, func(context.Context) string { return withWords(why, words) })
	if err != nil {
		return err
	}
	return w.remember(ctx)
}

// isMade tells whether the database that runs here is the cluster's. While the first one is being made it runs, too, but
// until Patroni has said in etcd whose it is, a power cut makes it worth nothing.
func (w *work) isMade(ctx context.Context) (bool, error) {
	system := systemID(w.databaseDir())
	if had, ok := readMemory(w.Root); ok && had.System == system {
		return true, nil
	}
	d, _, err := w.observeDatabase(ctx, true)
	return d.Initialize == join.Made && d.Cluster == system, err
}

// observeDatabase looks at the data directory, and asks etcd what Patroni keeps there. Unless Patroni runs here, what it
// said before this machine was switched off counts no more.
func (w *work) observeDatabase(ctx context.Context, runs bool) (join.Database, etcdPair, error) {
	dir := w.databaseDir()
	d := join.Database{There: hasDatabase(dir), Copied: exists(filepath.Join(dir, "backup_label")), Unfinished: exists(filepath.Join(w.Root, unfinishedFile))}
	d.System = systemID(dir)
	d.Adoptee, d.Mine = w.seed.Cluster.Adopt.Node, w.seed.Cluster.Adopts(w.seed.Machine.Name)
	_, d.Remembers = readMemory(w.Root)
	prefix := w.patroniKeys()
	pairs, err := w.api.pairs(ctx, w.seed.Machine.Address, prefix, true)
	var reserve etcdPair
	for _, p := range pairs {
		switch key := strings.TrimPrefix(string(p.Key), prefix); {
		case key == "initialize":
			reserve = p
			d.Initialize, d.Cluster = join.Made, string(p.Value)
			if len(p.Value) == 0 {
				d.Initialize = join.Reserved
			}
		case key == "leader":
			d.AtWork = true
		case key == "members/"+w.seed.Machine.Name && !runs:
		case strings.HasPrefix(key, "members/"):
			d.AtWork = d.AtWork || makesDatabase(p.Value)
		}
	}
	// What a member tells etcd is some seconds behind what it tells who asks.
	if d.Initialize == join.Reserved && !d.AtWork {
		for _, n := range w.seed.Cluster.Nodes {
			if n.Name != w.seed.Machine.Name || runs {
				m, err := w.api.member(ctx, n.Address)
				d.AtWork = d.AtWork || err == nil && m.State != "stopped"
			}
		}
	}
	return d, reserve, err
}

// patroniKeys is what the names of Patroni's keys in etcd begin with.
func (w *work) patroniKeys() string { return w.seed.Cluster.Namespace + w.seed.Cluster.Scope + "/" }

// makesDatabase tells whether a member, as it tells etcd, is making the first database: initdb and the start that follows.
// One that waits for somebody else to do so is stopped.
func makesDatabase(member []byte) bool {
	var m struct {
		State string `json:"state"`
	}
	return json.Unmarshal(member, &m) == nil && m.State != "stopped" && m.State != ""
}

// systemID reads PostgreSQL's system identifier, the first eight bytes of its control file; empty where there is none.
func systemID(dir string) string {
	body, err := readTheirs(filepath.Join(dir, "global/pg_control"))
	if err != nil || len(body) < 8 {
		return ""
	}
	return fmt.Sprint(binary.NativeEndian.Uint64(body))
}

// letPatroni starts Patroni. Where it begins with an empty directory, that is noted first.
func (w *work) letPatroni(ctx context.Context, d join.Database) error {
	if !d.There {
		note := filepath.Join(w.Root, unfinishedFile)
		if err := os.MkdirAll(filepath.Dir(note), 0o755); err != nil { //nolint:gosec // as Debian has it
			return err
		}
		if err := w.layDown(ctx, note, "PostgreSQL has not run here yet.\n"); err != nil {
			return err
		}
	}
	mark := filepath.Join(w.Root, patroniGo)
	if err := os.MkdirAll(filepath.Dir(mark), 0o755); err != nil { //nolint:gosec // holds no secret
		return err
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return err
	}
	return w.bring(ctx, "patroni.service", false)
}

// finished tells that PostgreSQL has run here.
func finished(root string) error {
	err := os.Remove(filepath.Join(root, unfinishedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (w *work) setDatabaseAside(ctx context.Context, why string) error {
	to := asideName(w.databaseDir())
	if err := w.moveDatabase(ctx, to); err != nil {
		return err
	}
	w.Say("the database is now %s: %s", w.inside(to), why)
	return nil
}

// release takes an empty reservation out of etcd, unless somebody has done something about it meanwhile.
func (w *work) release(ctx context.Context, reserve etcdPair) error {
	w.Say("release the cluster for another machine: the one that was making the first database was switched off")
	key := base64.StdEncoding.EncodeToString(reserve.Key)
	err := w.api.txn(ctx, w.seed.Machine.Address,
		map[string]any{"result": "EQUAL", "target": "MOD", "key": key, "mod_revision": reserve.ModRevision},
		map[string]any{"request_delete_range": map[string]any{"key": key}})
	if err != nil {
		w.Say("it is tried again: %v", err)
	}
	return ctx.Err()
}

// inside is a path below Root as the machine itself has it.
func (a *Agent) inside(path string) string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(path, filepath.Clean(a.Root)), "/")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
