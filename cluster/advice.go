package cluster

import "fmt"

// Advice is what a specification may well say and hardly anybody wants: nothing of it is refused. name stands in the advice as
// the file's.
func (c *Cluster) Advice(name string) (all []Problem) {
	say := func(path, hint, format string, args ...any) {
		all = append(all, Problem{File: name, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	if len(c.SSHKeys) == 0 {
		say("ssh_keys", "add a public key", "nobody can log in to the machines, but on their consoles")
	}
	if !c.Backup.Taken() {
		say("backup", "directory: /var/backups/pgbake, or repository", "there is none: replicas follow a DROP TABLE within milliseconds")
	}
	for _, l := range c.lookedUp() {
		if hint, why, ok := c.reachable(l.host); !ok {
			say(l.path, hint, "%s", why)
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
