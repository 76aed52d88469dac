package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func needRoot(o *options, what string) error {
	if os.Geteuid() != 0 && o.root == "/" {
		return fmt.Errorf("%s: this needs root\n      hint: sudo pgha %[1]s", what)
	}
	return nil
}

func bootstrap(o *options) *cobra.Command {
	var known bool
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Order a new cluster where pgha waits for machines that are gone for good",
		Long: `Order a new cluster where pgha waits for machines that are gone for good.

Machines without data never begin a new cluster when there may be another one with data: they wait, and say for whom.
This order says that there is none. More than half of the members must be here; it is refused while one that answers
has data, and lasts until this machine is switched off.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !known {
				return errors.New("bootstrap: this may leave two clusters where one with data comes back\n      hint: pgha bootstrap --i-know-that-no-data-exists")
			}
			if err := needRoot(o, "bootstrap"); err != nil {
				return err
			}
			return o.agent().Order(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&known, "i-know-that-no-data-exists", false, "no machine of this cluster, also none that is switched off, has data that is needed")
	return cmd
}

func member(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "member", Short: "What only a person decides about this member"}
	cmd.AddCommand(&cobra.Command{
		Use:   "set-aside etcd|postgres|data-disk",
		Short: "Rename this machine's data, or forget its data disk, so that it begins without; nothing is deleted",
		Long: `Rename this machine's data, with the time in the new name, so that it begins without; nothing is deleted.
What uses the data is stopped first, PostgreSQL too where Patroni would leave it running in maintenance; a primary is refused
there. "pgha apply" then goes on as on a machine that never had any.

With data-disk the machine forgets which disk was its data disk: for one that is lost for good, or that another one is to
replace. The disk and all that is on it stays as it is. Detach it first where it is still there: "pgha apply" takes the disk
with the label pgha-data, or, where there is none, a blank one.`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"etcd", "postgres", "data-disk"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot(o, "member set-aside"); err != nil {
				return err
			}
			to, err := o.agent().SetAside(cmd.Context(), args[0])
			if err == nil && to != "" {
				fmt.Fprintln(cmd.OutOrStdout(), to)
			}
			return err
		},
	})
	var last bool
	remove := &cobra.Command{
		Use:   "remove NAME",
		Short: "Take another member, which cluster.yaml lists no more, out of the cluster; its data is kept",
		Long: `Take another member out of the cluster's etcd. First take it out of cluster.yaml, run "pgbake seed", and on any one
machine "pgha spec accept generation.json". Refused for the primary, where those that are left and healthy would be no
quorum, and where the last replica that could take over would go. The machine removed stops its Patroni and its etcd; its
data is never deleted. Done when a failover does not need it any more.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot(o, "member remove"); err != nil {
				return err
			}
			return o.agent().RemoveMember(cmd.Context(), args[0], last)
		},
	}
	remove.Flags().BoolVar(&last, "even-the-last-copy", false, "also where no other replica could take over then")
	cmd.AddCommand(remove)
	return cmd
}

func spec(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "spec", Short: "The specification that the machines of a running cluster have"}
	cmd.AddCommand(&cobra.Command{
		Use:   "accept FILE",
		Short: "Take a newer generation of it, which pgbake seed wrote: generation.json; the other machines get it from here",
		Long: `Take a newer generation of the specification, and let every machine of the cluster have it: the file generation.json
that "pgbake seed" wrote beside the seeds. It bears the operator's signature and holds no secret. Refused, with nothing
changed, when it is older, of another cluster, not signed, or needs a secret that this machine does not have.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot(o, "spec accept"); err != nil {
				return err
			}
			body, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			number, left, err := o.agent().Accept(cmd.Context(), body)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "pgha: generation %d is taken; this machine applies it, and the others do within seconds: pgha status\n", number)
			for _, name := range left {
				fmt.Fprintf(os.Stderr, "pgha: next: pgha member remove %s\n", name)
			}
			return nil
		},
	})
	return cmd
}

func follow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:    "follow",
		Short:  "Keep this machine at the newest generation of the specification, and the others too",
		Hidden: true, // pgha-follow.service runs it
		Args:   cobra.NoArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return o.agent().Follow(cmd.Context()) },
	}
}

func stopDatabase(o *options) *cobra.Command {
	return &cobra.Command{
		Use:    "stop-database",
		Short:  "End Patroni and PostgreSQL on a machine that was removed from its cluster; its data stays",
		Hidden: true, // pgha-stop.service runs it
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "stop-database"); err != nil {
				return err
			}
			return o.agent().StopDatabase(cmd.Context())
		},
	}
}

func checkpoint(o *options) *cobra.Command {
	return &cobra.Command{
		Use:    "checkpoint",
		Short:  "Have PostgreSQL write what it holds in memory, so that the stop that follows is short",
		Hidden: true, // patroni.service's stop begins with it
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "checkpoint"); err != nil {
				return err
			}
			return o.agent().Checkpoint(cmd.Context())
		},
	}
}

func followRoom(o *options) *cobra.Command {
	return &cobra.Command{
		Use:    "follow-room",
		Short:  "Make the limits on WAL that is kept anew, by the room on the disk",
		Hidden: true, // pgha-room.service runs it
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "follow-room"); err != nil {
				return err
			}
			return o.agent().FollowRoom(cmd.Context())
		},
	}
}

func recopy(o *options) *cobra.Command {
	return &cobra.Command{
		Use:    "recopy",
		Short:  "Set this replica's data aside and copy the primary's, when PostgreSQL cannot start with it",
		Hidden: true, // pgha-recopy.service runs it
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "recopy"); err != nil {
				return err
			}
			return o.agent().Recopy(cmd.Context())
		},
	}
}

func dataDisk(o *options) *cobra.Command {
	return &cobra.Command{
		Use:    "data-disk",
		Short:  "Tell whether the data disk that is about to be mounted is this machine's own",
		Hidden: true, // pgha-data-disk.service runs it
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "data-disk"); err != nil {
				return err
			}
			return o.agent().CheckDataDisk(cmd.Context())
		},
	}
}
