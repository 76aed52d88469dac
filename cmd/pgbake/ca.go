package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/cluster"
)

func (a *app) ca() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Show the certificate authority, or replace it while the cluster runs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ca, err := cluster.LoadCA(a.secretsDir())
			if err != nil {
				return err
			}
			at, all, err := ca.Rotation(a.secretsDir())
			if err != nil {
				return err
			}
			if err := authorities(cmd.OutOrStdout(), all); err != nil {
				return err
			}
			if at != cluster.Single {
				a.ui.Next(a.rotationNext(at))
			}
			return nil
		},
	}
	cmd.AddCommand(a.rotate())
	return cmd
}

func (a *app) rotate() *cobra.Command {
	var status string
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Take the next of three steps from one authority to another",
		Long: `Take the next of three steps from one authority to another, while the cluster runs and nobody notices:

  1. a second authority is made; both are trusted, the first one signs
  2. both are trusted, the second one signs
  3. the second one alone is trusted

Each step is followed by "pgbake seed" and its way to the machines. The second and the third are refused until every
machine says that it has the one before: pipe in what "pgha status --json" prints on any member.
Machines keep their keys, and no secret travels. Clients need the new secrets/ca.crt before the second step.
The old key and certificate stay in secrets/ under names of their own.`,
		Example: `  pgbake ca rotate
  ssh db1 sudo pgha status --json | pgbake ca rotate --status -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			said, err := readTrust(cmd.InOrStdin(), status)
			if err != nil {
				return err
			}
			at, err := cluster.RotateCA(a.secretsDir(), c, said, time.Now())
			if err != nil {
				return fmt.Errorf("%w%s", err, a.rotationHint(at, c))
			}
			ca, err := cluster.LoadCA(a.secretsDir())
			if err != nil {
				return err
			}
			_, all, err := ca.Rotation(a.secretsDir())
			if err != nil {
				return err
			}
			if err := authorities(cmd.OutOrStdout(), all); err != nil {
				return err
			}
			a.ui.Next(a.rotationNext(at))
			return nil
		},
	}
	cmd.Flags().StringVar(&status, "status", "", `file with what "pgha status --json" printed on a member; "-" for standard input`)
	return cmd
}

// readTrust reads what the machines say of themselves out of pgha's status.
func readTrust(in io.Reader, path string) ([]cluster.Trust, error) {
	var body []byte
	var err error
	switch path {
	case "":
		return nil, nil
	case "-":
		body, err = io.ReadAll(in)
	default:
		body, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	var s struct {
		Certificates []cluster.Trust `json:"certificates"`
	}
	switch err := json.Unmarshal(body, &s); {
	case err != nil:
		return nil, fmt.Errorf("read the status: %w", err)
	case len(s.Certificates) == 0:
		return nil, errors.New("read the status: no machine's certificates are in it\n      hint: it is what `pgha status --json` prints on a member")
	}
	return s.Certificates, nil
}

// rotationNext is what a person does after a step.
func (a *app) rotationNext(at cluster.Rotation) string {
	seed := a.self() + " seed, and let the machines have it; "
	switch at {
	case cluster.Announced:
		return seed + "give clients the new " + a.secretsDir() + "/ca.crt; then the second step: " + a.rotateLine()
	case cluster.Succeeded:
		return seed + "then the third step: " + a.rotateLine()
	}
	return seed + "give clients the new " + a.secretsDir() + "/ca.crt"
}

// rotationHint is what a person does after a refusal.
func (a *app) rotationHint(at cluster.Rotation, c *cluster.Cluster) string {
	if at == cluster.Single {
		return ""
	}
	return fmt.Sprintf("\n      hint: `sudo pgha status` on %s says who trusts whom; %s", c.Nodes[0].Name, a.rotationNext(at))
}

func (a *app) rotateLine() string {
	return "ssh MEMBER sudo pgha status --json | " + a.self() + " ca rotate --status -"
}

func authorities(out io.Writer, all []cluster.Authority) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "AUTHORITY\tDOES\tUNTIL")
	for _, one := range all {
		does := []string{"is trusted"}
		if one.Signs {
			does = append(does, "signs")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", one.ID, strings.Join(does, ", "), one.To.Format(time.DateOnly))
	}
	return w.Flush()
}
