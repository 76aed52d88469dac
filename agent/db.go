package agent

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// silent names the members that do not answer.
func (w *work) silent(ctx context.Context, answers func(context.Context, netip.Addr) bool) string {
	var list []string
	for _, n := range w.seed.Cluster.Nodes {
		if !answers(ctx, n.Address) {
			list = append(list, fmt.Sprintf("%s (%s)", n.Name, n.Address))
		}
	}
	return strings.Join(list, " and ")
}
