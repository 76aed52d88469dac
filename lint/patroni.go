package lint

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The places where Patroni takes PostgreSQL's parameters from: its file's dynamic and local ones, and what
// patronictl edit-config shows.
var parameterSections = []string{"bootstrap.dcs.postgresql.parameters", "postgresql.parameters"}

// parameter finds one of PostgreSQL's, wherever it is set.
func (f *file) parameter(name string) (entry, bool) {
	if f.kind == PostgreSQL {
		return f.get("", name)
	}
	for _, section := range parameterSections {
		if e, ok := f.get(section, name); ok {
			return e, true
		}
	}
	return entry{}, false
}

// complete tells whether the file is a member's, and not a part of one.
func complete(l *look) bool {
	_, postgres := l.get("", "postgresql")
	_, scope := l.get("", "scope")
	return postgres && scope && !isFlat(l.file)
}

var dataDir = regexp.MustCompile(`^/var/lib/postgresql/(\d+)/([\w-]+)/?$`)

// configElsewhere needs a sign that the cluster is older than Patroni: a file or script that has its configuration.
func configElsewhere(l *look) {
	dir, ok := l.get("postgresql", "data_dir")
	if _, set := l.get("postgresql", "config_dir"); !ok || set {
		return
	}
	m := dataDir.FindStringSubmatch(dir.value())
	if m == nil {
		return
	}
	config := "etc/postgresql/" + m[1] + "/" + m[2] + "/"
	for _, f := range l.all {
		if strings.Contains(f.path, config) || f.kind == Script && slices.ContainsFunc(f.lines, func(line string) bool { return strings.Contains(line, config) }) {
			l.say(dir.valueAt(), "postgresql.config_dir is not set, and the cluster's configuration is in /%s (%s)", strings.TrimSuffix(config, "/"), path.Base(f.name))
			return
		}
	}
}

func noUsersAnyMore(l *look) {
	if e, ok := l.get("bootstrap", "users"); ok {
		l.say(e.at, "bootstrap.users makes no roles any more")
	}
}

func unknownLogin(l *look) {
	for _, e := range l.in("postgresql.authentication") {
		if !slices.Contains([]string{"superuser", "replication", "rewind"}, e.key) {
			l.say(e.at, "postgresql.authentication.%s is no key of Patroni's", e.key)
		}
	}
}

func bootstrapHBA(l *look) {
	if e, ok := l.get("bootstrap", "pg_hba"); ok {
		if _, both := l.get("postgresql", "pg_hba"); !both {
			l.say(e.at, "pg_hba only in bootstrap")
		}
	}
}

// standbyNames also says which names would match, when the members' files are there.
func standbyNames(l *look) {
	e, ok := l.parameter("synchronous_standby_names")
	if !ok || e.value() == "" {
		return
	}
	var members, named []string
	for _, f := range l.of(Patroni) {
		if name, ok := f.get("", "name"); ok {
			members = append(members, name.value())
		}
	}
	for _, n := range regexp.MustCompile(`[\w-]+|\*`).FindAllString(regexp.MustCompile(`(?i)^\s*(any|first)?\s*\d*\s*\(`).ReplaceAllString(e.value(), ""), -1) {
		named = append(named, strings.Trim(n, `"`))
	}
	if len(members) > 0 && !slices.Contains(named, "*") && !slices.ContainsFunc(named, func(n string) bool { return slices.Contains(members, n) }) {
		l.say(e.valueAt(), "synchronous_standby_names is set by hand, and names none of the members: they are called %s", strings.Join(members, ", "))
		return
	}
	l.say(e.valueAt(), "synchronous_standby_names is set by hand")
}

func remoteApply(l *look) {
	if e, ok := l.parameter("synchronous_commit"); ok && e.value() == "remote_apply" {
		l.say(e.valueAt(), "synchronous_commit = remote_apply")
	}
}

func noWatchdog(l *look) {
	if !complete(l) {
		return
	}
	if e, ok := l.get("watchdog", "mode"); ok && slices.Contains([]string{"off", "false"}, strings.ToLower(e.value())) {
		l.say(e.valueAt(), "the watchdog is off")
	} else if _, ok := l.get("", "watchdog"); !ok {
		l.say(l.top(), "no watchdog section: Patroni takes one when it may, and says nothing when it may not")
	}
}

func noFailsafe(l *look) {
	dcs, ok := l.get("bootstrap", "dcs")
	if e, set := l.get("bootstrap.dcs", "failsafe_mode"); ok && (!set || e.value() != "true") {
		l.say(dcs.at, "no failsafe_mode")
	}
}

func slotsFillDisk(l *look) {
	dcs, ok := l.get("bootstrap", "dcs")
	if _, set := l.parameter("max_slot_wal_keep_size"); !ok || set {
		return
	}
	if slots, set := l.get("bootstrap.dcs.postgresql", "use_slots"); !set || slots.value() != "false" {
		at := dcs.at
		if set {
			at = slots.at
		}
		l.say(at, "replication slots without a limit (max_slot_wal_keep_size)")
	}
}

func noArchive(l *look) {
	dcs, ok := l.get("bootstrap", "dcs")
	mode, set := l.parameter("archive_mode")
	switch {
	case set && slices.Contains([]string{"off", "false", "no"}, mode.value()):
		l.say(mode.at, "archive_mode is off")
	case ok && !set:
		l.say(dcs.at, "no archive_mode")
	}
}

func driftingLocale(l *look) {
	initdb, ok := l.get("bootstrap", "initdb")
	if !ok {
		return
	}
	for _, e := range l.entries {
		if strings.HasPrefix(e.section, "bootstrap.initdb[") && (strings.HasSuffix(e.key, "locale") || e.key == "locale-provider") || e.section == "bootstrap.initdb" && e.value() == "no-locale" {
			return
		}
	}
	l.say(initdb.at, "initdb without a locale of its own")
}

// isFlat tells a file whose sections have lost their indentation.
func isFlat(f *file) bool {
	_, b, found := emptySection(f)
	return found && b
}

// emptySection finds a section with nothing in it, and tells whether its keys stand at the top.
func emptySection(f *file) (entry, bool, bool) {
	for _, name := range []string{"restapi", "bootstrap", "postgresql", "etcd3", "etcd", "dcs"} {
		e, ok := f.get("", name)
		if !ok || len(e.words) > 0 || len(f.in(name)) > 0 || len(f.in(name+"[0]")) > 0 {
			continue
		}
		for _, child := range []string{"listen", "connect_address", "hosts", "dcs", "ttl", "data_dir", "parameters", "authentication"} {
			if _, top := f.get("", child); top {
				return e, true, true
			}
		}
	}
	return entry{}, false, false
}

func flat(l *look) {
	if e, _, ok := emptySection(l.file); ok {
		l.say(e.at, "%s is empty, and its keys stand at the top: the file has lost its indentation", e.key)
	}
}

func badTimers(l *look) {
	for _, section := range []string{"bootstrap.dcs", ""} {
		number := func(key string, otherwise int) (int, place) {
			e, ok := l.get(section, key)
			if n, err := strconv.Atoi(e.value()); ok && err == nil {
				return n, e.valueAt()
			}
			return otherwise, place{}
		}
		ttl, at := number("ttl", 30)
		wait, waitAt := number("loop_wait", 10)
		retry, retryAt := number("retry_timeout", 10)
		for _, other := range []place{waitAt, retryAt} {
			if at.line == 0 {
				at = other
			}
		}
		switch {
		case at.line == 0:
		case ttl < 20:
			l.say(at, "ttl %d", ttl)
		case wait+2*retry > ttl:
			l.say(at, "loop_wait %d + 2 * retry_timeout %d is more than ttl %d", wait, retry, ttl)
		}
	}
}

// twins compares the members' files.
func twins(l *look) {
	name, named := l.get("", "name")
	scope, scoped := l.get("", "scope")
	for _, f := range l.of(Patroni) {
		if f == l.file {
			return // each pair once, at the second
		}
		if other, ok := f.get("", "scope"); ok && scoped && other.value() != scope.value() {
			l.say(scope.valueAt(), "scope %s, and %s in %s", scope.value(), other.value(), f.name)
		} else if other, ok := f.get("", "name"); ok && named && other.value() == name.value() {
			l.say(name.valueAt(), "name %s, as in %s", name.value(), f.name)
		}
	}
}
