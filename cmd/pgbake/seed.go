package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/cloudinit"
	"github.com/pgbake/pgbake/cluster"
)

// seeds are what every machine is told: each its own, and all of them the generation. news says what is new in that.
type seeds struct {
	all        []cloudinit.Seed
	generation cluster.Generation
	news       []string
}

// seeds makes the seed of every machine, with the secrets and certificates from dir.
func (a *app) seeds(c *cluster.Cluster, dir string, o cloudinit.Options) (*seeds, error) {
	spec, err := os.ReadFile(a.spec)
	if err != nil {
		return nil, err
	}
	secrets, err := cluster.LoadSecrets(dir)
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
	made := &seeds{generation: word.Generation, news: news}
	for _, m := range c.Machines() {
		s, err := cloudinit.New(c, m, spec, secrets, identities[m.Name], word, o)
		if err != nil {
			return nil, err
		}
		made.all = append(made.all, s)
	}
	return made, nil
}

func (a *app) seed() *cobra.Command {
	var card string
	cmd := &cobra.Command{
		Use:   "seed",
		Short: "Write the user-data of every machine, as a NoCloud folder and as an ISO",
		Long: `Write the user-data of every machine: a NoCloud folder and the same as an ISO image to attach as a disk.
A seed holds its machine's secrets and keys: handle it like a password.

Beside them lies generation.json: what the machines of a running cluster take when it is newer than what they have,
signed with secrets/operator.key. It holds no secret. A new machine brings it along.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			made, err := a.seeds(c, a.secretsDir(), cloudinit.Options{Interface: card})
			if err != nil {
				return err
			}
			for _, s := range made.all {
				folder := filepath.Join(a.out, "seeds", s.Machine)
				if err := s.WriteFolder(folder); err != nil {
					return err
				}
				if err := s.WriteISO(folder + ".iso"); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s.iso\n", folder, folder)
			}
			path := filepath.Join(a.out, "seeds", "generation.json")
			if err := os.WriteFile(path, made.generation.Encode(), 0o644); err != nil { //nolint:gosec // holds no secret
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), path)
			if len(made.news) == 0 {
				a.ui.Next("attach each ISO to its machine as a disk, or paste its user-data into the cloud's form")
				return nil
			}
			a.ui.Say("generation %d: %s", made.generation.Number, strings.Join(made.news, ", "))
			a.ui.Next("boot machines that are new from their seeds; or, on any one machine that runs: pgha spec accept generation.json")
			return nil
		},
	}
	cmd.Flags().StringVar(&card, "interface", "", `network card that gets the address, such as "ens3" (default: by mac, else every Ethernet card)`)
	return cmd
}
