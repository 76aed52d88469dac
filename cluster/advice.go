package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// blind are parameters with which PostgreSQL does not see damage.
var blind = []string{"ignore_checksum_failure", "ignore_invalid_pages", "zero_damaged_pages"}

// lacksLibrary is the library that a parameter is of, where that works only when it is loaded at the start or into each session,
// and nothing loads it.
func (c *Cluster) lacksLibrary(name string) string {
	library, _, _ := strings.Cut(name, ".")
	if !slices.Contains([]string{"auth_delay", "auto_explain", "pg_prewarm", "pg_stat_statements"}, library) {
		return ""
	}
	loaded := c.Postgres.Parameters["shared_preload_libraries"] + "," + c.Postgres.Parameters["session_preload_libraries"]
	if strings.Contains(loaded, library) {
		return ""
	}
	return library
}

// Advice is what a specification may well say and hardly anybody wants: nothing of it is refused. name stands in the advice as
// the file's.
func (c *Cluster) Advice(name string) (all []Problem) {
	say := func(path, hint, format string, args ...any) {
		all = append(all, Problem{File: name, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	if len(c.SSHKeys) == 0 {
		say("ssh_keys", "add a public key", "nobody can log in to the machines, but on their consoles")
	}
	if c.Backup.Missing() {
		say("backup", NoBackupHint, NoBackup)
	}
	for _, l := range c.lookedUp() {
		if hint, why, ok := c.reachable(l.host); !ok {
			say(l.path, hint, "%s", why)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Postgres.Parameters)) {
		path := join("postgres.parameters", name)
		if library := c.lacksLibrary(name); library != "" {
			say(path, "shared_preload_libraries: "+library, "it has no effect: nothing loads the library %s", library)
		}
		if slices.Contains(blind, name) && slices.Contains([]string{"on", "true", "yes", "1"}, strings.ToLower(c.Postgres.Parameters[name])) {
			say(path, "SET it for the session that repairs", "it passes over damaged data, and loses it without a word")
		}
	}
	for i, u := range c.Postgres.Users {
		// https://www.postgresql.org/docs/16/release-16.html: CREATEROLE's reach ended there.
		if u.CreateRole && c.Postgres.Version < 16 {
			say(fmt.Sprintf("postgres.users[%d].create_role", i), "PostgreSQL 16 or later, or leave it out",
				"in PostgreSQL %d, %s can give itself the right to run programs on the servers", c.Postgres.Version, u.Name)
		}
	}
	return all
}
