package agent

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pgbake/pgbake/agent/adopt"
	"github.com/pgbake/pgbake/agent/join"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/render"
)

//go:embed adoptremote.sql
var remoteSQL string

// remoteTime is how long a primary elsewhere may take to answer.
const remoteTime = 20 * time.Second

// askRemote asks the primary elsewhere, as the role that streams.
func (w *work) askRemote(ctx context.Context, query string) ([]byte, error) {
	return w.askRemoteTrusting(ctx, remoteTrustFile, query)
}

// askRemoteTrusting is askRemote with a file of its own for the authority: two programs that write the same one disturb each other.
func (w *work) askRemoteTrusting(ctx context.Context, file, query string) ([]byte, error) {
	s, r := w.seed, w.seed.Cluster.Adopt.Remote
	trust := ""
	if r.SSLMode.Verifies() {
		// Not the file in /etc/patroni: the check comes before any file is written. Nor one that is there: /run is empty after a boot.
		trust = filepath.Join(w.Root, file)
		if err := os.MkdirAll(filepath.Dir(trust), 0o755); err != nil { //nolint:gosec // holds no secret
			return nil, err
		}
		if err := replace(trust, []byte(r.CA), 0o644); err != nil {
			return nil, err
		}
	}
	env := []string{
		"PGHOST=" + r.Host, fmt.Sprintf("PGPORT=%d", r.Port), "PGUSER=" + s.Cluster.Postgres.ReplicationUser, "PGDATABASE=postgres",
		"PGPASSWORD=" + s.Secrets.Replicator, "PGSSLMODE=" + string(r.SSLMode), "PGSSLROOTCERT=" + trust, "PGCONNECT_TIMEOUT=5", pgOptions(),
		// There is none. libpq would look into root's home for one, and gives up where it may not, as in the monitor's sandbox.
		"PGSSLCERT=/nonexistent",
	}
	return w.Runner.Output(ctx, run.Cmd{
		Args: psql(filepath.Join(s.Cluster.BinDir(), "psql"), "-v", "slot="+s.Cluster.RemoteSlot()),
		Env:  env, Stdin: strings.NewReader(query), Dir: "/",
	})
}

// remoteTrustFile is the authority that has signed the certificate of the primary elsewhere.
const remoteTrustFile = "/run/pgha/remote-ca.crt"

// lookRemote asks the primary elsewhere what it is.
func (w *work) lookRemote(ctx context.Context) (*adopt.Remote, error) {
	c := w.seed.Cluster
	ctx, cancel := context.WithTimeout(ctx, remoteTime)
	defer cancel()
	out, err := w.askRemote(ctx, remoteSQL)
	if err != nil {
		return nil, &unreachable{fmt.Errorf("ask the primary at %s: %w\n      hint: `pgbake adopt` says what it needs: a role, and lines of pg_hba.conf for each member", c.Adopt.Remote.Host, err)}
	}
	var f adopt.Remote
	if err := decode(out, &f, "psql"); err != nil {
		return nil, err
	}
	if err := w.compareLocales(ctx, f.Inside); err != nil {
		return nil, err
	}
	settings := adopt.Settings{}
	for name, value := range f.Parameters {
		settings[name] = adopt.Setting{Value: value}
	}
	if f.Libraries, err = w.strangeLibraries(ctx, settings); err != nil {
		return nil, err
	}
	f.Free, err = roomFor(w.databaseDir())
	return &f, err
}

// unreachable is a primary elsewhere that does not answer, as it may do later.
type unreachable struct{ error }

// compareLocales puts this machine's libc in the place of the other one's: who sorts texts here, and not there, counts.
func (w *work) compareLocales(ctx context.Context, in *adopt.Inside) error {
	out, err := w.Runner.Output(ctx, run.Command("getconf", "GNU_LIBC_VERSION")) // "glibc 2.36"
	if err != nil {
		return err
	}
	words := strings.Fields(string(out))
	for i := range in.Databases {
		d := &in.Databases[i]
		if d.Provider == "c" && d.Recorded != "" && len(words) == 2 {
			d.Actual = words[1]
		}
	}
	return nil
}

// roomFor is how much room there is for a directory that need not be there yet, in bytes.
func roomFor(dir string) (uint64, error) {
	var room syscall.Statfs_t
	err := syscall.Statfs(dir, &room)
	for errors.Is(err, syscall.ENOENT) && dir != "/" {
		dir = filepath.Dir(dir)
		err = syscall.Statfs(dir, &room)
	}
	return room.Bavail * uint64(room.Bsize), err //nolint:gosec // a block size is positive
}

// beginElsewhere lets Patroni copy the primary elsewhere, once that answers and can be copied. why says what is missing.
func (w *work) beginElsewhere(ctx context.Context, d join.Database) (let bool, why string, err error) {
	r, err := w.judgeRemote(ctx)
	var silent *unreachable
	if errors.As(err, &silent) {
		return false, err.Error(), ctx.Err()
	}
	if err == nil {
		err = refusal(r)
	}
	if err != nil {
		return false, "", err
	}
	err = w.giveSettings(ctx, r)
	if errors.Is(err, errNoEtcd) {
		return false, err.Error(), ctx.Err()
	}
	if err != nil {
		return false, "", err
	}
	for _, c := range r.Of(adopt.Change) {
		w.Say("adopt: %s", c.Text)
	}
	return true, "", w.letPatroni(ctx, d)
}

func (w *work) judgeRemote(ctx context.Context) (*adopt.Report, error) {
	f, err := w.lookRemote(ctx)
	if err != nil {
		return nil, err
	}
	return adopt.JudgeRemote(w.seed.Cluster, f, parametersOf(render.Dynamic(w.seed.Cluster))), nil
}

// Following is a primary elsewhere that the cluster follows.
type Following struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

// following asks Patroni's configuration whether the cluster follows a primary elsewhere at this moment; nil when it does not.
func (a *api) following(ctx context.Context, addr netip.Addr) (*Following, error) {
	if !a.c.BeginsElsewhere() {
		return nil, nil //nolint:nilnil // as the comment says
	}
	var dynamic struct {
		Standby *Following `json:"standby_cluster"`
	}
	return dynamic.Standby, a.do(ctx, http.MethodGet, a.patroni(addr, "/config"), nil, &dynamic)
}

// stillFollows tells whether there is no primary here, and none is to be waited for.
func (w *work) stillFollows(ctx context.Context) bool {
	if !w.seed.Cluster.BeginsElsewhere() {
		return false
	}
	for _, n := range w.seed.Cluster.Nodes {
		if f, err := w.api.following(ctx, n.Address); err == nil {
			return f != nil
		}
	}
	return false
}
