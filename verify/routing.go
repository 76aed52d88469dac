package verify

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// answer is what a session says of the member it has reached.
type answer struct {
	member   string
	recovery bool
	took     time.Duration
}

const whoAreYou = "SELECT host(inet_server_addr()), pg_is_in_recovery()"

// who asks the member behind a door.
func (v *Verifier) who(ctx context.Context, d door) (a answer, err error) {
	began := time.Now()
	var address string
	if err := v.ask(ctx, d, v.login, whoAreYou, &address, &a.recovery); err != nil {
		return a, err
	}
	a.took = time.Since(began)
	at, err := netip.ParseAddr(address)
	a.member = v.nameOf(at)
	return a, err
}

// look asks every member itself: which are primaries, and which replicas. Whoever does not answer stands in neither.
func (v *Verifier) look(ctx context.Context, silent func(door, error)) (primaries, replicas []door) {
	doors := v.members()
	answers, errs := make([]answer, len(doors)), make([]error, len(doors))
	together(len(doors), func(i int) { answers[i], errs[i] = v.who(ctx, doors[i]) })
	for i, d := range doors {
		switch {
		case errs[i] != nil:
			silent(d, errs[i])
		case answers[i].recovery:
			replicas = append(replicas, d)
		default:
			primaries = append(primaries, d)
		}
	}
	return primaries, replicas
}

func roles(ctx context.Context, v *Verifier, f *finding) {
	unknown := 0
	primaries, replicas := v.look(ctx, func(d door, err error) {
		f.bad("%s does not let %s in: %s", d, v.login.user, why(err))
		if code(err) == "" {
			unknown++
		}
	})
	if unknown == len(v.Cluster.Nodes) {
		f.bad("not one member answers this host: the firewalls let in %v (client_networks)", v.Cluster.ClientNetworks)
	}
	switch len(primaries) {
	case 1:
		f.good("%s is the primary", primaries[0].name)
	case 0:
		f.bad("no member is a primary")
	default:
		f.bad("%s are primaries at the same time: one of them loses what it is given\n"+
			"      stop the one that the proxies do not lead to, at once: systemctl stop patroni", strings.Join(names(primaries), " and "))
	}
	if len(replicas) > 0 {
		f.good("%s: in recovery, as replicas are", strings.Join(names(replicas), ", "))
	}
}

func readWrite(ctx context.Context, v *Verifier, f *finding) {
	doors := v.proxies(v.Cluster.Ports.ReadWrite)
	if len(doors) == 0 {
		conn, err := v.primary(ctx)
		if err != nil {
			f.bad("no member takes writes: %s", oneLine(err))
			return
		}
		defer hangUp(conn)
		f.good("without proxies a client looks for the primary itself (target_session_attrs=read-write), and finds it")
		return
	}
	var led []string
	for _, d := range doors {
		switch a, err := v.who(ctx, d); {
		case err != nil:
			f.bad("%s: %s", d, why(err))
		case a.recovery:
			f.bad("%s leads to %s, which is a replica", d, a.member)
		default:
			f.good("%s leads to %s, the primary (%s)", d, a.member, milliseconds(a.took))
			led = append(led, a.member)
		}
	}
	if slices.Sort(led); len(slices.Compact(led)) > 1 {
		f.bad("they do not lead to the same member")
	}
}

// settleTime is how long a proxy may take to see a replica that has only just come: after a boot, or a switch.
const settleTime = 10 * time.Second

func readOnly(ctx context.Context, v *Verifier, f *finding) {
	doors := v.proxies(v.Cluster.Ports.ReadOnly)
	switch {
	case len(doors) == 0:
		f.skip("there is no proxy: clients look for a replica themselves (target_session_attrs=prefer-standby)")
		return
	case len(v.Cluster.Nodes) == 1:
		f.skip("a lone member has no replica")
		return
	}
	for end := time.Now().Add(settleTime); ; {
		now := finding{}
		early := v.read(ctx, doors, &now)
		if !early || time.Now().After(end) || ctx.Err() != nil {
			*f = now
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// read opens as many sessions at each door as there are replicas, all at the same time, so that each gets its own. It
// tells whether one of them has reached the primary, which may be for want of a replica that was there a moment later.
func (v *Verifier) read(ctx context.Context, doors []door, f *finding) (early bool) {
	sessions := len(v.Cluster.Nodes) - 1
	for _, d := range doors {
		answers, errs := make([]answer, sessions), make([]error, sessions)
		together(sessions, func(i int) { answers[i], errs[i] = v.who(ctx, d) })
		var reached []string
		for i, a := range answers {
			switch {
			case errs[i] != nil:
				f.bad("%s: %s", d, why(errs[i]))
			case !a.recovery:
				early = true
				f.bad("%s leads to %s, the primary: no replica is near enough to it", d, a.member)
			default:
				reached = append(reached, a.member)
			}
		}
		if slices.Sort(reached); len(reached) > 0 {
			f.good("%s leads to %s", d, strings.Join(slices.Compact(reached), ", "))
		}
	}
	return early
}

func names(doors []door) (all []string) {
	for _, d := range doors {
		all = append(all, d.name)
	}
	return all
}
