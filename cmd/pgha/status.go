package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgbake/pgbake/agent"
)

// watchEvery is how often --watch looks.
const watchEvery = 2 * time.Second

func status(o *options) *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the cluster as this machine sees it; exit code 3 when it is not healthy",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(o, "status"); err != nil {
				return err
			}
			print := func(w io.Writer) (*agent.Status, error) {
				s := o.agent().Status(cmd.Context())
				if !asJSON {
					return s, table(w, s)
				}
				enc := json.NewEncoder(w)
				if !watch { // then it is one object in a line for each look
					enc.SetIndent("", "  ")
				}
				return s, enc.Encode(s)
			}
			if watch {
				return repeat(cmd.Context(), cmd.OutOrStdout(), !asJSON && terminal(os.Stdout), print)
			}
			s, err := print(cmd.OutOrStdout())
			if err == nil && !s.Healthy() {
				err = errUnhealthy
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "look again every two seconds, until Ctrl-C")
	return cmd
}

// repeat prints until it is stopped; on a terminal each time over what was there.
func repeat(ctx context.Context, w io.Writer, redraw bool, print func(io.Writer) (*agent.Status, error)) error {
	const home, rest, below = "\x1b[H", "\x1b[K\n", "\x1b[J"
	if redraw {
		fmt.Fprint(w, home+below)
	}
	for {
		var screen bytes.Buffer
		_, err := print(&screen)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // Ctrl-C is how it ends
		}
		if err != nil {
			return err
		}
		text := screen.String()
		if redraw {
			text = home + strings.ReplaceAll(text, "\n", rest) + below
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

// terminal tells whether a person looks at the file.
func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
