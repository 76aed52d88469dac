package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
)

// A replica has diverged when it has replayed WAL that the cluster's history does not have: it was the primary, or followed one,
// while another was promoted. Patroni rewinds it. Where that fails, as when the WAL that pg_rewind reads is gone, it goes on serving
// readers what no other member has, and never follows again.

// fork is where a timeline was left: the next one begins at that place in the WAL, in bytes.
type fork struct {
	timeline int
	at       int64
}

// history are the timelines that were left on the way to the cluster's, as Patroni has them in etcd.
func (a *api) history(ctx context.Context, addr netip.Addr) (forks []fork, err error) {
	var body json.RawMessage
	if err := a.do(ctx, http.MethodGet, a.patroni(addr, "/history"), nil, &body); err != nil {
		return nil, err
	}
	return parseForks(body)
}

// parseForks reads Patroni's history, as it gives it and keeps it in etcd.
func parseForks(body []byte) (forks []fork, err error) {
	var lines [][]json.RawMessage // timeline, position, reason and more
	if err := json.Unmarshal(body, &lines); err != nil {
		return nil, fmt.Errorf("read Patroni's history: %w", err)
	}
	for _, line := range lines {
		var f fork
		if len(line) < 2 || json.Unmarshal(line[0], &f.timeline) != nil || json.Unmarshal(line[1], &f.at) != nil {
			return nil, fmt.Errorf("read Patroni's history: a line has no timeline and position")
		}
		forks = append(forks, f)
	}
	return forks, nil
}

// diverged says how a running replica's database has left the cluster's history; empty when it has not. A timeline that the history
// does not have says nothing: Patroni keeps only the newest of a long one.
func (m member) diverged(forks []fork) string {
	if !m.runs() || m.leads() || m.leadsStandby() {
		return ""
	}
	for _, f := range forks {
		if f.timeline == m.Timeline && m.WAL.Replayed > f.at {
			return fmt.Sprintf("it has %d bytes of WAL on timeline %d that no other member has, since %X/%X, and pg_rewind cannot take them back",
				m.WAL.Replayed-f.at, m.Timeline, f.at>>32, f.at&0xffffffff)
		}
	}
	return ""
}
