package cluster

import (
	"strings"
	"testing"
)

func TestAdvice(t *testing.T) {
	const good = "scope: a\nnetwork: 10.0.0.0/24\ndebian: 12\nnodes: [{name: db1, address: 10.0.0.1}]\n" +
		"ssh_keys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHNSnWcnRjVgRhpWjHSqrlRQpBIYhQPwI7fwXkzEhqaH op']\n" +
		"backup: {directory: /var/backups/pg}\npostgres: {version: 15, users: [{name: app, create_role: false}]}\n"
	for _, c := range []struct{ old, by, want string }{
		{"", "", ""},
		{"ssh_keys: [", "# [", "c.yaml: ssh_keys: nobody can log in to the machines, but on their consoles (add a public key)"},
		{"backup: {directory: /var/backups/pg}\n", "", "c.yaml: backup: there is none: replicas follow a DROP TABLE within milliseconds (directory: /var/backups/pgbake, or repository)"},
		{"create_role: false", "create_role: true", "c.yaml: postgres.users[0].create_role: in PostgreSQL 15, app can give itself the right to run programs on the servers (PostgreSQL 16 or later, or leave it out)"},
		{"debian: 12\nnodes: [{name: db1, address: 10.0.0.1}]", "debian: 13\nnodes: [{name: db1, address: 10.0.0.1}]", ""},
	} {
		spec := strings.Replace(good, c.old, c.by, 1)
		if strings.Contains(c.by, "debian: 13") {
			spec = strings.Replace(strings.Replace(spec, "version: 15", "version: 17", 1), "create_role: false", "create_role: true", 1)
		}
		parsed, err := Parse("c.yaml", []byte(spec))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range parsed.Advice("c.yaml") {
			got = append(got, p.String())
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%q: %q, want %q", c.by, got, c.want)
		}
	}
}
