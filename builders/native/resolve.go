package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/suggest"
	"github.com/pgbake/pgbake/internal/ui"
)

// ResolveOptions are what Resolve asks apt for.
type ResolveOptions struct {
	Runner run.Runner
	UI     *ui.UI
	Cache  string
	// Cluster names the release and the archive of PostgreSQL.
	Cluster *cluster.Cluster
	// Images are those that the lock is to hold, of one architecture; those of one init stand together.
	Images []images.Image
	// Sources are Debian's archives; those of this host's apt when nil.
	Sources []Source
}

// layerLoaders is the name of the layer that no machine has.
const layerLoaders = "loaders"

// Resolve asks this host's apt, in a configuration of its own, which packages the images consist of now. apt checks
// the archives' signatures; what the host has installed, pinned or configured has no part in the answer.
func Resolve(ctx context.Context, o ResolveOptions) (*Lock, error) {
	if len(o.Images) == 0 {
		return nil, errors.New("resolve packages: no image given")
	}
	l := &Lock{Format: lockFormat, Release: o.Cluster.Debian, Arch: o.Images[0].Arch, Sources: slices.Clone(o.Sources)}
	if l.Sources == nil {
		var err error
		if l.Sources, err = debianSources(ctx, o.Runner, l.Release); err != nil {
			return nil, err
		}
	}
	a, err := openApt(ctx, o, l)
	if err != nil {
		return nil, fmt.Errorf("resolve packages: %w", err)
	}
	defer a.lock.Close() //nolint:errcheck // closing is unlocking
	if err := l.resolve(ctx, a, o); err != nil {
		return nil, fmt.Errorf("resolve packages: %w", err)
	}
	return l, nil
}

func (l *Lock) resolve(ctx context.Context, a *apt, o ResolveOptions) error {
	if err := a.update(ctx, l); err != nil {
		return err
	}
	postgres, err := postgresSource(o.Cluster)
	if err != nil {
		return err
	}
	if postgres != nil {
		if postgres.URI == "" {
			if postgres.URI, postgres.Key, err = a.pgdg(ctx); err != nil {
				return err
			}
		}
		l.Sources = append(l.Sources, *postgres)
		if err := a.update(ctx, l); err != nil {
			return err
		}
	}
	bases := map[string]bool{}
	for _, i := range o.Images {
		below, name := i.Layers()
		if !bases[below] {
			base, err := a.base(ctx, below, i)
			if err != nil {
				return err
			}
			l.Layers = append(l.Layers, base)
			if len(bases) == 0 {
				loaders, err := a.only(ctx, layerLoaders, i.Loaders())
				if err != nil {
					return err
				}
				l.Layers = append(l.Layers, loaders)
			}
			// The roles are resolved as if the base were installed: what a role needs can never differ from what it stands on.
			if err := a.install(ctx, base.Packages); err != nil {
				return err
			}
			bases[below] = true
		}
		role, err := a.closure(ctx, name, i.Packages())
		if err != nil {
			return err
		}
		l.Layers = append(l.Layers, role)
	}
	return l.check()
}

// base resolves a base, on a machine that has nothing.
func (a *apt) base(ctx context.Context, name string, i images.Image) (Packages, error) {
	if err := a.install(ctx, nil); err != nil {
		return Packages{}, err
	}
	return a.closure(ctx, name, baseWants(i), "?essential", "?priority(required)")
}

// baseWants are the names that make the base, besides those that every Debian has.
func baseWants(i images.Image) []string {
	wants := append(i.Base(), "apt")
	if i.Release == 12 {
		wants = append(wants, "usr-is-merged") // else apt takes usrmerge, which converts a system and brings Perl modules
	}
	slices.Sort(wants)
	return wants
}

// apt is the host's apt-get with a configuration, lists and a dpkg status of its own.
type apt struct {
	run  run.Runner
	dir  string
	lock *os.File
}

func openApt(ctx context.Context, o ResolveOptions, l *Lock) (*apt, error) {
	a := &apt{run: o.Runner, dir: filepath.Join(o.Cache, "apt", fmt.Sprintf("%d-%s", l.Release, l.Arch))}
	for _, d := range []string{"lists/partial", "cache/archives/partial", "state", "keys"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil { //nolint:gosec // nothing secret
			return nil, err
		}
	}
	var err error
	if a.lock, err = flock(ctx, filepath.Join(a.dir, "lock"), unix.LOCK_EX); err != nil {
		return nil, err
	}
	// What the host says about reaching archives holds for us as well: its proxies and certificates.
	host, err := o.Runner.Output(ctx, run.Command("apt-config", "dump", "Acquire"))
	if err != nil {
		a.lock.Close() //nolint:errcheck // closing is unlocking
		return nil, err
	}
	var b bytes.Buffer
	for line := range strings.Lines(string(host)) {
		if strings.HasPrefix(line, "Acquire::http::") || strings.HasPrefix(line, "Acquire::https::") {
			b.WriteString(line)
		}
	}
	for _, kv := range [][2]string{
		{"APT::Architecture", l.Arch}, {"APT::Architectures::", l.Arch},
		{"APT::Sandbox::User", "root"}, {"APT::Install-Recommends", "false"}, {"APT::Update::Error-Mode", "any"},
		{"Acquire::Languages", "none"}, {"Acquire::ForceHash", "SHA256"}, {"Acquire::Retries", "3"},
		{"Dir::Etc::main", "/dev/null"}, {"Dir::Etc::parts", "/dev/null"}, {"Dir::Etc::sourceparts", "/dev/null"},
		{"Dir::Etc::preferences", "/dev/null"}, {"Dir::Etc::preferencesparts", "/dev/null"},
		{"Dir::Etc::trusted", "/dev/null"}, {"Dir::Etc::trustedparts", "/dev/null"},
		{"Dir::Etc::sourcelist", filepath.Join(a.dir, "sources.list")}, {"Dir::State", filepath.Join(a.dir, "state")},
		{"Dir::State::lists", filepath.Join(a.dir, "lists")}, {"Dir::State::status", filepath.Join(a.dir, "status")},
		{"Dir::Cache", filepath.Join(a.dir, "cache")}, {"Debug::NoLocking", "true"},
	} {
		fmt.Fprintf(&b, "%s %q;\n", kv[0], kv[1])
	}
	if err := os.WriteFile(filepath.Join(a.dir, "apt.conf"), b.Bytes(), 0o644); err != nil { //nolint:gosec // as above
		a.lock.Close() //nolint:errcheck // closing is unlocking
		return nil, err
	}
	return a, nil
}

func (a *apt) output(ctx context.Context, args ...string) ([]byte, error) {
	c := run.Command(args...)
	c.Env = []string{"APT_CONFIG=" + filepath.Join(a.dir, "apt.conf"), "LC_ALL=C.UTF-8"}
	return a.run.Output(ctx, c)
}

// update reads the archives' lists anew.
func (a *apt) update(ctx context.Context, l *Lock) error {
	var b strings.Builder
	for i, s := range l.Sources {
		key := debianKeyring
		if s.Key != "" {
			key = filepath.Join(a.dir, "keys", fmt.Sprintf("%d.asc", i))
			if err := os.WriteFile(key, []byte(s.Key), 0o644); err != nil { //nolint:gosec // a public key
				return err
			}
		} else if _, err := os.Stat(key); err != nil {
			return fmt.Errorf("%w\n      hint: apt-get install debian-archive-keyring", err)
		}
		fmt.Fprintf(&b, "deb [arch=%s signed-by=%s] %s %s main\n", l.Arch, key, s.URI, s.Suite)
	}
	files := map[string]string{"sources.list": b.String(), "status": ""}
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(body), 0o644); err != nil { //nolint:gosec // as above
			return err
		}
	}
	_, err := a.output(ctx, "apt-get", "update", "-qq")
	return err
}

// closure is what installing the wanted names would install, theirs and all that they need.
func (a *apt) closure(ctx context.Context, name string, wants []string, patterns ...string) (Packages, error) {
	args := slices.Concat([]string{"apt-get", "install", "-qq", "--yes", "--print-uris"}, patterns, wants)
	return a.packages(ctx, name, wants, args)
}

// only is just the wanted packages, without what they need.
func (a *apt) only(ctx context.Context, name string, wants []string) (Packages, error) {
	return a.packages(ctx, name, wants, slices.Concat([]string{"apt-get", "download", "-qq", "--print-uris"}, wants))
}

func (a *apt) packages(ctx context.Context, name string, wants, args []string) (Packages, error) {
	out, err := a.output(ctx, args...)
	if err != nil {
		return Packages{}, a.explain(ctx, err)
	}
	p := Packages{Name: name, Want: wants}
	for line := range strings.Lines(string(out)) {
		if one, err := parseURI(line); err != nil {
			return p, err
		} else if one != nil {
			p.Packages = append(p.Packages, *one)
		}
	}
	slices.SortFunc(p.Packages, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	return p, nil
}

// parseURI reads a line of --print-uris: 'URI' name_version_arch.deb size SHA256:sum. Anything else is nil.
func parseURI(line string) (*Package, error) {
	f := strings.Fields(line)
	if len(f) != 4 || !strings.HasPrefix(f[0], "'") {
		return nil, nil //nolint:nilnil // apt's talk
	}
	file, err := url.PathUnescape(strings.TrimSuffix(f[1], ".deb"))
	if err != nil {
		return nil, fmt.Errorf("read apt's answer %q: %w", line, err)
	}
	parts, sum := strings.Split(file, "_"), strings.TrimPrefix(f[3], "SHA256:")
	size, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil || len(parts) != 3 || len(sum) != 64 {
		return nil, fmt.Errorf("read apt's answer %q: no name, size or sha256", line)
	}
	return &Package{
		Name: parts[0], Version: parts[1], Arch: parts[2], Size: size, SHA256: sum,
		URI: strings.Trim(f[0], "'"),
	}, nil
}

// explain adds to apt's complaint about an unknown package the one that was probably meant.
func (a *apt) explain(ctx context.Context, err error) error {
	_, after, found := strings.Cut(err.Error(), "Unable to locate package ")
	if !found {
		return err
	}
	name, _, _ := strings.Cut(after, "\n")
	names, listErr := a.output(ctx, "apt-cache", "pkgnames")
	if listErr != nil {
		return err
	}
	unknown := fmt.Errorf("package %s: no archive has it", name)
	if near := suggest.Nearest(name, strings.Fields(string(names))); near != "" {
		return fmt.Errorf("%w (did you mean %q?)", unknown, near)
	}
	return unknown
}

// install makes the packages the installed ones in apt's eyes.
func (a *apt) install(ctx context.Context, packages []Package) error {
	if len(packages) == 0 {
		return os.WriteFile(filepath.Join(a.dir, "status"), nil, 0o644) //nolint:gosec // nothing secret
	}
	args := []string{"apt-cache", "show", "--no-all-versions"}
	for _, p := range packages {
		args = append(args, p.Name+"="+p.Version)
	}
	out, err := a.output(ctx, args...)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	seen := map[string]bool{}
	for stanza := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n\n") {
		name, rest, _ := strings.Cut(stanza, "\n") // the first field is Package
		if !seen[name] {
			fmt.Fprintf(&b, "%s\nStatus: install ok installed\n%s\n\n", name, rest)
		}
		seen[name] = true
	}
	if len(seen) != len(packages) {
		return fmt.Errorf("apt-cache knows %d of %d packages", len(seen), len(packages))
	}
	return os.WriteFile(filepath.Join(a.dir, "status"), b.Bytes(), 0o644) //nolint:gosec // as above
}

// pgdg is the address and the key of PGDG's archive, out of Debian's own package, which apt has checked.
func (a *apt) pgdg(ctx context.Context) (uri, key string, err error) {
	p, err := a.only(ctx, "", []string{"postgresql-common"})
	if err != nil {
		return "", "", err
	}
	cache := filepath.Join(a.dir, "..", "..")
	work, remove, err := Work(cache)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, remove()) }()
	s := store{run: a.run, dir: filepath.Join(cache, "debs"), work: work}
	if err := s.fill(ctx, p.Packages, false); err != nil {
		return "", "", err
	}
	err = contents(ctx, s.path(p.Packages[0]), func(e entry) error {
		if e.name != pgdgScript && e.name != pgdgKey {
			return nil
		}
		body, err := io.ReadAll(e.body)
		if e.name == pgdgKey {
			key = string(body)
		} else if m := pgdgHost.FindSubmatch(body); m != nil {
			uri = fmt.Sprintf("https://%s/pub/repos/apt", m[1])
		}
		return err
	})
	if err == nil && (uri == "" || key == "") {
		err = fmt.Errorf("it has no address in %s or no %s", pgdgScript, pgdgKey)
	}
	if err != nil {
		return "", "", fmt.Errorf("read PGDG's address and key out of postgresql-common: %w", err)
	}
	return uri, key, nil
}
