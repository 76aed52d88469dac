package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/builders/native"
	"github.com/pgbake/pgbake/internal/suggest"
)

// labKinds are directories of the cache that belong to the lab, which keeps them in order by itself.
var labKinds = []string{"archives", "roots"}

func (a *app) cache() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Show what is kept to make the next image quickly; pgbake cache clear removes it",
		Long: `Show what is kept to make the next image quickly. It lies in $PGBAKE_CACHE, else in /var/cache/pgbake (root) or
~/.cache/pgbake. Nothing is lost when it is cleared: the next bake fetches and makes again what it needs. Layers that
no bake has used for 30 days go by themselves, and so do packages after 90.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cache, err := cacheInside()
			if err != nil {
				return err
			}
			kept, err := native.Keeps(cache)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, slices.Concat([]native.Kept{}, kept))
			}
			total := int64(0)
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "KIND\tNAME\tSIZE\tUSED")
			for _, k := range kept {
				total += k.Bytes
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.Kind, k.Name, size(k.Bytes), ago(time.Since(k.Used)))
			}
			for _, kind := range labKinds {
				bytes, n := native.Usage(filepath.Join(cache, kind))
				if n > 0 {
					total += bytes
					fmt.Fprintf(w, "lab\t%s\t%s\t\n", kind, size(bytes))
				}
			}
			if err := w.Flush(); err != nil {
				return err
			}
			a.ui.Say("%s in %s", size(total), cache)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(a.cacheClear())
	return cmd
}

func (a *app) cacheClear() *cobra.Command {
	var long strings.Builder
	long.WriteString("Remove what is kept, all of it or some kinds. Not while a build is using it. What the lab keeps stays.\n\n")
	for _, k := range native.Kinds {
		fmt.Fprintf(&long, "  %-10s  %s\n", k.Name, k.For)
	}
	return &cobra.Command{
		Use:   "clear [KIND...]",
		Short: "Remove what is kept, all of it or some kinds",
		Long:  long.String(),
		RunE: func(_ *cobra.Command, args []string) error {
			kinds, err := kindsNamed(args)
			if err != nil {
				return specError{err}
			}
			cache, err := cacheInside()
			if err != nil {
				return err
			}
			before, _ := native.Usage(cache)
			if err := native.Clear(cache, kinds); err != nil {
				return err
			}
			after, _ := native.Usage(cache)
			a.ui.Say("%s freed in %s", size(before-after), cache)
			return nil
		},
	}
}

func kindsNamed(names []string) ([]native.Kind, error) {
	if len(names) == 0 {
		return native.Kinds, nil
	}
	var kinds []native.Kind
	var known []string
	for _, k := range native.Kinds {
		known = append(known, k.Name)
	}
	for _, name := range names {
		i := slices.Index(known, name)
		if i < 0 {
			return nil, fmt.Errorf("the cache keeps no %q\n      hint: %s", name, suggest.Hint(name, known))
		}
		kinds = append(kinds, native.Kinds[i])
	}
	return kinds, nil
}

// cacheInside is the cache, seen from inside of a build's namespaces where only there all of its files are our own:
// an ordinary user's layers have the users of the machine that they become.
func cacheInside() (string, error) {
	cache, err := native.Cache()
	if err != nil || os.Geteuid() == 0 && !native.Inside() {
		return cache, err
	}
	if _, err := os.Stat(filepath.Join(cache, "layers")); err != nil {
		return cache, nil //nolint:nilerr // nothing that belongs to others
	}
	inside, code, err := native.Enter()
	if err == nil && !inside {
		err = exitError(code)
	}
	return cache, err
}

// size is a number of bytes as people read it.
func size(bytes int64) string {
	switch {
	case bytes >= 10_000_000_000:
		return fmt.Sprintf("%d GB", bytes/1_000_000_000)
	case bytes >= 1_000_000_000:
		return fmt.Sprintf("%.1f GB", float64(bytes)/1e9)
	case bytes >= 1_000_000:
		return fmt.Sprintf("%d MB", bytes/1_000_000)
	}
	return fmt.Sprintf("%d kB", (bytes+999)/1000)
}

// ago is a time in the past as people say it.
func ago(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}
