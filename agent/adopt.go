package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/adopt"
	"github.com/pgbake/pgbake/agent/join"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/render"
)

// adoptingFile is there from before an adopted database is stopped until its roles are made.
const adoptingFile = "/var/lib/pgha/adopting.json"

// adoption is what adoptingFile holds.
type adoption struct {
	// Kept ends the names of files in the data directory that were replaced.
	Kept string `json:"kept"`
	// Stopped is when the database was; zero when it did not run.
	Stopped time.Time `json:"stopped,omitzero"`
}

// begun returns the adoption that an earlier apply has begun; nil when none has.
func (w *work) begun() (*adoption, error) {
	body, err := os.ReadFile(filepath.Join(w.Root, adoptingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // as the comment says
	}
	var a adoption
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", adoptingFile, err)
	}
	return &a, nil
}

// errNoEtcd tells that etcd did not take something, which is tried again.
var errNoEtcd = errors.New("etcd does not answer")

// adopting tells that the database on this machine may be older than the cluster, and its first one.
func (w *work) adopting() bool {
	_, remembers := readMemory(w.Root)
	return w.seed.Cluster.Adopts(w.seed.Machine.Name) && !remembers && !exists(filepath.Join(w.Root, unfinishedFile))
}

// checkAdoption refuses a cluster of Debian's tools that cannot be adopted before anything on its machine is touched. Of
// data without one nobody knows yet whether the cluster has it already, on a data disk that has outlived its machine.
func (w *work) checkAdoption(ctx context.Context) error {
	place := w.seed.Cluster.Adopt.Cluster
	if !w.adopting() || place == "" || !exists(filepath.Join(w.Root, stockConf, place)) {
		return nil
	}
	_, r, err := w.judgeAdoption(ctx)
	if err != nil {
		return err
	}
	return refusal(r)
}

func (w *work) judgeAdoption(ctx context.Context) (*adopt.Found, *adopt.Report, error) {
	f, err := w.lookAdoption(ctx)
	if err != nil {
		return nil, nil, err
	}
	return f, adopt.Judge(w.seed.Cluster, f, parametersOf(render.Dynamic(w.seed.Cluster))), nil
}

func parametersOf(dynamic map[string]any) map[string]any {
	p, _ := dynamic["postgresql"].(map[string]any)["parameters"].(map[string]any)
	return p
}

// refusal is every reason not to adopt, as one error; nil when there is none.
func refusal(r *adopt.Report) error {
	var all []error
	for _, f := range r.Of(adopt.Refuse) {
		all = append(all, fmt.Errorf("the database is not adopted: %s\n      hint: %s", f.Text, f.Hint))
	}
	return errors.Join(all...)
}

// adopt makes the database on this machine the cluster's first one, and lets Patroni start. It may be interrupted at any
// point: what follows from the old configuration is in etcd before the database is stopped, and that configuration is
// found where it lay or where it is kept.
func (w *work) adopt(ctx context.Context, d join.Database) (let bool, err error) {
	f, r, err := w.judgeAdoption(ctx)
	if err != nil {
		return false, err
	}
	if !w.isTakenOver() {
		if err := refusal(r); err != nil {
			return false, err
		}
		for _, c := range r.Of(adopt.Change) {
			w.Say("adopt: %s", c.Text)
		}
	}
	if err := w.giveSettings(ctx, r); err != nil {
		return false, err
	}
	if err := w.stopAdopted(ctx, f); err != nil {
		return false, err
	}
	if err := w.takeOver(ctx, f); err != nil {
		return false, err
	}
	if err := w.makeReplicator(ctx, f); err != nil {
		return false, err
	}
	return true, w.letPatroni(ctx, d)
}

// giveSettings puts Patroni's dynamic configuration into etcd, with what stays of the database's own, as long as no
// Patroni has begun: with it the database starts, and every replica after it.
func (w *work) giveSettings(ctx context.Context, r *adopt.Report) error {
	dynamic := render.Bootstrap(w.seed.Cluster)
	parameters := parametersOf(dynamic)
	for name, value := range r.Parameters {
		parameters[name] = value
	}
	if len(r.Slots) > 0 {
		var slots []any
		for _, name := range r.Slots {
			slots = append(slots, map[string]any{"name": name})
		}
		dynamic["ignore_slots"] = slots // Patroni drops what it does not know
	}
	value, err := json.Marshal(dynamic)
	if err != nil {
		return err
	}
	keys := w.patroniKeys()
	err = w.api.txn(ctx, w.seed.Machine.Address,
		absent(keys+"initialize"),
		map[string]any{"request_put": map[string]any{"key": []byte(keys + "config"), "value": value}})
	if err != nil {
		return fmt.Errorf("%w: %w", errNoEtcd, err)
	}
	return nil
}

// stopAdopted stops a cluster of Debian's tools in order, after a checkpoint that nobody waits for. One that does not run
// may be on its way: it is told all the same.
func (w *work) stopAdopted(ctx context.Context, f *adopt.Found) error {
	a, err := w.begun()
	if err != nil {
		return err
	}
	again := a != nil
	if !again {
		a = &adoption{Kept: ".before-pgha-" + time.Now().UTC().Format("20060102T150405Z")}
	}
	if f.Unit != "" {
		if err := w.Runner.Run(ctx, w.adopted(f, "postgres", "CHECKPOINT")); err != nil {
			return err
		}
		a.Stopped = time.Now()
	}
	if f.Unit != "" || !again {
		if err := w.noteAdoption(a); err != nil {
			return err
		}
	}
	if f.Place == "" {
		return nil
	}
	unit := adopt.Unit(f.Place)
	if err := w.systemctl(ctx, "stop", unit); err != nil {
		return err
	}
	now, err := w.postmasterUnit()
	if err != nil {
		return err
	}
	control, err := w.controlData(ctx)
	if err != nil {
		return err
	}
	if state := control["Database cluster state"]; now != "" || f.Unit != "" && state != "shut down" {
		return fmt.Errorf("stop %s: PostgreSQL says %q of its data\n      hint: see `journalctl -u %[1]s`; pgha goes on when it is shut down", unit, state)
	}
	return nil
}

// noteAdoption notes that the adoption has begun.
func (w *work) noteAdoption(a *adoption) error {
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	note := filepath.Join(w.Root, adoptingFile)
	if err := os.MkdirAll(filepath.Dir(note), 0o755); err != nil { //nolint:gosec // holds no secret
		return err
	}
	return durable(note, append(body, '\n'))
}

// makeReplicator makes the role that Patroni looks at the timeline as before it promotes anything. In single-user mode
// nobody else gets in, and a statement that fails ends it.
func (w *work) makeReplicator(ctx context.Context, f *adopt.Found) error {
	c := w.seed.Cluster
	err := w.Runner.Run(ctx, run.Cmd{
		Args: []string{
			"runuser", "-u", "postgres", "--", filepath.Join(c.BinDir(), "postgres"), "--single", "-D", w.databaseDir(),
			"-c", "exit_on_error=on", "-c", "log_statement=none", "-c", "log_min_duration_statement=-1", "-c", "log_min_error_statement=panic",
			"-c", "password_encryption=scram-sha-256", "-c", "max_prepared_transactions=" + f.Settings.Get("max_prepared_transactions", "0"), "postgres",
		},
		Stdin: strings.NewReader(render.ReplicatorSQL(c, w.seed.Secrets)), Dir: "/",
	})
	if err != nil {
		return fmt.Errorf("make the role %s: %w", c.Postgres.ReplicationUser, err)
	}
	return nil
}

// finishAdoption makes the other roles that the cluster needs, and what the specification has and the database has not.
func (w *work) finishAdoption(ctx context.Context) error {
	a, err := w.begun()
	if err != nil || a == nil {
		return err
	}
	err = w.await(ctx, "the adopted database", condition{
		holds: func(ctx context.Context) bool {
			m, err := w.api.member(ctx, w.seed.Machine.Address)
			return err == nil && m.leads() && m.runs()
		},
		why: func(context.Context) string { return "Patroni has not promoted it yet" },
	})
	if err != nil {
		return err
	}
	pause := ""
	if !a.Stopped.IsZero() {
		pause = fmt.Sprintf(", after a pause of %.1f s", time.Since(a.Stopped).Seconds())
	}
	w.Say("the adopted database leads%s", pause)
	w.Acted = append(w.Acted, "patroni.service")
	if err := w.Runner.Run(ctx, run.Command("runuser", "-u", "postgres", "--", "/usr/lib/pgha/post-bootstrap", "dbname=postgres")); err != nil {
		return err
	}
	if a.Stopped.IsZero() { // nobody could look inside before
		w.sayCollations(ctx)
	}
	return os.Remove(filepath.Join(w.Root, adoptingFile))
}

// Adoption says what the adoption of this machine's database would do; nil when it has been adopted. It changes nothing.
func (a *Agent) Adoption(ctx context.Context) (*adopt.Report, error) {
	w, err := a.prepare()
	if err != nil {
		return nil, err
	}
	switch c := w.seed.Cluster; {
	case c.BeginsElsewhere() && (hasDatabase(w.databaseDir()) || w.seed.Machine.Role != cluster.DB):
		return nil, nil //nolint:nilnil // as the comment says
	case c.BeginsElsewhere():
		return w.judgeRemote(ctx)
	case c.Adopt.Node == "":
		return nil, fmt.Errorf("check the adoption: %s adopts nothing\n      hint: adopt: {node: %s, cluster: %d/main}", specFile, w.seed.Machine.Name, c.Postgres.Version)
	case !c.Adopts(w.seed.Machine.Name):
		return nil, fmt.Errorf("check the adoption: the database of %s is adopted, and this is %s\n      hint: run it there", c.Adopt.Node, w.seed.Machine.Name)
	case !w.adopting() || w.isTakenOver():
		return nil, nil //nolint:nilnil // as the comment says
	}
	_, r, err := w.judgeAdoption(ctx)
	return r, err
}
