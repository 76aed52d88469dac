package lint

import (
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

// tcp tells whether a section carries PostgreSQL, and not statistics: HAProxy's mode when none is set.
func (f *file) tcp(section string) bool {
	mode, ok := f.get(section, "mode")
	if !ok {
		for _, e := range f.named("mode") {
			if strings.HasPrefix(e.section, "defaults") {
				mode, ok = e, true
			}
		}
	}
	return !ok || mode.value() == "tcp"
}

// duration reads HAProxy's: milliseconds when there is no unit.
func duration(s string) (time.Duration, bool) {
	units := map[string]time.Duration{"us": time.Microsecond, "ms": time.Millisecond, "": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz")
	n, err := strconv.Atoi(digits)
	unit, known := units[s[len(digits):]]
	return time.Duration(n) * unit, err == nil && known && n >= 0 && n < 1<<31
}
