package lint

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// backend is a backend or listen of haproxy.cfg whose servers Patroni is asked about.
type backend struct {
	section string
	at      place
	servers []entry
	// uri is what the check asks for: /primary.
	uri word
	// common are the lines default-server, its own before the defaults'.
	common []entry
}

// backends are those with an HTTP check, their own or that of the defaults.
func (f *file) backends() (all []backend) {
	if f.kind != HAProxy {
		return nil
	}
	common := slices.DeleteFunc(f.defaults(), func(e entry) bool { return e.key != "default-server" })
	seen, checks := map[string]bool{}, slices.DeleteFunc(f.defaults(), func(e entry) bool { return e.key != "option" && e.key != "http-check" })
	for _, s := range f.named("section") {
		name := s.value()
		if seen[name] || !strings.HasPrefix(name, "backend") && !strings.HasPrefix(name, "listen") {
			continue
		}
		seen[name] = true
		b := backend{section: name, at: s.at}
		for _, e := range f.in(name) {
			switch {
			case e.key == "server" && len(e.words) > 1:
				b.servers = append(b.servers, e)
			case e.key == "default-server":
				b.common = append(b.common, e)
			}
		}
		b.common = append(b.common, common...)
		var checked bool
		if b.uri, checked = f.checkURI(name, checks); checked && len(b.servers) > 0 {
			all = append(all, b)
		}
	}
	return all
}

// defaults are the entries of all sections of defaults.
func (f *file) defaults() (all []entry) {
	for _, e := range f.entries {
		if e.section == "defaults" || strings.HasPrefix(e.section, "defaults ") {
			all = append(all, e)
		}
	}
	return all
}

// checkURI is the URI of the section's check; false when there is no HTTP check.
func (f *file) checkURI(section string, defaults []entry) (uri word, checked bool) {
	for _, e := range slices.Concat(defaults, f.in(section)) {
		switch {
		case e.key == "option" && e.value() == "httpchk":
			checked = true
			for _, w := range e.words[1:] {
				if strings.HasPrefix(w.text, "/") {
					uri = w
				}
			}
		case e.key == "http-check" && e.value() == "send":
			if w, ok := e.has("uri"); ok {
				uri = w
			}
		}
	}
	if uri.text == "" {
		uri = word{"/", uri.at}
	}
	return uri, checked
}

var (
	forPrimary = regexp.MustCompile(`^/(primary|master|leader|read-write)?/?(\?.*)?$`)
	forReplica = regexp.MustCompile(`^/(replica|read-only|async|sync|quorum|standby|health)`)
)

// option is what a server has, on its line or by default-server, its section's or the defaults'.
func (b backend) option(server entry, name string) (word, bool) {
	if w, ok := server.has(name); ok {
		return w, true
	}
	for _, e := range b.common {
		if w, ok := e.has(name); ok {
			return w, true
		}
	}
	return word{}, false
}

// checkPort is the port that a server's check goes to.
func (b backend) checkPort(server entry) word {
	if w, ok := b.option(server, "port"); ok {
		return w
	}
	_, port, _ := cutPort(server.words[1].text)
	return word{port, server.words[1].at}
}

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

// tcp tells whether a section carries PostgreSQL, and not statistics.
func (f *file) tcp(section string) bool {
	mode, ok := f.get(section, "mode")
	if !ok {
		for _, e := range f.named("mode") {
			if strings.HasPrefix(e.section, "defaults") {
				mode, ok = e, true
			}
		}
	}
	return ok && mode.value() == "tcp"
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

// duration reads HAProxy's: milliseconds when there is no unit.
func duration(s string) (time.Duration, bool) {
	units := map[string]time.Duration{"us": time.Microsecond, "ms": time.Millisecond, "": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz")
	n, err := strconv.Atoi(digits)
	unit, known := units[s[len(digits):]]
	return time.Duration(n) * unit, err == nil && known && n >= 0 && n < 1<<31
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
		if _, tls := f.get("restapi", "certfile"); !tls {
			continue
		}
		for _, b := range l.checked {
			if _, ok := b.option(b.servers[0], "check-ssl"); !ok {
				l.say(b.servers[0].at, "the check is in plain text, and the REST API of %s is not", f.name)
				return
			}
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
