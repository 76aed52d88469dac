package agent

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/pgbake/pgbake/agent/monitor"
)

// ShowMonitor prints what is wrong as this machine sees it, the alerts, and who hears of them; it sends nothing. critical
// tells that something hurries.
func (a *Agent) ShowMonitor(ctx context.Context, w io.Writer) (critical bool, err error) {
	seed, err := ReadSeed(a.Root)
	if err != nil {
		return false, err
	}
	api, err := newAPI(seed)
	if err != nil {
		return false, &SeedError{err}
	}
	v := a.look(ctx, seed, api)
	v.Since = a.watchedSince(v.At)
	verdict := monitor.Judge(v.Seen)
	if len(verdict.Problems) == 0 {
		fmt.Fprintln(w, "nothing is wrong")
	}
	for _, p := range verdict.Problems {
		fmt.Fprintf(w, "%-8s  %s\n", p.Severity, p.Text)
		if p.Hint != "" {
			fmt.Fprintf(w, "          hint: %s\n", p.Hint)
		}
	}
	var state monitor.State
	readNote(a.Root, monitorFile, &state)
	for _, t := range state.Alerts {
		if t.Firing() {
			fmt.Fprintf(w, "\nalert since %s (%s), %s", t.Since.Local().Format(time.DateTime), monitor.Span(v.At.Sub(t.Since)), t.Text)
			if len(t.Owed) > 0 {
				fmt.Fprintf(w, "; not yet told to %v", t.Owed)
			}
			fmt.Fprintln(w)
		}
	}
	fmt.Fprintf(w, "\n%s tells of alerts", monitor.Senders(v.Seen)[0])
	receivers := monitor.Receivers(seed.Cluster.Alerts, seed.Secrets, seed.Machine.Name)
	if len(receivers) == 0 {
		fmt.Fprint(w, ", and nobody is to hear of them (alerts in cluster.yaml)")
	}
	fmt.Fprintln(w)
	for _, r := range receivers {
		fmt.Fprintf(w, "  to %s (%s)\n", r.Name, r.To)
	}
	return slices.ContainsFunc(verdict.Problems, monitor.Problem.Hurries), nil
}

// Answer is what a receiver said to a test.
type Answer struct {
	Name, To string
	Err      error
}

// TestAlert sends a test to every receiver, from this machine.
func (a *Agent) TestAlert(ctx context.Context) ([]Answer, error) {
	seed, err := ReadSeed(a.Root)
	if err != nil {
		return nil, err
	}
	receivers := monitor.Receivers(seed.Cluster.Alerts, seed.Secrets, seed.Machine.Name)
	answers := make([]Answer, len(receivers))
	notice := monitor.Test(seed.Cluster.Scope, seed.Machine.Name, time.Now())
	var wg sync.WaitGroup
	for i, r := range receivers {
		wg.Go(func() { answers[i] = Answer{r.Name, r.To, r.Deliver(ctx, notice)} })
	}
	wg.Wait()
	return answers, nil
}
