package cluster

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func postgresVersion(k *checker) {
	has := versions(k.Debian, k.Postgres.Source)
	if slices.Contains(has, k.Postgres.Version) || !k.sound("debian", "postgres.source") {
		return
	}
	var words, elsewhere []string
	for _, v := range has {
		words = append(words, strconv.Itoa(v))
	}
	if k.Postgres.Source == SourceDebian {
		if slices.Contains(versions(k.Debian, SourcePGDG), k.Postgres.Version) {
			elsewhere = append(elsewhere, "source: pgdg")
		}
		for _, r := range []Release{12, 13} {
			if slices.Contains(versions(r, SourceDebian), k.Postgres.Version) {
				elsewhere = append(elsewhere, fmt.Sprintf("debian: %d", r))
			}
		}
		k.say("postgres.version", or(append(elsewhere, "version: "+or(words))),
			"PostgreSQL %d is not in Debian %d's own archive", k.Postgres.Version, k.Debian)
		return
	}
	k.say("postgres.version", or(words), "PostgreSQL %d is not one that pgbake sets up from PGDG", k.Postgres.Version)
}

// archives checks the mirror and the package repository. No message repeats what stands there: an address may hold
// a password, a key may be the private one.
func archives(k *checker) {
	for _, a := range []struct {
		path string
		Archive
	}{{"postgres.mirror", k.Postgres.Mirror}, {"packages", k.Packages}} {
		if path := a.path + ".url"; k.given(path) {
			u, err := url.Parse(a.URL)
			switch {
			case err != nil || strings.ContainsAny(a.URL, " \t\n"):
				k.say(path, "such as https://mirror.example.org/postgresql", "not an address")
			case u.User != nil:
				k.say(path, "take it out: every user of the machines could read it", "a user name or a password in the address")
			case !slices.Contains([]string{"http", "https", "file"}, u.Scheme):
				k.say(path, "it begins with http://, https:// or file:", "not an address of an apt archive")
			case u.Scheme != "file" && u.Hostname() == "" || u.Scheme == "file" && !strings.HasPrefix(u.Path, "/"):
				k.say(path, "such as https://mirror.example.org/postgresql", "an address without a host")
			}
		}
		if path := a.path + ".key"; k.given(path) {
			switch key := strings.TrimSpace(a.Key); {
			case strings.Contains(key, "PRIVATE KEY"):
				k.say(path, "gpg --armor --export", "this is the private key: it must not leave its owner")
			case !strings.HasPrefix(key, "-----BEGIN PGP PUBLIC KEY BLOCK-----") ||
				!strings.HasSuffix(key, "-----END PGP PUBLIC KEY BLOCK-----"):
				k.say(path, "the text itself, below \"key: |\"", "not an armored OpenPGP public key")
			}
		}
	}
}

var (
	localeSyntax = regexp.MustCompile(`^(C\.UTF-8|icu:[a-z]{2,8}(-[A-Za-z0-9]{1,8})*)$`)
	libcLocale   = regexp.MustCompile(`^([a-z]{2,3})_([A-Z]{2})(\.(?i:utf-?8))?$`)
)

func locale(k *checker) {
	l := k.Postgres.Locale
	if localeSyntax.MatchString(l) {
		return
	}
	hint := "C.UTF-8, or icu: and a language tag such as icu:ru-RU"
	if m := libcLocale.FindStringSubmatch(l); m != nil {
		hint = fmt.Sprintf("write icu:%s-%s; libc's collations differ between Debian's releases and break indexes", m[1], m[2])
	}
	k.say("postgres.locale", hint, "%s is no locale that pgbake sets up", brief(l))
}

func language(k *checker) {
	if tag, icu := strings.CutPrefix(k.Postgres.Locale, "icu:"); icu && localeSyntax.MatchString(k.Postgres.Locale) && k.sound("debian") {
		if f := k.ParameterTarget().Language(tag); f != nil {
			k.say("postgres.locale", f.Instead, "%s", f.Wrong)
		}
	}
}

// identifier is what a database or a role may be called: a name that needs no quotes anywhere, besides "-".
var identifier = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,62}$`)

func (k *checker) identifier(path, what, name string) bool {
	if identifier.MatchString(name) {
		return true
	}
	hint := "small letters, digits, \"_\" and \"-\", at most 63"
	if lower := strings.ToLower(name); lower != name && identifier.MatchString(lower) {
		hint = "write " + lower + ": PostgreSQL makes small letters of a name without quotes"
	}
	k.say(path, hint, "%s is no name for a %s", brief(name), what)
	return false
}

// Names that PostgreSQL or the lines of pg_hba.conf keep for themselves.
var (
	reservedDatabases = []string{"postgres", "template0", "template1", "all", "sameuser", "samerole", "samegroup", "replication"}
	reservedRoles     = []string{"postgres", "rewind", "all", "public", "none", "current_role", "current_user", "session_user"}
)

func databases(k *checker) {
	owners := map[string]bool{}
	var names []string
	for _, u := range k.Postgres.Users {
		owners[u.Name] = true
		names = append(names, u.Name)
	}
	first, allOwners := map[string]string{}, k.sound("postgres.users[].name")
	for i, db := range k.Postgres.Databases {
		path := fmt.Sprintf("postgres.databases[%d]", i)
		switch {
		case !k.given(path+".name") || !k.identifier(path+".name", "database", db.Name):
		case slices.Contains(reservedDatabases, db.Name):
			k.say(path+".name", "", "%q is a name that PostgreSQL keeps for itself", db.Name)
		case first[db.Name] != "":
			k.say(path+".name", "", "%q is also the name of %s", db.Name, first[db.Name])
		default:
			first[db.Name] = path
		}
		if k.given(path+".owner") && !owners[db.Owner] && allOwners {
			k.say(path+".owner", didYouMean(db.Owner, names, "add it under postgres.users"), "%s is none of the users", brief(db.Owner))
		}
	}
}

func users(k *checker) {
	first := map[string]string{}
	for i, u := range k.Postgres.Users {
		path := fmt.Sprintf("postgres.users[%d].name", i)
		switch {
		case !k.given(path) || !k.identifier(path, "user", u.Name):
		case u.Name == k.Postgres.ReplicationUser && k.sound("postgres.replication_user"):
			k.say(path, "take it out here", "%q is the replication user, which pgbake makes", u.Name)
		case slices.Contains(reservedRoles, u.Name) || strings.HasPrefix(u.Name, "pg_"):
			k.say(path, "", "%q is a name that PostgreSQL or pgbake keeps for itself", u.Name)
		case first[u.Name] != "":
			k.say(path, "", "%q is also the name of %s", u.Name, first[u.Name])
		default:
			first[u.Name] = fmt.Sprintf("postgres.users[%d]", i)
		}
	}
}

func replicationUser(k *checker) {
	const path = "postgres.replication_user"
	name := k.Postgres.ReplicationUser
	if k.identifier(path, "user", name) && (slices.Contains(reservedRoles, name) || strings.HasPrefix(name, "pg_")) {
		k.say(path, "such as replicator", "%q is a name that PostgreSQL or pgbake keeps for itself", name)
	}
}

func strictNeedsReplicas(k *checker) {
	const path = "replication.strict"
	switch {
	case !k.Replication.Strict:
	case k.Replication.Mode == Async:
		k.say(path, "mode: quorum", "with mode async no replica confirms anything")
	case len(k.Nodes) == 1:
		k.say(path, "", "with one node there is no replica to confirm, so every write would be refused")
	}
}
