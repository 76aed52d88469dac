package lint

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// runs tells which service of the cluster a unit starts; empty for others, and for drop-ins that start nothing.
func (f *file) runs() (entry, string) {
	e, ok := f.get("Service", "ExecStart")
	if !ok {
		return entry{}, ""
	}
	words := strings.Fields(strings.TrimLeft(e.value(), "-+!@:"))
	for _, program := range []string{"patroni", "etcd", "haproxy", "keepalived"} {
		if len(words) > 0 && (strings.HasSuffix(words[0], "/"+program) || slices.ContainsFunc(words, func(w string) bool { return strings.HasSuffix(w, "/"+program) })) {
			return e, program
		}
	}
	return entry{}, ""
}

// ours tells whether the unit is one of the cluster's, or a drop-in to one, which its path tells.
func (f *file) ours(programs ...string) bool {
	if _, starts := f.get("Service", "ExecStart"); starts {
		_, program := f.runs()
		return slices.Contains(programs, program)
	}
	return slices.ContainsFunc(programs, func(p string) bool { return strings.Contains(f.path, p) })
}

func noRestart(l *look) {
	start, program := l.runs()
	restart, set := l.get("Service", "Restart")
	switch {
	case set && restart.value() == "no" && l.ours("patroni", "etcd", "haproxy", "keepalived"):
		l.say(restart.at, "Restart=no")
	case !set && program != "":
		l.say(start.at, "%s is not restarted when it dies", program)
	}
}

func shortStop(l *look) {
	mode, ok := l.get("Service", "KillMode")
	if !ok || mode.value() != "process" || !l.ours("patroni") {
		return
	}
	at, limit := mode.at, 90*time.Second // systemd's default
	for _, key := range []string{"TimeoutSec", "TimeoutStopSec"} {
		if e, ok := l.get("Service", key); ok {
			at, limit = e.at, span(e.value())
		}
	}
	if limit < 2*time.Minute {
		l.say(at, "a stop may take %s, and KillMode=process ends only Patroni", limit)
	}
}

// span reads systemd's: seconds when there is no unit; no limit when it cannot be read.
func span(s string) time.Duration {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 1<<31 {
		return time.Duration(n) * time.Second
	}
	d, err := time.ParseDuration(strings.NewReplacer(" ", "", "min", "m", "sec", "s").Replace(s))
	if err != nil || d <= 0 {
		return 1 << 62
	}
	return d
}

func watchesNothing(l *look) {
	for _, e := range l.named("vrrp_instance") {
		if !slices.ContainsFunc(l.entries, func(t entry) bool {
			return t.key == "track_script" || t.key == "track_process"
		}) {
			l.say(e.at, "nothing tells whether HAProxy lives")
		}
	}
}

func multicast(l *look) {
	for _, e := range l.named("vrrp_instance") {
		if len(l.named("unicast_peer")) == 0 {
			l.say(e.at, "VRRP by multicast")
		}
	}
}
