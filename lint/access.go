package lint

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
)

// plainDCS: Patroni's etcd without TLS. Its own machine's loopback is no network.
func plainDCS(l *look) {
	for _, section := range []string{"etcd3", "etcd"} {
		dcs, ok := l.get("", section)
		if !ok || len(l.in(section)) == 0 {
			continue
		}
		if e, set := l.get(section, "protocol"); set && e.value() == "https" {
			if _, cert := l.get(section, "cert"); !cert {
				l.say(e.at, "%s without a client certificate", section)
			}
			continue
		}
		if u, set := l.get(section, "url"); set && strings.HasPrefix(u.value(), "https:") {
			continue
		}
		l.say(dcs.at, "%s in plain text", section)
	}
}

func openAPI(l *look) {
	if api, ok := l.get("", "restapi"); ok && !isFlat(l.file) {
		if _, set := l.get("restapi.authentication", "password"); !set {
			l.say(api.at, "the REST API asks nobody for a password")
		}
	}
}

func plainAPI(l *look) {
	if api, ok := l.get("", "restapi"); ok && !isFlat(l.file) {
		if _, set := l.get("restapi", "certfile"); !set {
			l.say(api.at, "the REST API without TLS")
		}
	}
}

func apiEverywhere(l *look) {
	listen, ok := l.get("restapi", "listen")
	if _, set := l.get("restapi", "allowlist"); !ok || set {
		return
	}
	if host, _, _ := cutPort(listen.value()); slices.Contains([]string{"0.0.0.0", "*", "::", ""}, host) {
		l.say(listen.valueAt(), "the REST API listens on every address")
	}
}

// cutPort takes host:port apart, also [::1]:port and a bare port.
func cutPort(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return strings.Trim(s[:i], "[]"), s[i+1:], true
}

// access is one line of pg_hba.conf.
type access struct {
	at                                 place
	kind, database, user, from, method string
}

// accesses are the lines of pg_hba.conf, of its own file or below Patroni's pg_hba.
func (f *file) accesses() (all []access) {
	add := func(words []word) {
		if len(words) < 4 {
			return
		}
		a := access{at: words[0].at, kind: words[0].text, database: words[1].text, user: words[2].text}
		rest := words[3:]
		if a.kind != "local" {
			a.from, rest = rest[0].text, rest[1:]
			if len(rest) > 1 {
				if _, err := netip.ParseAddr(rest[0].text); err == nil { // an address and its mask
					rest = rest[1:]
				}
			}
		}
		if len(rest) > 0 {
			a.method = rest[0].text
			all = append(all, a)
		}
	}
	for _, e := range f.entries {
		switch {
		case f.kind == HBA:
			add(append([]word{{e.key, e.at}}, e.words...))
		case strings.HasSuffix(e.section, "pg_hba") && len(e.words) > 0:
			words := split(e.value(), e.valueAt().line)
			for i := range words {
				words[i].at.column += e.valueAt().column - 1
			}
			add(words)
		}
	}
	return all
}

func trusting(l *look) {
	for _, a := range l.accesses() {
		switch a.method {
		case "trust":
			l.say(a.at, "trust for %s%s", a.user, from(a))
		case "password":
			l.say(a.at, "the password of %s%s in plain text", a.user, from(a))
		}
	}
}

func from(a access) string {
	if a.from == "" {
		return " by the socket"
	}
	return " from " + a.from
}

// superuserFromEverywhere follows PostgreSQL: the first line that matches decides.
func superuserFromEverywhere(l *look) {
	for _, a := range l.accesses() {
		users := strings.Split(a.user, ",")
		postgres := slices.Contains(users, "postgres")
		everywhere := slices.Contains([]string{"all", "0.0.0.0/0", "::/0"}, a.from)
		switch {
		case !postgres && !slices.Contains(users, "all") || !everywhere || a.database == "replication":
		case a.method == "reject":
			return
		default:
			l.say(a.at, "postgres may log in from %s", a.from)
		}
	}
}

func superuserPassword(l *look) {
	if e, ok := l.get("postgresql.authentication.superuser", "password"); ok {
		l.say(e.at, "the superuser has a password")
	}
}

// samples are passwords that stand in manuals; the first five are in the one that pgbake replaces.
var samples = []string{
	"12345", "StrongPassword123!", "adminpass", "globalpass", "1234", "changeme", "password", "postgres", "secret", "zalando", "patroni", "replicator", "admin", "1111", "reppass", "rep-pass",
}

func sample(password string) bool { return slices.Contains(samples, password) || len(password) < 8 }

var inCommand = regexp.MustCompile(`(?i)\bpassword\s+'([^']*)'|\bPGPASSWORD=['"]?([^\s'"]+)`)

// passwords are those in a file, each with its place.
func (f *file) passwords() (all []word) {
	for _, e := range f.entries {
		switch {
		case f.kind == Patroni && e.key == "password" && len(e.words) > 0:
			all = append(all, e.words[0])
		case f.kind == Keepalived && e.key == "auth_pass" && len(e.words) > 0:
			all = append(all, e.words[0])
		case f.kind == HAProxy && e.key == "stats":
			if login, ok := e.has("auth"); ok {
				_, password, _ := strings.Cut(login.text, ":")
				all = append(all, word{password, login.at})
			}
		case f.kind == HAProxy && e.key == "user" && strings.HasPrefix(e.section, "userlist"):
			if password, ok := e.has("insecure-password"); ok {
				all = append(all, password)
			}
		}
	}
	if f.kind == Script {
		for i, line := range f.lines {
			for _, m := range inCommand.FindAllStringSubmatchIndex(line, -1) {
				from, to := m[2], m[3]
				if from < 0 {
					from, to = m[4], m[5]
				}
				if !strings.HasPrefix(line[from:to], "$") {
					all = append(all, word{line[from:to], place{i + 1, column(line, from)}})
				}
			}
		}
	}
	return all
}

func samplePassword(l *look) {
	for _, p := range l.passwords() {
		if sample(p.text) {
			l.say(p.at, "a sample password, or a short one")
		}
	}
}

// readableByAll looks at files where they are used: a copy in a working tree has other rights.
func readableByAll(l *look) {
	if p := l.passwords(); len(p) > 0 && l.mode&0o004 != 0 && strings.HasPrefix(path.Clean(l.name), "/etc/") {
		l.say(p[0].at, "passwords in a file that everybody may read (%s)", fmt.Sprintf("%04o", l.mode.Perm()))
	}
}
