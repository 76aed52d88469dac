package cluster

import (
	"strings"
	"testing"
)

func TestAdvice(t *testing.T) {
	const good = "scope: a\nnetwork: 10.0.0.0/24\ndebian: 12\nnodes: [{name: db1, address: 10.0.0.1}]\n" +
		"ssh_keys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHNSnWcnRjVgRhpWjHSqrlRQpBIYhQPwI7fwXkzEhqaH op']\n" +
		"backup: {directory: /var/backups/pg}\npostgres: {version: 15, users: [{name: app, create_role: false}]}\n"
	const nameless = "its host is a name, and without name_servers the machines find no name's address (name_servers: [the address of a resolver], or the host's address here)"
	for _, c := range []struct{ old, by, want string }{
		{"", "", ""},
		{"ssh_keys: [", "# [", "c.yaml: ssh_keys: nobody can log in to the machines, but on their consoles (add a public key)"},
		{"backup: {directory: /var/backups/pg}\n", "", "c.yaml: backup: there is none: replicas follow a DROP TABLE within milliseconds (directory: /var/backups/pgbake, or repository; where that is meant, or others take them: wanted: false)"},
		{"backup: {directory: /var/backups/pg}", "backup: {wanted: false}", ""},
		{"create_role: false", "create_role: true", "c.yaml: postgres.users[0].create_role: in PostgreSQL 15, app can give itself the right to run programs on the servers (PostgreSQL 16 or later, or leave it out)"},
		{"version: 15,", "version: 15, parameters: {pg_stat_statements.max: 9000, zero_damaged_pages: on},", "c.yaml: postgres.parameters.pg_stat_statements.max: it has no effect: nothing loads the library pg_stat_statements (shared_preload_libraries: pg_stat_statements)\n" +
			"c.yaml: postgres.parameters.zero_damaged_pages: it passes over damaged data, and loses it without a word (SET it for the session that repairs)"},
		{"version: 15,", "version: 15, parameters: {auto_explain.log_min_duration: 3s, session_preload_libraries: auto_explain},", ""},
		{"debian: 12\nnodes: [{name: db1, address: 10.0.0.1}]", "debian: 13\nnodes: [{name: db1, address: 10.0.0.1}]", ""},
		{"debian: 12", "time_servers: [ntp.example.org, 10.0.0.9]\ndebian: 12", "c.yaml: time_servers[0]: " + nameless},
		{"debian: 12", "time_servers: [ntp.example.org]\nname_servers: [10.0.0.2]\ndebian: 12", ""},
		{"debian: 12", "time_servers: [db1]\ndebian: 12", ""},
		{"debian: 12", "alerts: {webhook: 'https://hook.example.org/x', email: [a@example.org], relay: 'mail.example.org:25'}\ndebian: 12",
			"c.yaml: alerts.webhook: " + nameless + "\nc.yaml: alerts.relay: " + nameless},
		{"debian: 12", "alerts: {webhook: 'http://[2001:db8::1]/x', email: [a@example.org], relay: 'localhost:25'}\ndebian: 12",
			"c.yaml: alerts.webhook: its address is IPv6, and the machines get no IPv6 address (its name, or its IPv4 address)"},
		{"backup: {directory: /var/backups/pg}", "backup: {repository: {type: s3, path: /b, bucket: bbb, endpoint: s3.example.org, region: eu}}",
			"c.yaml: backup.repository.endpoint: " + nameless},
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

// TestAdviceOnSecrets: a webhook whose address is a secret has a host, too, and the advice does not repeat it.
func TestAdviceOnSecrets(t *testing.T) {
	const spec = "scope: a\nnetwork: 10.0.0.0/24\nnodes: [{name: db1, address: 10.0.0.1}]\n"
	for _, c := range []struct {
		more, webhook string
		want          int
	}{
		{"alerts: {webhook: secret}\n", "https://hooks.example.org/hunter2", 1},
		{"alerts: {webhook: secret}\n", "https://10.0.0.9/hunter2", 0},
		{"alerts: {webhook: secret}\nname_servers: [10.0.0.2]\n", "https://hooks.example.org/hunter2", 0},
		{"", "https://hooks.example.org/hunter2", 0},
	} {
		parsed, err := Parse("c.yaml", []byte(spec+c.more))
		if err != nil {
			t.Fatal(err)
		}
		got := Secrets{Webhook: c.webhook}.Advice("secrets.yaml", parsed)
		if len(got) != c.want || strings.Contains(Problems(got).Error(), "hooks.") || strings.Contains(Problems(got).Error(), "hunter2") {
			t.Errorf("%q with %q: %v", c.webhook, c.more, got)
		}
	}
}
