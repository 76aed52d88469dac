package lint

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

var (
	forPrimary = regexp.MustCompile(`^/(primary|master|leader|read-write)?/?(\?.*)?$`)
	forReplica = regexp.MustCompile(`^/(replica|read-only|async|sync|quorum|standby|health)`)
)

func sessionsStay(l *look) {
	if _, lua := l.get("global", "lua-load"); lua {
		return // cuts them by itself
	}
	for _, b := range l.checked {
		if w, ok := b.option(b.servers[0], "on-marked-down"); forPrimary.MatchString(b.uri.text) && (!ok || w.text != "shutdown-sessions") {
			l.say(b.at, "sessions outlive their primary")
		}
	}
}

func shortTimeout(l *look) {
	for _, e := range l.named("timeout") {
		if side := e.value(); (side == "client" || side == "server") && len(e.words) > 1 && l.tcp(e.section) {
			if d, ok := duration(e.words[1].text); ok && d < 10*time.Minute {
				l.say(e.at, "idle sessions are cut after %s (timeout %s)", d, side)
			}
		}
	}
}

func noKeepalives(l *look) {
	var missing []string
	for _, want := range []string{"clitcpka", "srvtcpka"} {
		if !slices.ContainsFunc(l.named("option"), func(e entry) bool { return e.value() == want }) {
			missing = append(missing, want)
		}
	}
	if b := l.checked; len(b) > 0 && len(missing) > 0 {
		at := b[0].at
		if d, ok := l.get("", "section"); ok {
			at = d.at
		}
		for _, s := range l.named("section") {
			if strings.HasPrefix(s.value(), "defaults") {
				at = s.at
			}
		}
		l.say(at, "no keepalives (%s)", strings.Join(missing, ", "))
	}
}

func upAtStart(l *look) {
	if len(l.named("load-server-state-from-file")) > 0 {
		return
	}
	for _, b := range l.checked {
		if _, ok := b.option(b.servers[0], "init-state"); !ok {
			l.say(b.at, "servers count as up before their first check")
		}
	}
}

func slowChecks(l *look) {
	for _, b := range l.checked {
		if _, ok := b.option(b.servers[0], "inter"); !ok {
			l.say(b.servers[0].at, "checks without inter, fall and rise")
		}
	}
}

func noReadOnly(l *look) {
	all := l.checked
	primary := slices.IndexFunc(all, func(b backend) bool { return forPrimary.MatchString(b.uri.text) })
	if primary >= 0 && !slices.ContainsFunc(all, func(b backend) bool { return forReplica.MatchString(b.uri.text) }) {
		l.say(all[primary].at, "no port for reading")
	}
}

var master = regexp.MustCompile(`:\d+/master\b`)

func masterAlias(l *look) {
	for _, b := range l.checked {
		if strings.HasPrefix(b.uri.text, "/master") {
			l.say(b.uri.at, "the check asks for /master")
		}
	}
	if l.kind == Script {
		l.each(master, func(at place, _ string) { l.say(at, "asks for /master") })
	}
}

func unverifiedServers(l *look) {
	if e, ok := l.get("global", "ssl-server-verify"); ok && e.value() == "none" {
		l.say(e.at, "ssl-server-verify none")
	}
	for _, b := range l.checked {
		if w, ok := b.option(b.servers[0], "verify"); ok && w.text == "none" {
			l.say(w.at, "verify none")
		}
	}
}

// otherPort, plainCheck and notAMember compare with the members' files.

func otherPort(l *look) {
	ports := map[string]bool{}
	var known []string
	for _, f := range l.of(Patroni) {
		for _, key := range []string{"listen", "connect_address"} {
			if e, ok := f.get("restapi", key); ok {
				if _, port, ok := cutPort(e.value()); ok && !ports[port] {
					ports[port], known = true, append(known, port)
				}
			}
		}
	}
	for _, b := range l.checked {
		for _, s := range b.servers {
			if w := b.checkPort(s); len(ports) > 0 && !ports[w.text] {
				l.say(w.at, "the check goes to port %s, and Patroni's REST API is at %s", w.text, strings.Join(known, ", "))
			}
		}
	}
}

func plainCheck(l *look) {
	for _, f := range l.of(Patroni) {
		_, tls := f.get("restapi", "certfile")
		if _, api := f.get("", "restapi"); !api {
			continue
		}
		for _, b := range l.checked {
			switch _, ssl := b.option(b.servers[0], "check-ssl"); {
			case tls && !ssl:
				l.say(b.servers[0].at, "the check is in plain text, and the REST API of %s is not", f.name)
				return
			case !tls && ssl:
				l.say(b.servers[0].at, "the check is by TLS, and the REST API of %s is in plain text", f.name)
				return
			}
		}
	}
}

// asksNobody: several servers of PostgreSQL's port, and no check that tells a primary from a replica.
func asksNobody(l *look) {
	defaults, seen := l.defaults(), map[string]bool{}
	for _, section := range l.named("section") {
		name := section.value()
		if seen[name] || !strings.HasPrefix(name, "backend") && !strings.HasPrefix(name, "listen") {
			continue
		}
		seen[name] = true
		if _, asks := l.checkURI(name, defaults); asks {
			continue
		}
		entries := l.in(name)
		postgres := slices.ContainsFunc(entries, func(e entry) bool { return e.key == "option" && e.value() == "pgsql-check" })
		servers := slices.DeleteFunc(slices.Clone(entries), func(e entry) bool {
			return e.key != "server" || len(e.words) < 2 || !postgres && !strings.HasSuffix(e.words[1].text, ":"+strconv.Itoa(cluster.PostgresPort))
		})
		if len(servers) > 1 {
			l.say(servers[0].at, "%s does not ask which server is the primary", name)
		}
	}
}

func notAMember(l *look) {
	members := map[string]bool{}
	for _, f := range l.of(Patroni) {
		if e, ok := f.get("postgresql", "connect_address"); ok {
			members[e.value()] = true
		}
	}
	// One member's file says nothing of the others.
	if len(members) < 2 {
		return
	}
	for _, b := range l.checked {
		for _, s := range b.servers {
			if host, _, _ := cutPort(s.words[1].text); host != "" && !members[s.words[1].text] && len(b.servers) <= len(members) {
				l.say(s.words[1].at, "server %s is at %s, where none of the members is", s.words[0].text, s.words[1].text)
			}
		}
	}
}
