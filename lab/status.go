package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Status is the cluster as its machines describe themselves, each for itself: two primaries would both show.
type Status struct {
	// Synchronous tells that commits wait for a replica to confirm them.
	Synchronous bool     `json:"synchronous"`
	Members     []Member `json:"members"`
	Proxies     []Proxy  `json:"proxies"`
	// VirtualAddress is the one that moves between the proxies; none when absent.
	VirtualAddress netip.Addr `json:"virtual_address,omitzero"`
}

// Member is one database machine.
type Member struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	// On tells whether its power is on.
	On bool `json:"on"`
	// Role is primary, replica, sync standby or quorum standby; empty when Patroni does not answer.
	Role string `json:"role,omitempty"`
	// State is Patroni's word; a replica that the primary streams to is "streaming".
	State    string `json:"state,omitempty"`
	Timeline int    `json:"timeline"`
	// Lag is how many bytes of WAL a replica has not replayed; -1 when unknown.
	Lag int64 `json:"lag"`
	// Note says what pgha does or waits for, when Patroni does not answer.
	Note string `json:"note,omitempty"`
}

// Proxy is one proxy machine.
type Proxy struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	On      bool       `json:"on"`
	// Holds tells whether the virtual address is on its card.
	Holds bool `json:"holds_virtual_address"`
	// ReadWrite and ReadOnly are the members that the two ports lead to.
	ReadWrite []string `json:"read_write"`
	ReadOnly  []string `json:"read_only"`
	// Note says what pgha does or waits for, when HAProxy does not answer.
	Note string `json:"note,omitempty"`
}

// Status asks all machines at the same time, each with a deadline. One that does not answer is no error.
func (l *Lab) Status(ctx context.Context) Status {
	s := Status{Synchronous: l.c.SynchronousMode() != "false", Members: make([]Member, len(l.c.Nodes)), Proxies: make([]Proxy, len(l.c.Proxies)), VirtualAddress: l.c.VirtualAddress}
	answers := make([]patroniAnswer, len(l.c.Nodes))
	var wg sync.WaitGroup
	for i, n := range l.c.Nodes {
		s.Members[i] = Member{Name: n.Name, Address: n.Address, Lag: -1}
		wg.Go(func() { s.Members[i].On, s.Members[i].Note, answers[i] = l.askPatroni(ctx, n) })
	}
	for i, n := range l.c.Proxies {
		s.Proxies[i] = Proxy{Name: n.Name, Address: n.Address}
		wg.Go(func() { l.askHAProxy(ctx, n, &s.Proxies[i]) })
	}
	wg.Wait()
	s.combine(answers)
	return s
}

// combine fills the members from their own answers, and what only the primary knows of them from its.
func (s *Status) combine(answers []patroniAnswer) {
	primary := patroniAnswer{}
	for i, a := range answers {
		m := &s.Members[i]
		m.State, m.Timeline = a.State, a.Timeline
		switch a.Role {
		case "primary", "master": // "master" until Patroni 3
			m.Role, primary = "primary", a
		case "":
		default:
			m.Role = a.Role
		}
	}
	for i, a := range answers {
		m := &s.Members[i]
		at := slices.IndexFunc(primary.Replication, func(r replication) bool { return r.Name == m.Name })
		if m.Role != "replica" || at < 0 {
			continue
		}
		if role := primary.cluster[m.Name]; strings.HasSuffix(role, "_standby") {
			m.Role = strings.ReplaceAll(role, "_", " ")
		}
		if a.State == "running" || a.State == "streaming" {
			m.State = primary.Replication[at].State
		}
		if a.XLog.Replayed > 0 && primary.XLog.Location > 0 {
			m.Lag = max(0, primary.XLog.Location-a.XLog.Replayed)
		}
	}
}

// Problem says why the cluster is not healthy; empty when it is: one primary, every other member streams from it,
// one of them confirms writes where writes wait for that (without it a primary that dies is not replaced), each proxy's read-write port leads to the primary alone, and one proxy holds the virtual address where there is one.
func (s Status) Problem() string {
	var problems []string
	var primaries []string
	for _, m := range s.Members {
		switch {
		case !m.On:
			problems = append(problems, m.Name+" is off")
		case m.Role == "" && m.Note != "":
			problems = append(problems, m.Name+": "+m.Note)
		case m.Role == "":
			problems = append(problems, m.Name+" boots")
		case m.Role == "primary":
			primaries = append(primaries, m.Name)
			if m.State != "running" {
				problems = append(problems, m.Name+" is "+m.State)
			}
		case m.State != "streaming":
			problems = append(problems, m.Name+" is "+m.State+", not streaming")
		}
	}
	confirms := func(m Member) bool { return strings.HasSuffix(m.Role, " standby") }
	if s.Synchronous && len(primaries) == 1 && !slices.ContainsFunc(s.Members, confirms) {
		problems = append(problems, "no replica confirms writes yet")
	}
	switch len(primaries) {
	case 0:
		problems = append(problems, "no primary")
	case 1:
	default:
		problems = append(problems, "several primaries: "+strings.Join(primaries, ", "))
	}
	var holders []string
	for _, p := range s.Proxies {
		if p.Holds {
			holders = append(holders, p.Name)
		}
		switch {
		case !p.On:
			problems = append(problems, p.Name+" is off")
		case p.ReadWrite == nil && p.Note != "":
			problems = append(problems, p.Name+": "+p.Note)
		case len(primaries) == 1 && !slices.Equal(p.ReadWrite, primaries):
			problems = append(problems, fmt.Sprintf("%s leads to [%s]", p.Name, strings.Join(p.ReadWrite, " ")))
		}
	}
	switch {
	case !s.VirtualAddress.IsValid() || len(holders) == 1:
	case len(holders) == 0:
		problems = append(problems, fmt.Sprintf("no proxy holds %s", s.VirtualAddress))
	default:
		problems = append(problems, fmt.Sprintf("%s is held by %s", s.VirtualAddress, strings.Join(holders, " and ")))
	}
	return strings.Join(problems, "; ")
}

// WaitHealthy waits until the cluster is healthy; progress hears every look at it before that. The deadline is ctx's.
func (l *Lab) WaitHealthy(ctx context.Context, progress func(Status)) (Status, error) {
	var s Status
	err := every(ctx, l.pause(), "wait for a healthy cluster", func() error {
		s = l.Status(ctx)
		problem := s.Problem()
		if problem == "" {
			return nil
		}
		progress(s)
		return fmt.Errorf("%s", problem)
	})
	return s, err
}

// Leader returns the name of the primary; empty when there is none or more than one.
func (s Status) Leader() string {
	name := ""
	for _, m := range s.Members {
		if m.Role == "primary" {
			if name != "" {
				return ""
			}
			name = m.Name
		}
	}
	return name
}
