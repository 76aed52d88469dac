package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
)

const (
	// generationFile and operatorFile are the seed's.
	generationFile = seedDir + "/generation.json"
	operatorFile   = seedDir + "/operator.pub"
	// takenFile is the newest generation that this machine has taken since. It is not where the seed's files are, which a
	// boot with older user-data brings back.
	takenFile = "/var/lib/pgha/generation.json"
	// removedFile tells that this machine is a member no longer.
	removedFile = "/var/lib/pgha/removed"
)

const newSeedHint = "\n      hint: give this machine the user-data that `pgbake seed` makes now, and boot it anew"

// readGenerations reads what this machine's seed brought, completed by the seed's other files, and what it has taken
// since; number 0 where there is none. What the seed's operator has not signed was not taken from them.
func readGenerations(root string) (seed, taken cluster.Generation, err error) {
	operator, err := os.ReadFile(filepath.Join(root, operatorFile))
	if errors.Is(err, fs.ErrNotExist) {
		return seed, taken, nil // an older pgbake made the seed
	}
	if err != nil {
		return seed, taken, err
	}
	switch body, err := os.ReadFile(filepath.Join(root, generationFile)); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return seed, taken, err
	default:
		if seed, err = cluster.ReadGeneration(body, operator); err != nil {
			return seed, taken, fmt.Errorf("%s: %w", generationFile, err)
		}
		seed = withOwn(root, seed)
	}
	switch body, err := os.ReadFile(filepath.Join(root, takenFile)); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return seed, taken, err
	default:
		if g, err := cluster.ReadGeneration(body, operator); err == nil {
			taken = withOwn(root, g)
		}
	}
	return seed, taken, nil
}

// readGeneration reads the newest generation that this machine has.
func readGeneration(root string) (cluster.Generation, error) {
	seed, taken, err := readGenerations(root)
	if taken.Compare(seed) > 0 {
		return taken, err
	}
	return seed, err
}

// withOwn completes a generation by the machine's own files, where they are the ones that were signed.
func withOwn(root string, g cluster.Generation) cluster.Generation {
	name, _ := machineName(root)
	if len(g.Lacks(name)) == 0 {
		return g
	}
	id, _ := readIdentity(root) // what cannot be read completes nothing
	spec, _ := os.ReadFile(filepath.Join(root, specFile))
	return g.With(spec, id["ca.crt"], name, cluster.CertificatesOf(id))
}

// lists tells whether a generation's specification has a machine.
func lists(g cluster.Generation, name string) bool {
	c, err := cluster.ParseTaken(generationFile, g.Specification)
	if err != nil {
		return false
	}
	_, ok := c.Machine(name)
	return ok
}

// take keeps a generation that is newer than what this machine has, for the next apply. What it cannot take it refuses
// with the reason, and nothing is changed. news is false when it says nothing new to this machine.
func (a *Agent) take(body []byte) (g cluster.Generation, news bool, err error) {
	operator, err := os.ReadFile(filepath.Join(a.Root, operatorFile))
	if err != nil {
		return g, false, fmt.Errorf("read the operator's key: %w%s", err, newSeedHint)
	}
	if g, err = cluster.ReadGeneration(body, operator); err != nil {
		return g, false, err
	}
	seed, err := ReadSeed(a.Root)
	if err != nil {
		return g, false, err
	}
	mine, err := readGeneration(a.Root)
	if err != nil {
		return g, false, err
	}
	g = withOwn(a.Root, g)
	switch {
	case g.Scope != seed.Cluster.Scope:
		return g, false, fmt.Errorf("generation %d is of cluster %s, not of %s", g.Number, g.Scope, seed.Cluster.Scope)
	case g.Number < mine.Number:
		return g, false, fmt.Errorf("generation %d is older than the one that %s has, %d", g.Number, seed.Machine.Name, mine.Number)
	case g.Compare(mine) <= 0:
		return g, false, nil
	case g.Number > mine.Number:
		if err := seed.canTake(g, a.Root); err != nil {
			return g, false, fmt.Errorf("generation %d is not for %s: %w", g.Number, seed.Machine.Name, err)
		}
	}
	path := filepath.Join(a.Root, takenFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // holds no secret
		return g, false, err
	}
	return g, g.Number > mine.Number, durable(path, g.Encode())
}

// canTake tells whether the machine has all that it needs to become what g says: secrets and keys do not travel.
func (s *Seed) canTake(g cluster.Generation, root string) error {
	if lacks := g.Lacks(s.Machine.Name); len(lacks) > 0 {
		return fmt.Errorf("this copy of it lacks %s\n      hint: on any one machine: pgha spec accept generation.json, the one that `pgbake seed` wrote beside the seeds", strings.Join(lacks, " and "))
	}
	c, err := cluster.ParseTaken(fmt.Sprintf("generation %d", g.Number), g.Specification)
	if err != nil {
		return fmt.Errorf("this machine's pgha does not understand it; are its packages older than that pgbake?\n%w", err)
	}
	m, listed := c.Machine(s.Machine.Name)
	switch {
	case !listed:
		return nil
	case m.Role != s.Machine.Role || m.Address != s.Machine.Address:
		return fmt.Errorf("it makes a %s at %s of the %s at %s%s", m.Role, m.Address, s.Machine.Role, s.Machine.Address, newSeedHint)
	}
	// Another member may have left and come again at another address, by generations that this machine has missed.
	wrong := slices.DeleteFunc(c.Refused(fmt.Sprintf("generation %d", g.Number), s.Cluster), func(p cluster.Problem) bool { return strings.HasPrefix(p.Path, "nodes[") })
	if len(wrong) > 0 {
		return wrong
	}
	if err := s.staysOnItsDisk(c, root); err != nil {
		return err
	}
	if err := s.Secrets.Check(c, m.Role); err != nil {
		what, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "check secrets: "), " (")
		return fmt.Errorf("%s here, and secrets do not travel%s", what, newSeedHint)
	}
	next := s.with(c, m, g)
	if err := cluster.CertificatesOf(next.Identity).Fits(next.Identity); err != nil {
		return fmt.Errorf("%w%s", err, newSeedHint)
	}
	_, err = next.Files(root)
	return err
}

// staysOnItsDisk refuses to look for a database on another disk than the one that it is on.
func (s *Seed) staysOnItsDisk(c *cluster.Cluster, root string) error {
	had, has := s.Cluster.Storage.DataDisk, c.Storage.DataDisk
	if s.Machine.Role != cluster.DB || (had == "") == (has == "") || !hasDatabase(filepath.Join(root, s.Cluster.DataDir())) {
		return nil
	}
	return fmt.Errorf("its storage.data_disk is %q, this machine's is %q, and its database stays on the disk that it is on\n"+
		"      hint: leave storage.data_disk as it was", has, had)
}

// with is the seed as the generation changes it.
func (s *Seed) with(c *cluster.Cluster, m cluster.Machine, g cluster.Generation) *Seed {
	next := &Seed{Cluster: c, Machine: m, Secrets: s.Secrets, Identity: cluster.Identity{}}
	for name, body := range s.Identity {
		next.Identity[name] = body
	}
	next.Identity["ca.crt"] = g.Authorities
	for name, body := range g.Certificates[m.Name] {
		next.Identity[name] = body
	}
	return next
}

// unpack puts the newest generation that this machine has taken where its seed's files are, unless the seed is as new: a
// boot with older user-data does not turn the machine back. A generation that does not list the machine changes none of
// its files: it goes on as it is until it is removed.
func (a *Agent) unpack() error {
	seed, taken, err := readGenerations(a.Root)
	if err != nil || taken.Number <= seed.Number {
		return err
	}
	name, err := machineName(a.Root)
	if err != nil {
		return err
	}
	if !lists(taken, name) {
		return nil
	}
	public := func(path string, body []byte) rootfs.File { return rootfs.File{Path: path, Mode: 0o644, Body: body} }
	files := []rootfs.File{public(tlsDir+"/ca.crt", taken.Authorities)}
	for file, body := range taken.Certificates[name] {
		files = append(files, public(tlsDir+"/"+file, body))
	}
	// Last what says that it is done.
	files = append(files, public(specFile, taken.Specification), public(generationFile, taken.Bare().Encode()))
	// The follower has read the seed when it started.
	p := pending{file: filepath.Join(a.Root, pendingFile)}
	p.add(followUnit, true)
	if err := p.save(); err != nil {
		return err
	}
	changed, err := rootfs.Write(a.Root, files)
	for _, f := range changed {
		a.Say("wrote %s, of generation %d", f.Path, taken.Number)
	}
	return err
}

// leftOut says that this machine is none of the cluster's any more.
func leftOut(name string, g cluster.Generation) error {
	return fmt.Errorf("%s was removed from cluster %s, and generation %d of its specification does not list it: nothing is started, and its data is kept\n"+
		"      hint: to take it in again, put it into cluster.yaml, run `pgbake seed`, and boot this machine with the user-data made then", name, g.Scope, g.Number)
}

// refuseRemoved keeps a machine that was removed from starting anything, until a generation lists it again.
func (a *Agent) refuseRemoved() error {
	mark := filepath.Join(a.Root, removedFile)
	if !exists(mark) {
		return nil
	}
	g, err := readGeneration(a.Root)
	if err != nil {
		return err
	}
	name, err := machineName(a.Root)
	if err != nil {
		return err
	}
	if !lists(g, name) {
		return leftOut(name, g)
	}
	return os.Remove(mark)
}
