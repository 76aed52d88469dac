package lint

import (
	"regexp"
	"strconv"
)

// Versions that a script installs, or that a list of packages names: apt's and pip's way, a release's file, an image's tag.
var (
	patroniVersion = regexp.MustCompile(`(?i)\bpatroni(?:\[[\w,]*\])?(?:==|=|:|_VERSION=|-|\s+)["']?v?(\d+)\.(\d+)\.(\d+)`)
	etcdVersion    = regexp.MustCompile(`(?i)\betcd(?:-server)?(?:==|=|:|_VER=|_VERSION=|-| Version:\s*|\s+)["']?v?(\d+)\.(\d+)\.(\d+)`)
)

// version counts up with the version: 3.4.31 is 30431.
func version(pattern *regexp.Regexp, match string) (number int, text string) {
	parts := pattern.FindStringSubmatch(match)[1:]
	for _, p := range parts {
		n, _ := strconv.Atoi(p)
		number = 100*number + n
	}
	return number, parts[0] + "." + parts[1] + "." + parts[2]
}

func takesTheLeadBack(l *look) {
	l.each(patroniVersion, func(at place, match string) {
		if n, text := version(patroniVersion, match); n < 30100 {
			l.say(at, "Patroni %s", text)
		}
	})
}

// revokesByItsClock knows the releases with etcd PR #16822, and those in which #18439 has made a hole into it.
func revokesByItsClock(l *look) {
	l.each(etcdVersion, func(at place, match string) {
		switch n, text := version(etcdVersion, match); {
		case n >= 30431 && n < 30500 || n >= 30513 && n < 30516:
		case n >= 30516:
			l.say(at, "etcd %s, in which this is corrected in part", text)
		default:
			l.say(at, "etcd %s", text)
		}
	})
}
