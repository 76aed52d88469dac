package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/cloudinit"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/scram"
	"github.com/pgbake/pgbake/internal/suggest"
	"github.com/pgbake/pgbake/render"
)

// seeds are what every machine is told: each its own, and all of them the generation. news says what is new in that.
type seeds struct {
	all        []cloudinit.Seed
	generation cluster.Generation
	news       []string
	sealed     cluster.Sealed
	// takes is what the news take until they are in effect on machines that run.
	takes seedNews
}

// seeds makes the seed of every machine, with the secrets and certificates from dir. Its generation is not counted yet.
func (a *app) seeds(c *cluster.Cluster, dir string, o cloudinit.Options) (*seeds, error) {
	spec, err := os.ReadFile(a.spec)
	if err != nil {
		return nil, err
	}
	spec = cluster.Bare(spec)
	if err := a.judgeChanges(c); err != nil {
		return nil, err
	}
	secrets, err := cluster.LoadSecretsFor(dir, c)
	if err != nil {
		return nil, specError{err}
	}
	sealed, err := secrets.Seal(dir, scram.Verifier)
	if err != nil {
		return nil, err
	}
	ca, err := cluster.LoadCA(dir)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	identities := map[string]cluster.Identity{}
	for _, m := range c.Machines() {
		if identities[m.Name], err = cluster.EnsureIdentity(dir, ca, c, m, now); err != nil {
			return nil, err
		}
	}
	word, news, err := cluster.NewGeneration(dir, c, spec, identities, now)
	if err != nil {
		return nil, err
	}
	made := &seeds{generation: word.Generation, news: news, sealed: sealed}
	if made.takes, err = newsFor(dir, c, sealed, news); err != nil {
		return nil, err
	}
	for _, m := range c.Machines() {
		s, err := cloudinit.New(c, m, spec, sealed, identities[m.Name], word, o)
		if err != nil {
			return nil, err
		}
		made.all = append(made.all, s)
	}
	return made, nil
}

// newsFor compares with what was seeded last. news is what the generation says.
func newsFor(dir string, c *cluster.Cluster, sealed cluster.Sealed, news []string) (n seedNews, err error) {
	before, err := cluster.LastSeeded(dir)
	if err != nil || before == nil {
		return n, err
	}
	n.changes = c.Changes(before)
	n.certificates = slices.ContainsFunc(news, func(s string) bool { return s != cluster.NewSpecification && s != cluster.BareSpecification })
	if n.members, err = sealed.NewSecrets(dir, cluster.DB); err != nil {
		return n, err
	}
	if len(c.Proxies) > 0 {
		n.proxies, err = sealed.NewSecrets(dir, cluster.Proxy)
	}
	return n, err
}

// count keeps the generation and the secrets as those that were seeded last, once place has put the seeds in their place.
func (s *seeds) count(dir string, place func() error) error {
	if err := cluster.CountGeneration(dir, s.generation, place); err != nil {
		return err
	}
	return s.sealed.CountSecrets(dir)
}

// seedForms are the values of --format.
var seedForms = []string{"cloud-init", "ignition"}

func (a *app) seed() *cobra.Command {
	var card string
	var forms, butane []string
	cmd := &cobra.Command{
		Use:   "seed",
		Short: "Write what every machine is told at its first boot: for cloud-init, or for Ignition",
		Long: `Write the seed of every machine. It holds its machine's secrets and keys: handle it like a password.

  --format cloud-init   NAME/, a NoCloud folder, and NAME.iso, the same to attach as a disk; a cloud takes NAME/user-data alone
  --format ignition     NAME.bu, Butane source to read; NAME.ign, Ignition 3.3.0 for QEMU's fw_cfg; NAME.ign.iso, the same
                        as a config drive to attach as a disk. For images that were baked with --init ignition

Both say the same. --butane merges files of your own into what Ignition gets; they may not claim what pgbake writes.

Beside them lies generation.json: what the machines of a running cluster take when it is newer than what they have,
signed with secrets/operator.key. It holds no secret. A new machine brings it along. Not everything travels that way: of each
key and secret that has changed, seed says what it takes until machines that run have it.`,
		Example: `  pgbake seed
  pgbake seed --format ignition --butane site.bu`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			if err := seedFlags(forms, butane); err != nil {
				return specError{err}
			}
			snippets, err := snippets(c, butane)
			if err != nil {
				return err
			}
			made, err := a.seeds(c, a.secretsDir(), cloudinit.Options{Interface: card})
			if err != nil {
				return err
			}
			paths, err := a.placeSeeds(filepath.Join(a.out, "seeds"), made, forms, snippets)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), strings.Join(paths, "\n"))
			if slices.Contains(forms, "cloud-init") {
				a.saySizes(made.all)
			}
			if len(made.news) == 0 && len(made.takes.secrets()) == 0 {
				a.ui.Next(seedNext(forms))
				return nil
			}
			if len(made.news) > 0 {
				a.ui.Say("generation %d: %s", made.generation.Number, strings.Join(made.news, ", "))
			}
			made.takes.say(a.ui.Say, forms)
			for _, step := range made.takes.next(forms) {
				a.ui.Next(step)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&card, "interface", "", `network card that gets the address, such as "ens3" (default: by mac, else every Ethernet card)`)
	cmd.Flags().StringSliceVar(&forms, "format", seedForms[:1], "cloud-init, ignition, or both")
	cmd.Flags().StringArrayVar(&butane, "butane", nil, "file of Butane to merge into every machine's Ignition; may be repeated")
	return cmd
}

// seedFlags tells what is wrong with the flags' values.
func seedFlags(forms, butane []string) error {
	for _, f := range forms {
		if !slices.Contains(seedForms, f) {
			return fmt.Errorf("format %q is none\n      hint: %s", f, suggest.Hint(f, seedForms))
		}
	}
	if len(butane) > 0 && !slices.Contains(forms, "ignition") {
		return errors.New("cloud-init reads no Butane\n      hint: --format ignition")
	}
	return nil
}

// placeSeeds writes every seed and the generation into dir, and counts the generation: all of that, or none. It returns the paths.
func (a *app) placeSeeds(dir string, made *seeds, forms []string, snippets cloudinit.Snippets) (paths []string, err error) {
	if err := outOfGit(dir); err != nil {
		return nil, err
	}
	s, err := stage(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	for _, one := range made.all {
		more, err := writeSeed(s.files(), one, forms, snippets)
		if err != nil {
			return nil, err
		}
		paths = append(paths, more...)
	}
	path := filepath.Join(s.files(), "generation.json")
	if err := os.WriteFile(path, made.generation.Encode(), 0o644); err != nil { //nolint:gosec // holds no secret
		return nil, err
	}
	paths = append(paths, path)
	for i := range paths {
		paths[i] = filepath.Join(dir, strings.TrimPrefix(paths[i], s.files()))
	}
	return paths, made.count(a.secretsDir(), s.place)
}

func writeSeed(dir string, s cloudinit.Seed, forms []string, snippets cloudinit.Snippets) ([]string, error) {
	var paths []string
	if slices.Contains(forms, "cloud-init") {
		folder := filepath.Join(dir, s.Machine)
		if err := s.WriteFolder(folder); err != nil {
			return nil, err
		}
		if err := s.WriteISO(folder + ".iso"); err != nil {
			return nil, err
		}
		paths = append(paths, folder, folder+".iso")
	}
	if slices.Contains(forms, "ignition") {
		i, err := s.Ignition(snippets)
		if err != nil {
			return nil, err
		}
		more, err := i.Write(dir)
		if err != nil {
			return nil, err
		}
		paths = append(paths, more...)
	}
	return paths, nil
}

// seedNext is what to do with the seeds.
func seedNext(forms []string) string {
	if slices.Contains(forms, "cloud-init") {
		return "attach each ISO to its machine as a disk, or paste its user-data into the cloud's form"
	}
	return "give each NAME.ign to its machine by fw_cfg, or attach NAME.ign.iso as a disk: BOOT.txt beside the image says how"
}

// saySizes says whose user-data is compressed, and whose is too large for some cloud.
func (a *app) saySizes(all []cloudinit.Seed) {
	var compressed []string
	for _, s := range all {
		if s.Compressed() {
			compressed = append(compressed, fmt.Sprintf("%s (%d bytes)", s.Machine, len(s.UserData)))
		}
	}
	if len(compressed) > 0 {
		a.ui.Say("user-data compressed by gzip, since %s takes %d bytes: %s; `zcat` shows it, a form that takes text gets the output of `base64 -w0`",
			cloudinit.EC2.Cloud, cloudinit.EC2.Bytes, strings.Join(compressed, ", "))
	}
	for _, s := range all {
		var clouds []string
		for _, l := range s.TooLarge() {
			in := ""
			if l.Base64 {
				in = " in base64"
			}
			clouds = append(clouds, fmt.Sprintf("%s (%d%s)", l.Cloud, l.Bytes, in))
		}
		if len(clouds) > 0 {
			a.ui.Say("warning: user-data of %s has %d bytes, compressed: too many for %s\n"+
				"      hint: attach %[1]s.iso, which has no limit; or let cluster.yaml have fewer or shorter ssh_keys, packages.key and postgres.mirror.key",
				s.Machine, len(s.UserData), strings.Join(clouds, ", "))
		}
	}
}

// snippets reads the operator's Butane for every machine. What pgha writes there is not theirs.
func snippets(c *cluster.Cluster, files []string) (cloudinit.Snippets, error) {
	if len(files) == 0 {
		return nil, nil
	}
	taken, err := render.Paths(c, c.Machines())
	if err != nil {
		return nil, err
	}
	return cloudinit.ReadSnippets(files, taken)
}
