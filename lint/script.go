package lint

import (
	"regexp"
	"slices"
	"strings"
)

// each calls found for each match in the lines of a script that are no comments, with the match.
func (f *file) each(pattern *regexp.Regexp, found func(at place, match string)) {
	for i, line := range f.lines {
		if isComment(line, "#") {
			continue
		}
		for _, at := range pattern.FindAllStringIndex(line, -1) {
			found(place{i + 1, column(line, at[0])}, line[at[0]:at[1]])
		}
	}
}

// mentions tells whether the script has it, comments apart.
func (f *file) mentions(pattern string) bool {
	found := false
	f.each(regexp.MustCompile(pattern), func(place, string) { found = true })
	return found
}

var installs = regexp.MustCompile(`\bapt(-get)?\s+(.*\s)?install\s.*?\bpostgresql-(\d+)\b`)

func noSuchPackage(l *look) {
	for _, f := range l.of(Script) {
		if slices.ContainsFunc(f.lines, func(line string) bool {
			return strings.Contains(line, "pgdg") || strings.Contains(line, "apt.postgresql.org")
		}) {
			return
		}
	}
	l.each(installs, func(at place, match string) {
		if version := installs.FindStringSubmatch(match)[3]; version != "15" {
			l.say(at, "postgresql-%s without PGDG's archive", version)
		}
	})
}

func packageMakesCluster(l *look) {
	patroni := len(l.of(Patroni)) > 0 || slices.ContainsFunc(l.lines, func(line string) bool {
		return strings.Contains(strings.ToLower(line), "patroni")
	})
	if patroni && !l.mentions(`create_main_cluster|createcluster|pg_dropcluster`) {
		l.each(installs, func(at place, match string) {
			l.say(at, "postgresql-%s makes a cluster as soon as it is installed", installs.FindStringSubmatch(match)[3])
		})
	}
}

func startedAlready(l *look) {
	if !l.mentions(`systemctl\s+(mask|stop|disable|restart)\b.*\betcd\b`) {
		l.each(regexp.MustCompile(`systemctl\s+start\s+etcd\b`), func(at place, _ string) { l.say(at, "etcd runs already") })
	}
}

func oldOptions(l *look) {
	l.each(regexp.MustCompile(`patronictl\s.*?\b(switchover\s.*?--master|failover\s.*?--(leader|master|primary))\b`), func(at place, match string) {
		words := strings.Fields(match)
		l.say(at, "%s is no option of Patroni 4's", words[len(words)-1])
	})
}

var (
	creates = regexp.MustCompile(`(?i)\bcreate\s+(?:temp(?:orary)?\s+|unlogged\s+)?table\s+(?:if\s+not\s+exists\s+)?"?([\w.]+)`)
	inserts = regexp.MustCompile(`(?i)\binsert\s+into\s+"?([\w.]+)`)
)

// insertElsewhere: a script that makes tables of its own and writes into another, which nobody has made.
func insertElsewhere(l *look) {
	made := map[string]bool{}
	l.each(creates, func(_ place, match string) { made[creates.FindStringSubmatch(match)[1]] = true })
	l.each(inserts, func(at place, match string) {
		if table := inserts.FindStringSubmatch(match)[1]; len(made) > 0 && !made[table] {
			l.say(at, "%s is written to, and other tables were created", table)
		}
	})
}

func startsByItself(l *look) {
	if l.mentions(`systemctl\s.*\b(disable|mask)\b.*\bpostgresql\b`) || !l.mentions(`systemctl\s.*\b(start|enable)\b.*\bpatroni\b`) {
		return
	}
	l.each(regexp.MustCompile(`systemctl\s+stop\s+postgresql\b`), func(at place, _ string) {
		l.say(at, "postgresql.service is stopped and not disabled")
	})
}

func deletesData(l *look) {
	l.each(regexp.MustCompile(`\brm\s+-\w*r\w*\s.*(/var/lib/(postgresql|etcd|pgsql)|\$\{?PGDATA)\S*`), func(at place, _ string) {
		l.say(at, "the data is deleted without a look at it")
	})
	l.each(regexp.MustCompile(`\betcdctl\s.*\bdel\b.*(--prefix|--from-key)|\betcdctl\s.*\bdel\s+(--prefix|--from-key)`), func(at place, _ string) {
		l.say(at, "the cluster's state in etcd is deleted")
	})
}

func forcesFailover(l *look) {
	l.each(regexp.MustCompile(`\bpatronictl\s(.*\s)?failover\b`), func(at place, _ string) { l.say(at, "a failover by hand") })
}

// monitors tells whether a script asks Patroni for its list to judge it.
func monitors(l *look) bool { return l.mentions(`patronictl\s.*\blist\b.*(json|-f|--format)`) }

func countsLeaders(l *look) {
	if monitors(l) {
		l.each(regexp.MustCompile(`\.Role\s*==\s*\\?"Leader\\?"\s*\)\s*\]\s*\|\s*length`), func(at place, _ string) {
			l.say(at, "counts the leaders in etcd's list")
		})
	}
}

func goneColumn(l *look) {
	l.each(regexp.MustCompile(`Lag in MB`), func(at place, _ string) { l.say(at, `"Lag in MB"`) })
}

func onlyReplicas(l *look) {
	l.each(regexp.MustCompile(`\.Role\s*==\s*\\?"Replica\\?"`), func(at place, _ string) { l.say(at, "only members whose role is Replica") })
}

var stops = `^\s*set\s+-\w*e|^\s*set\s+.*-o\s+errexit|^#!.*sh\s+-\w*e`

func stopsAtErrors(l *look) bool {
	return l.mentions(stops) || regexp.MustCompile(stops).MatchString(l.lines[0])
}

func uncheckedAnswer(l *look) {
	if stopsAtErrors(l) {
		return
	}
	for i, line := range l.lines {
		if at := strings.Index(line, "=$(patronictl"); at >= 0 && !isComment(line, "#") && !strings.Contains(line, "||") && l.mentions(`(\[|\btest)\s.*\s-(ne|eq|gt|ge|lt|le)\s`) {
			l.say(place{i + 1, column(line, at+1)}, "the answer of patronictl is not looked at")
		}
	}
}

var dumps = regexp.MustCompile(`\b(pg_basebackup|pg_dump|pg_dumpall)\s+-`)

func firstOf(f *file, pattern *regexp.Regexp) (first place, found bool) {
	f.each(pattern, func(at place, _ string) {
		if !found {
			first, found = at, true
		}
	})
	return first, found
}

func goesOn(l *look) {
	if at, ok := firstOf(l.file, dumps); ok && !stopsAtErrors(l) {
		l.say(at, "a backup without set -e")
	}
}

func rotatesBlindly(l *look) {
	if _, ok := firstOf(l.file, dumps); ok && !stopsAtErrors(l) {
		l.each(regexp.MustCompile(`\bfind\s.*(-delete\b|rm\s+-)|\bls\s.*\|.*rm\s+-`), func(at place, _ string) {
			l.say(at, "old backups are removed whatever became of today's")
		})
	}
}

func unverified(l *look) {
	if at, ok := firstOf(l.file, regexp.MustCompile(`\bpg_basebackup\s+-`)); ok && !l.mentions(`pg_verifybackup`) {
		l.say(at, "a base backup that nobody verifies")
	}
}

var pretends = regexp.MustCompile(`(?i)fail|crash|kill|outage|падени|имит|сбо[йя]|отказ`)

// gracefulCrash goes by the comment above: a stop for maintenance is nothing bad.
func gracefulCrash(l *look) {
	for i, line := range l.lines {
		if i == 0 || isComment(line, "#") || !regexp.MustCompile(`systemctl\s+stop\s+patroni\b`).MatchString(line) {
			continue
		}
		if above := l.lines[i-1]; strings.HasPrefix(strings.TrimSpace(above), "#") && pretends.MatchString(above) {
			l.say(place{i + 1, column(line, strings.Index(line, "systemctl"))}, "a graceful stop in the place of a crash")
		}
	}
}
