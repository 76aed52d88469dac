package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/cloudinit"
	"github.com/pgbake/pgbake/cluster"
)

// seeds makes the seed of every machine, with the secrets and certificates from dir.
func (a *app) seeds(c *cluster.Cluster, dir string, o cloudinit.Options) ([]cloudinit.Seed, error) {
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
	var seeds []cloudinit.Seed
	for _, m := range c.Machines() {
		id, err := cluster.EnsureIdentity(dir, ca, c, m, time.Now())
		if err != nil {
			return nil, err
		}
		s, err := cloudinit.New(c, m, spec, secrets, id, o)
		if err != nil {
			return nil, err
		}
		seeds = append(seeds, s)
	}
	return seeds, nil
}

func (a *app) seed() *cobra.Command {
	var card string
	cmd := &cobra.Command{
		Use:   "seed",
		Short: "Write the user-data of every machine, as a NoCloud folder and as an ISO",
		Long: `Write the user-data of every machine: a NoCloud folder and the same as an ISO image to attach as a disk.
A seed holds its machine's secrets and keys: handle it like a password.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			seeds, err := a.seeds(c, a.secretsDir(), cloudinit.Options{Interface: card})
			if err != nil {
				return err
			}
			for _, s := range seeds {
				folder := filepath.Join(a.out, "seeds", s.Machine)
				if err := s.WriteFolder(folder); err != nil {
					return err
				}
				if err := s.WriteISO(folder + ".iso"); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s.iso\n", folder, folder)
			}
			a.ui.Next("attach each ISO to its machine as a disk, or paste its user-data into the cloud's form")
			return nil
		},
	}
	cmd.Flags().StringVar(&card, "interface", "", `network card that gets the address, such as "ens3" (default: by mac, else every Ethernet card)`)
	return cmd
}
